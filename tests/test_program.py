"""The program as a process: signals, reloads, systemd, failures, and its end."""

from __future__ import annotations

import gc
import json
import os
import random
import select
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from habitat_like.config import Config, GatewayConfig, JournalConfig
from habitat_like.http import SCGIApplication
from habitat_like.journal import Journal
from habitat_like.message import Registry
from habitat_like.message_server import Server
from tests.conftest import HabitatFactory
from tests.support import scgi
from tests.support.gateway import Habitat
from tests.support.net import short_directory
from tests.support.station import (
    answer,
    archived,
    at_once,
    body,
    bulk,
    log_entries,
    logged,
    message,
    plain_lines,
    upload,
)
from tests.support.wait import eventually

ARCHIVE = "habitat_like.archive.ArchiveSink"

#: An operator's own actions, sinks and types, in a module beside the configuration.
OWN = """
import os
import time

import msgspec

from habitat_like.http import action
from habitat_like.message_server import JournalSink, SimpleSink


def wait(application, ip, args):
    open(args.query + ".began", "w").close()
    while not os.path.exists(args.query):
        time.sleep(0.005)
    application.message(ip, args)


def fall(application, ip, args):
    raise SystemExit("a slow action's end")


@action(fast=True)
def fall_fast(application, ip, args):
    raise GeneratorExit("a fast action's end")


class Weather(msgspec.Struct):
    number: int


class Falling(SimpleSink):
    def message(self, message):
        raise SystemExit("a sink's end")


class Counting(SimpleSink):
    def message(self, message):
        with open("counted", "a") as file:
            file.write(f"{message.data['number']}\\n")


class BadEnd(SimpleSink):
    def message(self, message):
        pass

    def shutdown(self):
        raise RuntimeError("a sink that can't be closed")


class BadStop(BadEnd):
    shutdown = JournalSink.shutdown

    def stop(self):
        super().stop()
        raise RuntimeError("a sink that can't be stopped")


class BadStart(SimpleSink):
    def setup(self):
        raise RuntimeError("a sink that\\ncan't be made")
"""


def with_own(habitat: HabitatFactory, config: dict[str, Any], *, start: bool = True) -> Habitat:
    """A gateway with the operator's own module beside its configuration."""
    made = habitat(config, start=False)
    (made.directory / "own.py").write_text(OWN, encoding="utf-8")
    return made.start() if start else made


def actions(*names: str, **gateway: Any) -> dict[str, Any]:
    return {"gateway": {"actions": ["message", "messages", *names], **gateway}}


def reload(gateway: Habitat, text: str = "configuration reloaded") -> dict[str, Any]:
    """SIGHUP with the configuration as it is now; the new log entry with ``text``."""
    before = len(logged(gateway, text))
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    eventually(lambda: len(logged(gateway, text)) > before, text)
    return logged(gateway, text)[-1]


def begin(gateway: Habitat, number: int) -> tuple[socket.socket, Path]:
    """A request whose slow action runs until the path is touched."""
    go = gateway.directory / "go"
    connection = gateway.connect()
    connection.sendall(scgi.encode("POST", f"/wait?{go}", body(number)))
    eventually(go.with_name("go.began").exists)
    return connection, go


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_is_in_flight(habitat: HabitatFactory, number: signal.Signals) -> None:
    gateway = with_own(habitat, actions("own.wait"))
    connection, go = begin(gateway, 1)
    with connection, gateway.connect() as half:
        half.sendall(upload(2)[:-1])
        eventually(lambda: gateway.status()["connections"] == 2)
        gateway.signal(number)
        eventually(lambda: logged(gateway, "stopping"))
        half.sendall(upload(2)[-1:])
        assert answer(half).status == 200
        go.touch()
        assert answer(connection).status == 200
    assert gateway.wait() == 0
    assert not gateway.socket_path.exists()
    assert plain_lines(gateway) == []
    assert archived(gateway.start()) == [1, 2]


def test_a_request_that_never_comes_whole_is_told_503_at_a_stop(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"timeout": 60}})
    with gateway.connect() as half:
        half.sendall(upload(1)[:-1])
        eventually(lambda: gateway.status()["connections"] == 1)
        gateway.signal(signal.SIGTERM)
        reply = answer(half)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert gateway.wait() == 0


def test_a_stop_answers_what_waits_in_the_socket(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"max_batch": 1}})
    connections = [gateway.connect() for _ in range(300)]
    for number, connection in enumerate(connections):
        connection.sendall(upload(number))
    gateway.signal(signal.SIGTERM)
    for connection in connections:
        assert answer(connection).status == 200
        connection.close()
    assert gateway.wait() == 0
    assert archived(gateway.start()) == list(range(300))


def test_every_upload_answered_200_during_stops_is_archived(habitat: HabitatFactory) -> None:
    gateway = habitat()
    kept: list[int] = []
    numbers = iter(range(1_000_000))
    for _ in range(3):
        stop = threading.Event()

        def station(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                number = next(numbers)
                try:
                    if gateway.scgi("POST", "/message", body(number)).status == 200:
                        kept.append(number)
                except (OSError, AssertionError):
                    return

        threads = [threading.Thread(target=station) for _ in range(8)]
        goal = len(kept) + 100
        for thread in threads:
            thread.start()
        eventually(lambda goal=goal: len(kept) >= goal)  # type: ignore[misc]
        assert gateway.stop() == 0
        stop.set()
        for thread in threads:
            thread.join()
        gateway.start()
    assert set(archived(gateway)) >= set(kept)


def test_a_second_signal_ends_it_at_once(habitat: HabitatFactory) -> None:
    gateway = with_own(habitat, actions("own.wait", shutdown_timeout=600, timeout=600))
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    connection, _ = begin(gateway, 2)
    with connection:
        gateway.signal(signal.SIGTERM)
        eventually(lambda: logged(gateway, "stopping"))
        assert not gateway.process_ended()
        gateway.signal(signal.SIGINT)
        assert gateway.wait() == 1
    assert archived(gateway.start()) == [1]


def test_an_action_that_never_ends_does_not_stop_the_stop(habitat: HabitatFactory) -> None:
    gateway = with_own(habitat, actions("own.wait", shutdown_timeout=1, timeout=600))
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    connection, _ = begin(gateway, 2)
    with connection:
        gateway.signal(signal.SIGTERM)
        assert answer(connection).status == 503
        assert gateway.wait() == 1
    assert "worker" in logged(gateway, "threads did not stop")[0]["threads"]
    assert not gateway.socket_path.exists()
    assert archived(gateway.start()) == [1]


def test_signals_in_a_flood_neither_kill_nor_hang_it(habitat: HabitatFactory) -> None:
    gateway = habitat()
    for _ in range(300):
        for _ in range(10):
            gateway.signal(signal.SIGHUP)
        assert not gateway.process_ended()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    eventually(lambda: logged(gateway, "configuration reloaded"))
    assert gateway.stop() == 0
    assert plain_lines(gateway) == []


def test_a_reload_puts_the_new_limits_in_force(habitat: HabitatFactory) -> None:
    gateway = habitat({"archive": {"uri": "couchdb://op@127.0.0.1:1/down", "timeout": 1}})
    pid = gateway.pid
    gateway.config["gateway"].update(max_body=1000, max_headers=2000)
    gateway.config["journal"]["max_backlog"] = 3
    entry = reload(gateway)
    assert {"gateway.max_body", "gateway.max_headers", "journal.max_backlog"} == set(
        entry["changed"].split(", ")
    )
    with gateway.connect() as connection:
        connection.sendall(scgi.encode("POST", "/message", b"x" * 1001))
        assert answer(connection).status == 413
    with gateway.connect() as connection:
        connection.sendall(scgi.encode("POST", "/message", b"", {"X-Long": "x" * 2000}))
        assert answer(connection).status == 431
    assert gateway.scgi("POST", "/messages", bulk(range(3))).status == 200
    assert gateway.scgi("POST", "/message", body(3)).status == 503
    assert gateway.status()["max_backlog"] == 3
    gateway.config["journal"]["max_backlog"] = 4
    reload(gateway)
    assert gateway.scgi("POST", "/message", body(3)).status == 200
    assert gateway.pid == pid


def test_a_reload_changes_the_logs_level_format_and_file(habitat: HabitatFactory) -> None:
    gateway = habitat()
    file = gateway.directory / "logs" / "habitat.log"
    gateway.config["log"] = {"level": "warning", "format": "text", "file": str(file)}
    gateway.config["gateway"]["workers"] = 9
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    eventually(lambda: "gateway.workers" in file.read_text())
    assert "configuration reloaded" not in file.read_text()
    assert file.read_text().split()[2] == "warning"
    gateway.config["log"] = {"level": "debug", "format": "json"}
    reload(gateway)


def test_a_reload_brings_a_new_type(habitat: HabitatFactory) -> None:
    gateway = with_own(habitat, {})
    weather = json.dumps(message(1) | {"type": "WEATHER", "data": {"number": 1}})
    assert gateway.scgi("POST", "/message", weather).status == 400
    gateway.config["types"] = {"WEATHER": "own.Weather"}
    assert reload(gateway)["changed"] == "types"
    assert gateway.scgi("POST", "/message", weather).status == 200
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    del gateway.config["types"]
    reload(gateway)
    assert gateway.scgi("POST", "/message", weather.replace("1", "2")).status == 400
    assert archived(gateway) == [1, 2]


def test_a_reload_loads_and_unloads_sinks(habitat: HabitatFactory) -> None:
    gateway = with_own(habitat, {})
    counted = gateway.directory / "counted"
    gateway.config["sinks"] = [ARCHIVE, "own.Counting"]
    assert reload(gateway)["changed"] == "sinks"
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    eventually(lambda: counted.read_text().split() == ["1"])
    gateway.config["sinks"] = [ARCHIVE]
    reload(gateway)
    assert list(gateway.status()["sinks"]) == [ARCHIVE]
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    assert archived(gateway) == [1, 2]
    assert counted.read_text().split() == ["1"]
    gateway.config["sinks"] = [ARCHIVE, "own.Counting"]
    reload(gateway)
    eventually(lambda: counted.read_text().split() == ["1", "2"])


def test_a_reload_names_what_needs_a_restart_every_time(habitat: HabitatFactory) -> None:
    gateway = habitat()
    gateway.config["gateway"].update(workers=9, machine_code="other", max_body=5000)
    gateway.config["journal"]["sync"] = "normal"
    for _ in range(2):
        entry = reload(gateway, "need a restart")
        assert set(entry["keys"].split(", ")) == {
            "gateway.workers",
            "gateway.machine_code",
            "journal.sync",
        }
    assert gateway.status()["instance"] == "test"


@pytest.mark.parametrize(
    "text",
    [
        "gateway: {max_bodi: 1}",
        "gateway: [",
        "types: {WEATHER: no.such.Type}",
        "types: {TELEM: own.Weather}",
        "log: {file: /dev/null/log}",
        "gateway: {max_body: -1}",
    ],
)
def test_a_broken_file_is_refused_and_the_old_one_stays(habitat: HabitatFactory, text: str) -> None:
    gateway = with_own(habitat, {})
    gateway.config_path.write_text(text, encoding="utf-8")
    gateway.signal(signal.SIGHUP)
    eventually(lambda: logged(gateway, "reload refused"))
    assert logged(gateway, "reload refused")[0]["why"]
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert reload(gateway)["changed"] == "nothing"
    assert archived(gateway) == [1]


def test_a_sink_that_can_not_be_loaded_leaves_the_others(habitat: HabitatFactory) -> None:
    gateway = with_own(habitat, {})
    gateway.config["sinks"] = ["own.BadStart", ARCHIVE, "own.Missing"]
    reload(gateway)
    assert logged(gateway, "own.BadStart")
    assert logged(gateway, "own.Missing")
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]


def test_a_module_that_exits_while_it_is_imported_leaves_no_ruins(habitat: HabitatFactory) -> None:
    gateway = with_own(habitat, {})
    (gateway.directory / "leaving.py").write_text("import sys\n\nsys.exit(0)\n")
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    gateway.config["types"] = {"WEATHER": "leaving.Weather"}
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.process_ended() or logged(gateway, "reload refused"))
    if gateway.process_ended():
        assert gateway.wait() == 1
        assert logged(gateway, "stopped")
        assert not gateway.socket_path.exists()
        del gateway.config["types"]
        gateway.start()
    assert archived(gateway) == [1]


@pytest.mark.parametrize("sink", ["own.BadEnd", "own.BadStop"])
def test_a_sink_that_fails_to_end_does_not_end_a_reload(habitat: HabitatFactory, sink: str) -> None:
    gateway = with_own(habitat, {"sinks": [ARCHIVE, sink]})
    gateway.config["sinks"] = [ARCHIVE]
    reload(gateway)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]
    assert gateway.stop() == 0


@pytest.mark.parametrize("sink", ["own.BadEnd", "own.BadStop"])
def test_a_sink_that_fails_to_end_does_not_disturb_a_stop(
    habitat: HabitatFactory, sink: str
) -> None:
    gateway = with_own(habitat, {"sinks": [sink, ARCHIVE]})
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    gateway.stop()
    assert logged(gateway, "stopped")
    assert plain_lines(gateway) == []
    assert not gateway.journal_path.with_name(f"{gateway.journal_path.name}-wal").exists()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_every_change_of_state(habitat: HabitatFactory, abstract: bool) -> None:
    gateway = habitat(start=False)
    name = f"@{gateway.directory.name}" if abstract else str(gateway.directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"\0{name[1:]}" if abstract else name)
        notify.settimeout(20)

        def told() -> str:
            while (text := notify.recv(4096).decode()) == "WATCHDOG=1":
                pass
            return text

        gateway.environ["NOTIFY_SOCKET"] = name
        gateway.start(ready=False)
        assert told() == "READY=1"
        assert gateway.scgi("GET", "/readyz").status == 200
        while notify.recv(4096) != b"WATCHDOG=1":
            pass
        gateway.signal(signal.SIGHUP)
        first, second = told().split("\n")
        assert first == "RELOADING=1"
        assert 0 < int(second.removeprefix("MONOTONIC_USEC=")) < time.monotonic_ns() // 1000
        assert told() == "READY=1"
        gateway.config_path.write_text("nonsense: 1")
        gateway.signal(signal.SIGHUP)
        assert told().startswith("RELOADING=1")
        assert told() == "READY=1"
        gateway.signal(signal.SIGTERM)
        assert told() == "STOPPING=1"
        assert gateway.wait() == 0


def test_a_missing_supervisor_is_no_reason_to_fail(habitat: HabitatFactory) -> None:
    gateway = habitat(environ={"NOTIFY_SOCKET": "/nowhere/notify"})
    assert gateway.scgi("POST", "/message", body()).status == 200
    assert gateway.stop() == 0


def failed_in_order(gateway: Habitat, thread: str) -> None:
    """It ended with code 1, in order, and said which thread failed and why."""
    assert gateway.wait() == 1
    (failure,) = logged(gateway, "a thread failed")
    assert failure["level"] == "critical"
    assert thread in json.dumps(failure)
    assert "end" in failure["exception"]
    assert logged(gateway, "stopped")
    assert plain_lines(gateway) == []
    assert not gateway.socket_path.exists()


@pytest.mark.parametrize(("name", "thread"), [("fall", "worker"), ("fall_fast", "gateway")])
def test_an_action_that_ends_its_thread_ends_the_program_in_order(
    habitat: HabitatFactory, name: str, thread: str
) -> None:
    gateway = with_own(habitat, actions(f"own.{name}"))
    assert gateway.scgi("POST", "/messages", bulk(range(500))).status == 200
    with gateway.connect() as connection:
        connection.sendall(scgi.encode("POST", f"/{name}"))
        failed_in_order(gateway, thread)
    assert archived(gateway.start()) == list(range(500))


def test_a_sink_that_ends_its_thread_ends_the_program_in_order(habitat: HabitatFactory) -> None:
    gateway = with_own(habitat, {"sinks": ["own.Falling", ARCHIVE]})
    replies = at_once(1, lambda _: gateway.scgi("POST", "/message", body(1)).status)
    assert replies == [200]
    failed_in_order(gateway, "sink own.Falling")
    gateway.config["sinks"] = [ARCHIVE]
    assert archived(gateway.start()) == [1]


def refused(gateway: Habitat, code: int) -> str:
    gateway.start(ready=False)
    assert gateway.wait() == code
    (line,) = plain_lines(gateway)
    assert line.startswith("habitat: ")
    assert not gateway.socket_path.exists()
    return line


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"gateway": {"wrkers": 1}}, "gateway.workers"),
        ({"gateway": {"workers": 0}}, "gateway.workers"),
        ({"journal": {"retention": float("inf")}}, "journal.retention"),
        ({"gateway": {"shutdown_timeout": float("inf")}}, "gateway.shutdown_timeout"),
        ({"types": {"WEATHER": "own.Nothing"}}, "own.Nothing"),
        ({"types": {"bad name": "own.Weather"}}, "bad name"),
        ({"archive": {"uri": "mysql://x"}}, "archive.uri"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_code_2(
    habitat: HabitatFactory, config: dict[str, Any], told: str
) -> None:
    gateway = with_own(habitat, config, start=False)
    assert told in refused(gateway, 2)
    assert not gateway.journal_path.exists()


@pytest.mark.parametrize("sink", ["own.Missing", "own.Weather", "own.BadStart", "no.such.Sink"])
def test_a_sink_that_can_not_be_had_is_one_line(habitat: HabitatFactory, sink: str) -> None:
    gateway = with_own(habitat, {"sinks": [ARCHIVE, sink]}, start=False).start(ready=False)
    assert gateway.wait() in (1, 2)
    (line,) = plain_lines(gateway)
    assert sink in line


def test_a_journal_that_can_not_be_made_is_one_line_and_code_1(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    (gateway.directory / "file").touch()
    path = gateway.directory / "file" / "journal.sqlite"
    gateway.config["journal"]["path"] = str(path)
    assert str(path) in refused(gateway, 1)


def test_a_journal_that_is_a_directory_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    gateway.journal_path.mkdir()
    assert str(gateway.journal_path) in refused(gateway, 1)


def test_a_file_that_is_no_journal_is_refused_and_left_alone(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    gateway.journal_path.write_bytes(b"precious" * 1000)
    assert str(gateway.journal_path) in refused(gateway, 1)
    assert gateway.journal_path.read_bytes() == b"precious" * 1000


def test_a_newer_journal_is_refused_and_left_alone(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert gateway.stop() == 0
    with sqlite3.connect(gateway.journal_path) as file:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        file.execute(f"PRAGMA user_version={version + 1}")
    file.close()
    before = gateway.journal_path.read_bytes()
    line = refused(gateway, 1)
    assert f"format {version + 1}" in line
    assert "upgrade" in line
    assert gateway.journal_path.read_bytes() == before


#: What shows how far a start has come.
MOMENTS: dict[str, Callable[[Habitat], bool]] = {
    "spawned": lambda _: True,
    "journal locked": lambda gateway: Path(f"{gateway.journal_path}.lock").exists(),
    "sink loaded": lambda gateway: "sink loaded" in gateway.log,
    "socket": lambda gateway: gateway.socket_path.exists(),
    "started": lambda gateway: "habitat_like started" in gateway.log,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stop_at_any_moment_of_the_start_is_clean(habitat: HabitatFactory, moment: str) -> None:
    gateway = habitat(start=False)
    chance = random.Random(moment)
    for _ in range(4):
        gateway.start(ready=False)
        eventually(lambda: MOMENTS[moment](gateway), moment, pause=0.0005)
        # Not to wait for something, but to hit anywhere.
        select.select([], [], [], chance.uniform(0, 0.05 if moment == "spawned" else 0.01))
        code = gateway.stop()
        if moment == "spawned":
            # Python was still starting: nothing was built yet.
            assert code in (0, -signal.SIGTERM)
        else:
            assert code == 0
        assert not gateway.socket_path.exists()
        assert plain_lines(gateway) == []
        gateway.log_path.write_text("")
        Path(f"{gateway.journal_path}.lock").unlink(missing_ok=True)
    assert gateway.start().scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]


class Parts(SimpleNamespace):
    """What SCGIApplication needs of a program, without the process around it."""

    config: Config
    registry: Registry
    journal: Journal
    started: float
    dead_letters: dict[str, int]


@pytest.fixture
def directory() -> Iterator[Path]:
    path = short_directory()
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


@pytest.fixture
def application(directory: Path) -> Iterator[SCGIApplication]:
    """A real application on a real message server and journal, not started."""
    config = Config(
        gateway=GatewayConfig(socket=str(directory / "s"), machine_code="test", workers=3),
        journal=JournalConfig(path=str(directory / "journal.sqlite"), sync="normal"),
    )
    journal = Journal(config.journal.path, sync="normal")
    program = Parts(
        config=config,
        registry=Registry(),
        journal=journal,
        started=time.time(),
        dead_letters={},
    )
    made = SCGIApplication(Server(program), program, config.gateway.socket, 5)
    yield made
    made.shutdown()
    journal.close()


def held() -> tuple[list[str], dict[str, int]]:
    """The threads, and how many descriptors there are of each kind that the gateway makes."""
    gc.collect()  # an earlier test's
    kinds: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the listing's own
        if not target.startswith("/"):
            kinds[target.split("[")[-1].split("]")[0] if "anon" in target else target[:5]] += 1
        elif "journal.sqlite" in target:
            kinds["journal"] += 1
    return sorted(thread.name for thread in threading.enumerate()), dict(kinds)


def ask(path: Path, data: bytes) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(data)
        return answer(connection).status


def test_a_thousand_starts_and_stops_leave_nothing_behind(
    application: SCGIApplication, directory: Path
) -> None:
    before = held()
    files = sorted(directory.iterdir())
    for _ in range(1000):
        application.start()
        assert application.shutdown() == []
    assert held() == before
    assert sorted(directory.iterdir()) == files
    application.start()
    assert ask(directory / "s", upload(1)) == 200


def test_starts_and_stops_with_clients_at_the_door_leave_nothing_behind(
    application: SCGIApplication, directory: Path
) -> None:
    before = held()
    for number in range(20):
        application.start()
        clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for client in clients:
            client.settimeout(20)
            client.connect(str(directory / "s"))
        whole, slow, gone, half = clients
        whole.sendall(upload(number))
        slow.sendall(scgi.encode("POST", "/messages", b"1\n" * 20_000))
        gone.sendall(upload(number)[:50])
        gone.close()
        half.close()
        steps: list[Callable[[], Any]] = [
            application.shutdown,
            lambda whole=whole: answer(whole).status,  # type: ignore[misc]
            lambda slow=slow: len(answer(slow).body) > 500_000,  # type: ignore[misc]
        ]
        assert at_once(3, lambda n, steps=steps: steps[n]()) == [[], 200, True]  # type: ignore[misc]
        for client in clients:
            client.close()
    assert held() == before


def test_a_stop_before_the_start_and_a_second_stop_are_nothing(
    application: SCGIApplication, directory: Path
) -> None:
    before = held()
    assert application.shutdown() == []
    application.start()
    assert ask(directory / "s", upload(1)) == 200
    assert application.shutdown() == []
    assert application.shutdown() == []
    assert held() == before


def test_stops_from_many_threads_agree(application: SCGIApplication) -> None:
    before = held()
    for _ in range(50):
        application.start()
        assert at_once(4, lambda _: application.shutdown()) == [[]] * 4
    assert held() == before


def test_starts_and_stops_from_many_threads_never_deadlock(application: SCGIApplication) -> None:
    before = held()
    for _ in range(30):
        at_once(6, lambda n: application.shutdown() if n % 2 else application.start())
        application.shutdown()
    assert held() == before


def test_a_start_that_fails_leaves_nothing_behind(
    application: SCGIApplication, directory: Path
) -> None:
    (directory / "s").write_text("no socket")
    before = held()
    for _ in range(20):
        with pytest.raises(Exception, match="no socket"):
            application.start()
    assert application.shutdown() == []
    assert held() == before
    (directory / "s").unlink()
    application.start()
    assert ask(directory / "s", upload(1)) == 200


def test_its_start_says_what_runs(habitat: HabitatFactory) -> None:
    gateway = habitat({"archive": {"uri": "couchdb://op:s3cret@127.0.0.1:1/down"}})
    (entry,) = eventually(lambda: logged(gateway, "habitat_like started"))
    assert {"version", "instance", "workers", "max_body", "archive", "journal"} <= set(entry)
    assert all("s3cret" not in json.dumps(entry) for entry in log_entries(gateway))
    assert "s3cret" not in gateway.log
