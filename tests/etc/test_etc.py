"""The files in etc/ fit the program, nginx and systemd."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from habitat_like import config as configuration
from habitat_like.cli.nginx import location_block
from habitat_like.main.program import STUCK
from habitat_like.main.signals import USAGE
from habitat_like.steering.reload import RELOADABLE
from tests.conftest import HabitatFactory
from tests.support.docs import COMMENTED, ETC, KEYS, VARIABLES, text
from tests.support.messages import GOOD
from tests.support.net import free_port, program
from tools.run import nginx_command

#: The keys that etc/config.yml sets to what a server needs. All others have their defaults there.
SERVER = {
    "gateway.socket": "/run/habitat/habitat.sock",
    "journal.path": "/var/lib/habitat/journal.sqlite",
    "control.socket": "/run/habitat/control.sock",
    "archive.uri": "sqlite:/var/lib/habitat/archive.sqlite",
    "console.password_file": "/var/lib/habitat/console-users",
}


def test_shipped_config_has_every_key_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    path = ETC / "config.yml"
    tree = yaml.safe_load(path.read_text())
    present = {
        f"{section}.{key}" if key else section
        for section, value in tree.items()
        for key in (value if f"{section}.{next(iter(value or ''), '')}" in KEYS else [""])
    }
    assert present == KEYS.keys() - {COMMENTED}
    assert re.search(r"^  # machine_code: ", path.read_text(), re.M)

    loaded = configuration.load(str(path))
    for key, default in KEYS.items():
        value: Any = loaded
        for part in key.split("."):
            value = getattr(value, part)
        assert value == SERVER.get(key, default), key


def test_shipped_config_tells_the_defaults_that_it_changes() -> None:
    for key in SERVER:
        default = "null" if KEYS[key] is None else KEYS[key]
        name = key.rpartition(".")[2]
        assert re.search(
            rf"^  # server; default: {re.escape(str(default))}\n  {name}: ",
            (ETC / "config.yml").read_text(),
            re.M,
        ), key


def test_shipped_config_tells_what_a_reload_takes_up() -> None:
    comment: list[str] = []
    section = ""
    marked = set()
    for line in (ETC / "config.yml").read_text().splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line)
        elif match := re.match(r"( *)(\w+):", line):
            key = f"{section}.{match[2]}" if match[1] else match[2]
            section = section if match[1] else match[2]
            if comment and any("(reload)" in part for part in comment):
                marked.add(key)
        else:
            comment = []
        if not line.lstrip().startswith("#"):
            comment = []
    assert marked == RELOADABLE


def location(conf: str) -> list[str]:
    """The lines of the outer location block, without indentation."""
    start = conf.index("    location / {") if "    location / {" in conf else conf.index("location")
    depth = 0
    lines = []
    for line in conf[start:].splitlines():
        lines.append(line.strip())
        depth += line.count("{") - line.count("}")
        if depth == 0:
            return lines
    raise AssertionError("the block doesn't end")


def test_nginx_file_has_the_block_that_habitat_nginx_prints() -> None:
    config = configuration.load(str(ETC / "config.yml"), environ={})
    printed = location_block(config, everything=True)
    shipped = (ETC / "nginx" / "habitat.conf").read_text()
    assert location(shipped) == location(printed)
    for page in ("status", "metrics", "healthz", "readyz"):
        assert re.search(rf"location ~ .*\b{page}\b.*\{{[^}}]*deny  all;", shipped, re.S)


def test_nginx_takes_the_file() -> None:
    conf = (ETC / "nginx" / "habitat.conf").read_text()
    # Ports and paths that belong to a server, and IPv6, which a test machine may not have.
    conf = re.sub(r"listen 80;", f"listen 127.0.0.1:{free_port()};", conf)
    conf = re.sub(r"listen \[::\]:80;", "", conf)
    program("nginx")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        conf = conf.replace("/var/log/nginx/", f"{name}/")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {name}/{kind};\n" for kind in kinds)
        (directory / "nginx.conf").write_text(
            f"pid {name}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{conf}\n}}\n"
        )
        done = subprocess.run(
            [*nginx_command(directory), "-t"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def settings(name: str, key: str) -> list[str]:
    """All values of a setting of a systemd unit, in order."""
    lines = (ETC / "systemd" / name).read_text().splitlines()
    return [line.removeprefix(f"{key}=") for line in lines if line.startswith(f"{key}=")]


def unit(name: str) -> dict[str, str]:
    """The settings of a systemd unit, the last of each name."""
    lines = (ETC / "systemd" / name).read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#[")
    return {key: value for key, _, value in pairs}


def test_systemd_units_fit_the_configuration() -> None:
    service, socket = unit("habitat.service"), unit("habitat.socket")
    config = configuration.load(str(ETC / "config.yml"), environ={})
    assert socket["ListenStream"] == config.gateway.socket
    assert socket["SocketMode"] == config.gateway.socket_mode
    assert float(service["TimeoutStopSec"]) > config.gateway.shutdown_timeout
    assert float(service["WatchdogSec"]) > STUCK
    assert int(service["LimitNOFILE"]) > 2 * config.gateway.max_connections
    assert service["RestartPreventExitStatus"] == str(USAGE)
    # Else systemd would remove the socket at every stop.
    assert service["RuntimeDirectoryPreserve"] == "yes"
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp"):
        assert service[key] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"


@pytest.mark.parametrize("name", ["habitat", "habitat@"])
def test_the_socket_stays_in_reach_of_nginx(name: str) -> None:
    # RuntimeDirectory= gives a directory that is not the user's to the user, with all in it.
    socket, service = unit(f"{name}.socket"), unit(f"{name}.service")
    made = socket["ExecStartPre"].split()
    assert made[0] == "/usr/bin/install"
    options = dict(zip(made[2:-1:2], made[3:-1:2], strict=True))
    assert options == {"-o": service["User"], "-g": service["Group"], "-m": "755"}
    assert made[-1] == f"/run/{service['RuntimeDirectory']}"
    assert Path(socket["ListenStream"]).parent == Path(made[-1])


@pytest.mark.parametrize(("name", "own"), [("habitat", ""), ("habitat@", "@%i")])
def test_a_wrong_configuration_closes_the_socket(name: str, own: str) -> None:
    service = unit(f"{name}.service")
    command = service["ExecStopPost"]
    assert command.startswith("+/bin/sh -c '")  # as root
    assert f'[ "$$EXIT_STATUS" = {USAGE} ]' in command
    assert f"systemctl --no-block stop habitat{own}.socket;" in command
    assert service["RestartPreventExitStatus"] == str(USAGE)
    assert f"habitat{own}.socket" in settings(f"{name}.service", "Requires")


@pytest.mark.parametrize(("name", "config"), [("habitat", "config"), ("habitat@", "%i")])
def test_a_reload_needs_the_gateway_alone_and_tells_what_came_of_it(name: str, config: str) -> None:
    program = unit(f"{name}.service")["ExecStart"].split()[0]
    wanted = f"{program} ctl reload --config /etc/habitat/{config}.yml"
    assert settings(f"{name}.service", "ExecReload") == [wanted]


@pytest.mark.parametrize("name", ["habitat", "habitat@"])
def test_the_service_starts_when_the_time_is_known(name: str) -> None:
    after = " ".join(settings(f"{name}.service", "After")).split()
    assert {"time-set.target", "time-sync.target"} <= set(after)


def test_several_gateways_may_write_an_archive_that_they_share() -> None:
    assert unit("habitat@.service")["StateDirectory"].split() == ["habitat", "habitat/%i"]
    assert unit("habitat@.service")["WorkingDirectory"] == "/var/lib/habitat/%i"


def test_logrotate_finds_the_logs_of_all_gateways() -> None:
    places = (ETC / "logrotate.d" / "habitat").read_text()
    for name in ("habitat.service", "habitat@.service"):
        directory = unit(name)["LogsDirectory"].replace("%i", "*")
        assert f"/var/log/{directory}/*.log" in places


def test_the_site_answers_to_every_name() -> None:
    names = re.search(r"server_name (.*);", (ETC / "nginx" / "habitat.conf").read_text())
    assert names
    assert "~." in names[1].split()


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_the_units_of_several_gateways_differ_in_the_instance_alone(kind: str) -> None:
    one, many = unit(f"habitat.{kind}"), unit(f"habitat@.{kind}")
    assert one.keys() == many.keys()
    different = {key for key in one if one[key] != many[key]}
    assert different
    assert all("%i" in many[key] for key in different)


@pytest.fixture
def analyze() -> str:
    """The program systemd-analyze; without it the test is skipped."""
    return program("systemd-analyze")


def test_systemd_takes_the_units(analyze: str, tmp_path: Path) -> None:
    paths = []
    for source in (ETC / "systemd").iterdir():
        path = tmp_path / source.name
        # It looks whether the program is there.
        path.write_text(source.read_text().replace("/opt/habitat/bin/habitat", "/bin/true"))
        paths.append(str(path))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert not ours, done.stderr
    assert done.returncode == 0, done.stderr


#: systemd-analyze's figure for how much a service is exposed: 0 is nothing, 10 is all.
EXPOSURE = 1.1


@pytest.mark.parametrize("name", ["habitat.service", "habitat@.service"])
def test_the_service_is_exposed_as_little_as_documented(analyze: str, name: str) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager"]
    if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this systemd-analyze looks at no unit files")
    threshold = f"--threshold={EXPOSURE * 10:.0f}"
    done = subprocess.run(
        [*command, threshold, str(ETC / "systemd" / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE, done.stdout
    assert done.returncode == 0
    assert f"exposure level {EXPOSURE}" in text("docs/security.md")


def allowed_calls(analyze: str, name: str) -> set[str]:
    """The system calls that a unit's SystemCallFilter= lets through."""
    allowed: set[str] = set()

    def members(item: str) -> set[str]:
        if not item.startswith("@"):
            return {item}
        done = subprocess.run(
            [analyze, "syscall-filter", item], capture_output=True, text=True, check=True
        )
        words = {line.strip() for line in done.stdout.splitlines()[1:] if line.strip()[:1] != "#"}
        return set().union(*(members(word) for word in words if word))

    for line in settings(name, "SystemCallFilter"):
        calls = set().union(*(members(item) for item in line.removeprefix("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def test_the_service_may_make_every_system_call_that_it_makes(
    analyze: str, habitat: HabitatFactory
) -> None:
    tracer = program("strace")
    gateway = habitat(start=False)
    gateway.write_config()
    trace = gateway.directory / "trace"
    serve = [sys.executable, "-m", "habitat_like.cli", "serve"]
    with gateway.log_path.open("ab") as log:
        gateway.process = subprocess.Popen(
            [tracer, "-f", "-D", "-q", "-o", str(trace), *serve],
            cwd=gateway.directory,
            env=gateway.environ,
            stdout=log,
            stderr=log,
        )
    gateway.wait_ready()
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    gateway.wait_until_archived()
    assert gateway.scgi("GET", "/metrics").status == 200
    assert gateway.stop() == 0
    lines = trace.read_text(errors="replace")
    made = set(re.findall(r"^\d+ +(\w+)\(", lines, re.M))
    assert {"execve", "epoll_wait", "fdatasync"} <= made
    if os.geteuid() == 0:
        made.discard("fchown")  # SQLite's for root alone
    assert made <= allowed_calls(analyze, "habitat.service")
    # MemoryDenyWriteExecute=
    assert not re.search(r"(mmap|mprotect)\([^)]*PROT_WRITE\|PROT_EXEC", lines)
    assert not re.search(r"mprotect\([^)]*PROT_EXEC", lines)
