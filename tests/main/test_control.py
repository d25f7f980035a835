"""The control socket and ``habitat ctl``: switches, reload, drain, and clients that misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
from collections.abc import Iterator

import pytest

from habitat_like.cli import main
from habitat_like.main.control import MAX_CLIENTS, MAX_REQUEST
from tests.conftest import HabitatFactory
from tests.support import scgi
from tests.support.cli import fails
from tests.support.control import ask, connect, control_path, last_line
from tests.support.couch import CouchServer
from tests.support.gateway import ARCHIVE_SINK, OWN, Habitat, own_actions
from tests.support.log import log_entries, logged, wait_for_log
from tests.support.proxy import Proxy
from tests.support.reply import unavailable
from tests.support.station import answer, archived, at_once, body, bulk, close
from tests.support.wait import PATIENCE, eventually

ME = f"ctl uid {os.getuid()}"
#: An archive that nobody listens for.
DOWN = {"archive": {"uri": "couchdb://op@127.0.0.1:1/down", "timeout": 1}}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    """One gateway for the tests that leave it as it was."""
    made = Habitat()
    try:
        yield made.start()
    finally:
        made.close()


def ctl(gateway: Habitat, *words: str) -> str:
    """What ``habitat ctl`` prints, where all goes well."""
    done = gateway.cli("ctl", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


# -- switches


def test_the_log_level_changes_at_once_and_a_reload_takes_it_back(habitat: HabitatFactory) -> None:
    gateway = habitat({"log": {"level": "error"}})
    assert "debug" in ctl(gateway, "log-level", "debug")
    assert gateway.status()["switches"]["log_level"] == "debug"
    # Who switched is logged whatever the level is.
    (entry,) = wait_for_log(gateway, "log level set")
    assert (entry["before"], entry["now"], entry["by"]) == ("error", "debug", ME)
    ctl(gateway, "reload")
    assert gateway.status()["switches"]["log_level"] == "error"
    assert not logged(gateway, "some changes")


def test_slow_requests_are_logged_with_action_status_address_and_time(gateway: Habitat) -> None:
    ctl(gateway, "slow-log", "0")
    assert gateway.scgi("POST", "/message", b"no message").status == 400
    (entry,) = wait_for_log(gateway, "slow request")
    assert (entry["action"], entry["status"], entry["ip"]) == ("message", 400, "127.0.0.1")
    assert 0 < entry["seconds"] < PATIENCE
    ctl(gateway, "slow-log", "3600")
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    ctl(gateway, "slow-log", "off")
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    assert len(logged(gateway, "slow request")) == 1


def test_an_action_that_is_given_up_is_a_slow_request(habitat: HabitatFactory) -> None:
    config = own_actions("wait", timeout=5)
    gateway = habitat(config, own=OWN)
    ctl(gateway, "slow-log", "1")
    go = gateway.directory / "go"
    assert gateway.scgi("POST", f"/wait?{go}", b"").status == 503
    (entry,) = wait_for_log(gateway, "slow request")
    assert (entry["action"], entry["status"]) == ("wait", 503)
    assert entry["seconds"] >= 5
    go.touch()


def test_each_batch_of_the_archive_is_logged(gateway: Habitat) -> None:
    # What an earlier test uploaded is no part of it.
    gateway.wait_until_archived()
    ctl(gateway, "archive-log", "on")
    before = len(logged(gateway, "archive batch"))
    assert gateway.scgi("POST", "/messages", bulk(range(10, 13))).status == 200
    entries = eventually(lambda: logged(gateway, "archive batch")[before:])
    assert sum(entry["documents"] for entry in entries) == 3
    assert all(entry["seconds"] > 0 and entry["problem"] is None for entry in entries)
    ctl(gateway, "archive-log", "off")
    gateway.wait_until_archived()
    before = len(logged(gateway, "archive batch"))
    assert gateway.scgi("POST", "/message", body(13)).status == 200
    gateway.wait_until_archived()
    assert len(logged(gateway, "archive batch")) == before


def test_a_batch_that_fails_is_logged_with_the_reason(habitat: HabitatFactory) -> None:
    gateway = habitat(DOWN)
    ctl(gateway, "archive-log", "on")
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    (entry, *_) = wait_for_log(gateway, "archive batch")
    assert entry["documents"] == 1
    assert "127.0.0.1:1" in entry["problem"]


def test_status_shows_the_switches(gateway: Habitat) -> None:
    ctl(gateway, "slow-log", "3")
    assert gateway.status()["switches"] == {
        "draining": False,
        "log_level": "debug",
        "slow_log": 3,
        "archive_log": False,
    }
    done = gateway.cli("status")
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert lines["state"] == "ready"
    assert "slow log      3 s or longer" in done.stdout
    ctl(gateway, "slow-log", "off")


def test_who_asks_is_in_the_log(gateway: Habitat) -> None:
    before = len(logged(gateway, "slow log set"))
    ctl(gateway, "slow-log", "3")
    ctl(gateway, "slow-log", "off")
    # Earlier tests have set it, too.
    entry = wait_for_log(gateway, "slow log set", before + 2)[-1]
    assert (entry["seconds"], entry["by"]) == (None, ME)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["log-level", "loud"], "loud"),
        (["slow-log", "soon"], "soon"),
        (["slow-log", "nan"], "nan"),
        (["slow-log", "1e9"], "1e9"),
        (["archive-log", "maybe"], "maybe"),
        (["maintenance"], "on|off"),
        (["maintenance", "off", "--message", "x"], "--message"),
        (["drain", "--timeout", "-1"], "-1"),
        (["dran"], "dran"),
    ],
)
def test_wrong_words_are_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["ctl", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_without_a_gateway_it_says_so(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    fails(gateway.cli("ctl", "slow-log", "off"), 1, "no gateway runs at run/control.sock")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_may_not_steer(gateway: Habitat) -> None:
    gateway.directory.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            connect(gateway).close()
        except PermissionError:
            os._exit(13)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 13
    assert stat.S_IMODE(control_path(gateway).stat().st_mode) == 0o600


# -- reload


def test_reload_waits_and_tells_what_came_of_it(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert ctl(gateway, "reload") == "changed: nothing\n"
    gateway.config["gateway"].update(max_body=5000, workers=9)
    gateway.write_config()
    assert ctl(gateway, "reload") == "changed: gateway.max_body\nneeds a restart: gateway.workers\n"
    assert gateway.scgi("POST", "/message", b"x" * 5001).status == 413
    assert wait_for_log(gateway, "configuration reloaded")[-1]["by"] == ME


def test_a_reload_with_a_mistake_is_refused_with_code_1(habitat: HabitatFactory) -> None:
    gateway = habitat(own=OWN)
    good = gateway.config_path.read_text()
    gateway.config_path.write_text(good + "types: {WEATHER: no.such.Type}\n")
    fails(gateway.cli("ctl", "reload"), 1, "no.such")
    # A file that this command can't read either.
    gateway.config_path.write_text("gateway: {max_bodi: 1}\n")
    fails(gateway.cli("ctl", "reload"), 1, "gateway.max_bodi")
    gateway.config_path.write_text(good)
    gateway.config["sinks"] = [ARCHIVE_SINK, "own.Missing"]
    gateway.write_config()
    done = gateway.cli("ctl", "reload")
    assert (done.returncode, done.stdout) == (1, "changed: sinks\n")
    assert "own.Missing" in done.stderr
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]


def test_reloads_that_are_asked_for_at_once_are_all_answered(habitat: HabitatFactory) -> None:
    gateway = habitat()
    for outcome in at_once(8, lambda _: ask(gateway, {"command": "reload"})):
        assert outcome == {"changed": [], "restart": [], "problems": []}


# -- drain


def test_a_drain_ends_an_idle_gateway(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/messages", bulk(range(50))).status == 200
    assert "drained" in ctl(gateway, "drain")
    assert gateway.wait() == 0
    assert not gateway.socket_path.exists()
    assert not control_path(gateway).exists()
    gateway.start()
    assert archived(gateway) == list(range(50))


def test_a_drain_waits_for_an_archive_that_is_down_until_it_is_back(
    habitat: HabitatFactory, proxy: Proxy, database: str, couch: CouchServer
) -> None:
    gateway = habitat({"archive": {"uri": proxy.uri(database), "timeout": 5}})
    proxy.refuse()
    assert gateway.scgi("POST", "/messages", bulk(range(20))).status == 200
    with connect(gateway) as connection, connection.makefile("rb") as lines:
        connection.sendall(b'{"command": "drain"}\n')
        assert json.loads(lines.readline()) == {"progress": {"backlog": 20}}
        # Uploads are told so, and everybody else can see it.
        assert unavailable(gateway.scgi("POST", "/message", body(20))) == "the gateway is draining"
        assert gateway.status()["state"] == "draining"
        proxy.start()
        last = [json.loads(line) for line in lines][-1]
    assert last == {"left": 0}
    assert gateway.wait() == 0
    assert len(couch.all_docs(database)) == 20


def test_a_drain_ends_at_its_timeout_with_what_is_left_in_the_journal(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat(DOWN)
    assert gateway.scgi("POST", "/messages", bulk(range(7))).status == 200
    fails(gateway.cli("ctl", "drain", "--timeout", "0.3"), 1, "7 messages are left")
    assert gateway.wait() == 1
    gateway.config["archive"]["uri"] = f"sqlite:{gateway.directory / 'archive.sqlite'}"
    gateway.start()
    assert archived(gateway) == list(range(7))


def test_a_drain_waits_for_what_the_slow_lane_still_has(habitat: HabitatFactory) -> None:
    # The archive takes them one by one, so that it isn't done by chance.
    config = {**own_actions("wait_and_push_all"), "archive": {"batch": 1}}
    gateway = habitat(config, own=OWN)
    go = gateway.directory / "go"
    with gateway.connect() as slow, connect(gateway) as control:
        slow.sendall(scgi.encode("POST", f"/wait_and_push_all?{go}", bulk(range(50))))
        eventually((gateway.directory / "go.began").exists)
        control.sendall(b'{"command": "drain"}\n')
        wait_for_log(gateway, "draining")
        go.touch()
        assert answer(slow).status == 200
        with control.makefile("rb") as lines:
            assert [json.loads(line) for line in lines][-1] == {"left": 0}
    assert gateway.wait() == 0
    gateway.start()
    assert archived(gateway) == list(range(50))


def test_sigterm_ends_a_drain(habitat: HabitatFactory) -> None:
    gateway = habitat(DOWN)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    with connect(gateway) as control, control.makefile("rb") as lines:
        control.sendall(b'{"command": "drain"}\n')
        assert "progress" in json.loads(lines.readline())
        assert gateway.stop() == 0
        assert [json.loads(line) for line in lines][-1] == {"left": 1}


# -- the socket


def test_a_socket_that_a_crash_left_is_taken_over(habitat: HabitatFactory) -> None:
    gateway = habitat()
    gateway.kill()
    assert control_path(gateway).exists()
    fails(gateway.cli("ctl", "slow-log", "off"), 1, "no gateway runs")
    gateway.start()
    assert "off" in ctl(gateway, "slow-log", "off")
    assert gateway.stop() == 0
    assert not control_path(gateway).exists()


def test_a_socket_that_somebody_removed_is_made_again(habitat: HabitatFactory) -> None:
    gateway = habitat()
    path = control_path(gateway)
    with connect(gateway) as connected:
        path.unlink()
        eventually(lambda: "off" in ctl(gateway, "slow-log", "off"), "it is made again")
        # A client of before is served, too.
        connected.sendall(b'{"command": "slow-log", "seconds": null}\n')
        assert "steering" in last_line(connected)
    gateway.signal(signal.SIGSTOP)  # else it might make it again half-way
    path.parent.rename(gateway.directory / "elsewhere")
    path.parent.write_text("in the way")
    gateway.signal(signal.SIGCONT)
    (entry,) = wait_for_log(gateway, "habitat ctl can't reach this gateway")
    assert entry["why"].startswith("control.socket run/control.sock: ")
    path.parent.unlink()
    eventually(lambda: "off" in ctl(gateway, "slow-log", "off"), "and its directory with it")
    assert gateway.stop() == 0
    assert not path.exists()


def test_a_second_gateway_with_the_same_control_socket_serves_without_it(
    habitat: HabitatFactory,
) -> None:
    first, second = habitat(), habitat(start=False)
    second.config["control"] = {"socket": str(control_path(first))}
    second.start()
    (entry,) = wait_for_log(second, "habitat ctl can't reach this gateway")
    assert "control.socket" in entry["why"]
    assert "another instance is listening" in entry["why"]
    assert second.scgi("POST", "/message", body(1)).status == 200
    assert second.stop() == 0
    # The first one still has it.
    assert "off" in ctl(first, "slow-log", "off")


def test_a_file_in_its_place_is_left_alone(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    control_path(gateway).parent.mkdir()
    control_path(gateway).write_text("precious")
    gateway.start()
    wait_for_log(gateway, "habitat ctl can't reach this gateway")
    assert gateway.stop() == 0
    assert control_path(gateway).read_text() == "precious"


# -- clients that misbehave


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"maintenance on\n",
        b"{}\n",
        b"[]\n",
        b'{"command": "format-disk"}\n',
        b'{"command": "maintenance"}\n',
        b'{"command": "maintenance", "on": "yes"}\n',
        b'{"command": "maintenance", "on": true, "mesage": "x"}\n',
        b'{"command": "maintenance", "on": true, "message": "200 OK"}\n',
        b'{"command": "log-level", "level": "loud"}\n',
        b'{"command": "slow-log", "seconds": -1}\n',
        b'{"command": "drain", "timeout": "soon"}\n',
        b"[" * 5000 + b"\n",
        b"\xff\xfe\n",
        b"x" * (MAX_REQUEST + 1),
    ],
)
def test_garbage_gets_one_line_that_says_why(gateway: Habitat, line: bytes) -> None:
    answer = ask(gateway, line)
    assert answer.keys() == {"error"}
    assert "\n" not in answer["error"]
    assert gateway.status()["maintenance"] is None


def test_clients_that_vanish_or_wait_disturb_nobody(gateway: Habitat) -> None:
    request = b'{"command": "slow-log", "seconds": null}\n'
    vanished = [connect(gateway) for _ in range(4)]
    vanished[0].sendall(request[:5])
    vanished[1].sendall(request * 100)
    vanished[2].sendall(b'{"command": "reload"}\n')
    close(vanished)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connect(gateway)).sendall(request[:5])
        assert "off" in ctl(gateway, "slow-log", "off")
    assert not [one for one in log_entries(gateway) if one["level"] in ("error", "critical")]


def test_a_stop_does_not_wait_for_clients_that_ask_for_nothing(habitat: HabitatFactory) -> None:
    gateway = habitat()
    with connect(gateway) as idle, connect(gateway) as answered:
        answered.sendall(b'{"command": "slow-log", "seconds": null}\n')
        assert "steering" in json.loads(answered.recv(10_000))
        assert gateway.stop() == 0
        assert (idle.recv(1), answered.recv(1)) == (b"", b"")
    assert logged(gateway, "the control socket has a problem") == []


def test_too_many_clients_are_turned_away(gateway: Habitat) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(gateway)) for _ in range(MAX_CLIENTS)]
        for client in clients:
            client.sendall(b'{"command": "archive-log", "on": false}\n')
            assert "steering" in last_line(client)
        with connect(gateway) as one_more:
            assert "too many" in last_line(one_more)["error"]
    assert "off" in eventually(lambda: ctl(gateway, "slow-log", "off"))


def test_several_requests_follow_each_other_on_one_connection(gateway: Habitat) -> None:
    with connect(gateway) as connection, connection.makefile("rb") as lines:
        connection.sendall(b'{"command": "slow-log", "seconds": 5}\n' * 3)
        connection.sendall(b'{"command": "slow-log", "seconds": null}\n')
        answers = [json.loads(lines.readline())["steering"]["slow_log"] for _ in range(4)]
    assert answers == [5, 5, 5, None]
