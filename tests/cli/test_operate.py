"""``habitat nginx``, ``check`` and ``status`` in real processes."""

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from habitat_like.http import scgi
from habitat_like.journal.journal import Journal
from tests.conftest import HabitatFactory, NginxFactory
from tests.support.cli import Run, fails
from tests.support.gateway import ARCHIVE_SINK
from tests.support.wait import PATIENCE
from tools.run import nginx_command, nginx_config


@pytest.mark.parametrize("name", ["habitat.sock", "a b;c{d}.sock", 'quo"te\\.sock', "é.sock"])
def test_nginx_accepts_the_block(run: Run, tmp_path: Path, name: str) -> None:
    done = run("nginx", HABITAT_GATEWAY_SOCKET=f"{tmp_path}/{name}", HABITAT_GATEWAY_TIMEOUT="0.5")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "nginx.conf").write_text(nginx_config(tmp_path, 1, done.stdout))
    test = subprocess.run(
        [*nginx_command(tmp_path), "-t"], capture_output=True, text=True, check=False
    )
    assert test.returncode == 0, test.stderr


def test_nginx_block_follows_the_configuration(run: Run, tmp_path: Path) -> None:
    done = run("nginx", HABITAT_GATEWAY_MAX_BODY="1000", HABITAT_GATEWAY_TIMEOUT="7")
    assert f"scgi_pass unix:{tmp_path}/run/habitat.sock;" in done.stdout
    size = re.search(r"client_max_body_size (\d+);", done.stdout)
    read = re.search(r"scgi_read_timeout +(\d+)s;", done.stdout)
    assert size
    assert read
    assert 1000 < int(size[1]) < 1_000_000
    assert int(read[1]) > 7 + 10
    relative = run("nginx", HABITAT_GATEWAY_SOCKET="run/habitat.sock")
    assert f"scgi_pass unix:{Path.cwd()}/run/habitat.sock;" in relative.stdout


def test_nginx_refuses_a_path_that_it_could_not_be_told(run: Run) -> None:
    fails(run("nginx", HABITAT_GATEWAY_SOCKET="/run/$x.sock"), 2, "gateway.socket")


def test_nginx_closes_the_operators_pages_to_the_outside(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    # No gateway runs: 503 says that nginx would have passed the request on.
    real_ip = "set_real_ip_from 127.0.0.1; real_ip_header X-Test-From;"
    front = nginx(habitat(start=False), in_server=real_ip)

    def get(page: str, address: str) -> int:
        return front.request("GET", page, headers={"X-Test-From": address}).status

    for page in (
        "/status",
        "/metrics",
        "/healthz",
        "/readyz",
        "//status",
        "/status/x",
        "/%73tatus",
    ):
        assert get(page, "203.0.113.7") == 403, page
        assert get(page, "127.0.0.1") == 503, page
        assert get(page, "::1") == 503, page
    for page in ("/", "/message", "/statusx"):
        assert get(page, "203.0.113.7") == 503, page


# habitat check


def marks(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Subject to mark, of the lines below the configuration."""
    lines = done.stdout.partition("\n\n")[2].splitlines()
    return {line[13:].partition(":")[0]: line[:12].strip() for line in lines}


def test_check_of_a_fresh_installation(run: Run, tmp_path: Path) -> None:
    done = run("check")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert set(marks(done).values()) == {"ok"}
    shown = yaml.safe_load(done.stdout.partition("\n\n")[0])
    assert shown["gateway"]["machine_code"] == "a1"
    assert shown["journal"]["max_backlog"] == 1000000
    # It made nothing that would then belong to the wrong user.
    assert [path.name for path in tmp_path.iterdir()] == ["config.yml"]


def test_check_beside_a_running_gateway(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        contextlib.closing(Journal(tmp_path / "var/journal.sqlite")),
        contextlib.closing(socket.socket(socket.AF_UNIX)) as live,
    ):
        live.bind(str(tmp_path / "run/habitat.sock"))
        live.listen()
        done = run("check")
        assert done.returncode == 0
        assert "a gateway is running" in done.stdout
    done = run("check")
    assert done.returncode == 0
    assert "will be replaced" in done.stdout


def test_check_says_what_is_wrong_at_run_time(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/habitat.sock").write_text("no socket")
    (tmp_path / "var").mkdir()
    (tmp_path / "var/journal.sqlite").write_text("no journal, and longer than a header" * 9)
    (tmp_path / "var/archive.sqlite").write_text("no archive, and longer than a header" * 9)
    done = run("check")
    found = marks(done)
    assert done.returncode == 1
    assert (found["socket"], found["journal"], found["archive"]) == ("error",) * 3
    assert "still serves stations" in done.stdout
    assert found["sinks"] == "ok"


def test_check_says_what_must_not_be_a_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    done = run("check", HABITAT_LOG_FILE=str(tmp_path / "x"))
    assert done.returncode == 1
    assert "log.file: " in done.stdout
    assert f"{tmp_path}/x is a directory; choose another path" in done.stdout


def test_check_of_a_couchdb_that_is_down_masks_the_password(run: Run) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        port = taken.getsockname()[1]
        uri = f"couchdb://ada:s3cret@127.0.0.1:{port}/habitat"
        done = run("check", HABITAT_ARCHIVE_URI=uri, HABITAT_ARCHIVE_TIMEOUT="2")
    assert done.returncode == 1
    assert marks(done)["archive"] == "error"
    assert marks(done)["configuration"] == "warning"
    assert "s3cret" not in done.stdout + done.stderr
    assert "ada:***@" in done.stdout


@pytest.mark.parametrize(
    ("variable", "value", "subject"),
    [
        ("HABITAT_SINKS", "habitat_like.nowhere.Sink", "sinks"),
        ("HABITAT_SINKS", "habitat_like.journal.Journal", "sinks"),
        ("HABITAT_TYPES", "{WEATHER: nowhere.Weather}", "types"),
        ("HABITAT_GATEWAY_ACTIONS", "mesage", "gateway.actions"),
        ("HABITAT_GATEWAY_SOCKET_GROUP", "no-such-group", "gateway.socket_group"),
        ("HABITAT_ARCHIVE_PASSWORD_FILE", "/nonexistent", "archive.password_file"),
    ],
)
def test_check_of_a_configuration_that_can_not_be_used(
    run: Run, variable: str, value: str, subject: str
) -> None:
    more = {variable: value}
    if subject == "archive.password_file":
        more["HABITAT_ARCHIVE_URI"] = "couchdb://ada@127.0.0.1:1/habitat"
    done = run("check", **more)
    assert (done.returncode, done.stderr) == (2, "")
    assert marks(done)[subject] == "config error"


def test_check_and_start_refuse_a_sink_whose_file_can_not_be_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.yml").write_text("!!bool x")
    for path, says in ((tmp_path, "Is a directory"), (tmp_path / "odd.yml", "neither YAML nor")):
        sinks = f"[habitat_like.telemetry.ParserSink: {{payloads: {path}}}]"
        done = run("check", HABITAT_SINKS=sinks)
        assert done.returncode == 2
        assert f"config error sinks: sinks[0]: {path}: {says}" in done.stdout
        fails(run("serve", HABITAT_SINKS=sinks), 2, f" HABITAT_SINKS: sinks[0]: {path}: {says}")


@pytest.mark.parametrize("text", ["", "not hex", "00" * 31])
def test_check_and_start_refuse_a_key_of_identities_that_is_none(
    run: Run, tmp_path: Path, text: str
) -> None:
    (tmp_path / "identity.key").write_text(text)
    file = tmp_path / "networks.yml"
    file.write_text("networks: {weather: {}}")
    words = ("--config", str(file))
    environ = {"HABITAT_JOURNAL_PATH": str(tmp_path / "journal.sqlite")}
    done = run(*words, "check", **environ)
    assert done.returncode == 2
    said = f"{tmp_path}/identity.key: not a key of 32 bytes in hex; put it back from a backup"
    assert f"config error identities: {said}" in done.stdout
    fails(run(*words, "serve", **environ), 2, said)
    (tmp_path / "identity.key").write_text("00" * 32)
    assert "identities" not in run(*words, "check", **environ).stdout


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("gateway: {actions: [message, mine.data]}", "networks: the path /data of the network "),
        ("networks: {mine.Failing: {}}", "networks.mine.Failing: KeyError: 'nothing here'"),
        ("types: {WEATHER: mine.Good}", "types: the type WEATHER already exists"),
        ("types: {X: mine.Undefined}", "types.X: mine.Undefined: name 'Nowhere' is not defined"),
        ("types: {X: mine.Mixed}", "types.X: mine.Mixed: Type unions may not contain"),
    ],
)
def test_check_and_start_refuse_what_is_taken_or_can_not_be_read(
    run: Run, tmp_path: Path, config: str, said: str
) -> None:
    (tmp_path / "mine.py").write_text(
        "import msgspec\n"
        "class Good(msgspec.Struct):\n    x: int\n"
        "class Undefined(msgspec.Struct):\n    x: 'Nowhere'\n"
        "class Mixed(msgspec.Struct):\n    x: list[int] | set[int]\n"
        "def data(ip, args):\n    return 'OK'\n"
        "from habitat_like.networks.base import Network\n"
        "class Failing(Network):\n    name = 'failing'\n    types = routes = ()\n"
        "    @classmethod\n    def load(cls, settings):\n        raise KeyError('nothing here')\n"
    )
    file = tmp_path / "networks.yml"
    weather = "" if "networks" in config else "networks: {weather: {}}\n"
    file.write_text(f"{weather}{config}\n")
    done = run("--config", str(file), "check")
    assert done.returncode == 2
    assert said in done.stdout
    fails(run("--config", str(file), "serve"), 2, said.partition(": ")[2])


def test_a_check_of_a_network_of_one_s_own_that_fails_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from habitat_like.networks.base import Network\n"
        "class Unsure(Network):\n    name = 'unsure'\n    types = routes = ()\n"
        "    def check(self):\n        raise KeyError('nothing here')\n"
    )
    file = tmp_path / "networks.yml"
    file.write_text("networks: {mine.Unsure: {}}\n")
    done = run("--config", str(file), "check")
    assert done.returncode == 2
    assert "config error networks.mine.Unsure: KeyError: 'nothing here'" in done.stdout


def test_check_and_start_refuse_stations_that_share_an_identity(run: Run, tmp_path: Path) -> None:
    listed = tmp_path / "stations.yml"
    one = "- {network: weather, identity: K, callsign: "
    listed.write_text(f"{one}A}}\n{one}B}}\n")
    environ = {
        "HABITAT_STATIONS": str(listed),
        "HABITAT_JOURNAL_PATH": str(tmp_path / "journal.sqlite"),
    }
    said = f"{listed}: entry 2: an entry before it has the same identity"
    done = run("check", **environ)
    assert done.returncode == 2
    assert f"config error stations: {said}" in done.stdout
    assert not (tmp_path / "identity.key").exists()
    fails(run("serve", **environ), 2, said)


def test_check_says_that_a_directory_holds_no_password(run: Run, tmp_path: Path) -> None:
    done = run(
        "check",
        HABITAT_ARCHIVE_URI="couchdb://u@127.0.0.1:1/db",
        HABITAT_ARCHIVE_PASSWORD_FILE=str(tmp_path),
    )
    assert f"archive.password_file: {tmp_path} is a directory; name the file" in done.stdout
    assert done.returncode == 2


def test_check_warns_of_variables_that_override_nothing(run: Run) -> None:
    done = run("check", HABITAT_ARCHIVE_URL="x")
    assert done.returncode == 0
    assert marks(done)["environment"] == "warning"
    assert "HABITAT_ARCHIVE_URI" in done.stdout


# habitat status


def test_status_without_a_gateway(run: Run, tmp_path: Path) -> None:
    for words in (["status"], ["status", "--json"]):
        fails(run(*words), 1, "habitat serve")
    (tmp_path / "run").mkdir()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(tmp_path / "run/habitat.sock"))
    fails(run("status"), 1, "habitat serve")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection"),
        (b"\xff\xfe", "see its log"),
        (b"Status: 200 OK\r\nContent-Length: 99\r\n\r\n{}", "cut off"),
        (b"Status: 200 OK\r\nContent-Length: x\r\n\r\n{}", "see its log"),
        (b"Status: 200 OK\r\n\r\n[1]", "is not a status"),
        (b'Status: 200 OK\r\n\r\n{"state": 5}', "is not a status"),
        (b"Status: 200 OK\r\n\r\n{", "not a JSON object"),
        (b"Status: 503 No\r\n\r\nshutting\x1b down", "503: shutting\\x1b down"),
        (None, "did not answer within 0.3 s"),
    ],
)
def test_status_of_something_that_answers_badly(
    run: Run, tmp_path: Path, answer: bytes | None, said: str
) -> None:
    (tmp_path / "run").mkdir()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "run/habitat.sock"))
        listener.listen()
        listener.settimeout(PATIENCE)
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                parser = scgi.RequestParser(65536, 65536)
                while (request := parser.feed(connection.recv(65536))) is None:
                    pass
                assert request.headers[b"PATH_INFO"] == b"/status"
                if answer is None:
                    done.wait(PATIENCE)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("status", HABITAT_GATEWAY_TIMEOUT="0.3" if answer is None else "10")
        done.set()
        thread.join()
    fails(result, 1, said)


def test_status_of_a_running_gateway(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"machine_code": "a1"}})
    done = gateway.cli("status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert (facts["state"], facts["instance"]) == ("ready", "a1")
    lines = gateway.cli("status").stdout.splitlines()
    assert lines[0].split() == ["state", "ready"]
    assert "a1, habitat_like" in lines[1]
    assert any(line.startswith("sink") and ARCHIVE_SINK in line for line in lines)
    disk = os.statvfs(facts["journal"]["path"])
    assert facts["journal"]["disk_size"] == disk.f_blocks * disk.f_frsize
    assert 0 < facts["journal"]["disk_free"] < facts["journal"]["disk_size"]
    assert any(re.fullmatch(r"disk +\d+\.\d GB free, \d+ %", line) for line in lines)


def test_status_of_several_gateways(habitat: HabitatFactory, run: Run) -> None:
    gateways = [habitat({"gateway": {"machine_code": code}}) for code in ("a1", "b2")]
    paths = [str(gateway.config_path) for gateway in gateways]
    done = run("status", *paths)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()].count(["state", "ready"]) == 2
    gateways[0].stop()
    done = run("status", "--json", *paths)
    assert done.returncode == 1
    assert str(gateways[0].socket_path) in done.stderr
    assert [json.loads(line)["instance"] for line in done.stdout.splitlines()] == ["b2"]


def test_check_as_json_says_the_same(run: Run) -> None:
    done = run("check", "--json")
    found = json.loads(done.stdout)
    marks = {one["subject"]: one["mark"] for one in found}
    plain = run("check").stdout
    lines = re.findall(r"^(ok|warning|error|config error) +(\S+):", plain, re.M)
    assert {subject: mark for mark, subject in lines} == marks
    assert done.returncode == run("check").returncode
