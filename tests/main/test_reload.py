"""SIGHUP: what a reload puts in force, and what it refuses."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.conftest import HabitatFactory
from tests.support import scgi
from tests.support.gateway import ARCHIVE_SINK, OWN, Habitat
from tests.support.log import logged, plain_lines, wait_for_log
from tests.support.station import answer, archived, body, bulk, message
from tests.support.wait import eventually


def reload(gateway: Habitat, text: str = "configuration reloaded") -> dict[str, Any]:
    """SIGHUP with the configuration as it is now; the new log entry with ``text``."""
    before = len(logged(gateway, text))
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    eventually(lambda: len(logged(gateway, text)) > before, text)
    return logged(gateway, text)[-1]


def test_signals_in_a_flood_neither_kill_nor_hang_it(habitat: HabitatFactory) -> None:
    gateway = habitat()
    for _ in range(300):
        for _ in range(10):
            gateway.signal(signal.SIGHUP)
        assert not gateway.process_ended()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    wait_for_log(gateway, "configuration reloaded")
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
    gateway = habitat(own=OWN)
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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"types": {"WEATHER": "own.Undefined"}}, "name 'Nowhere' is not defined"),
        ({"networks": {"own.Failing": {}}}, "nothing here"),
    ],
)
def test_a_reload_of_code_that_fails_is_refused(
    habitat: HabitatFactory, change: dict[str, Any], says: str
) -> None:
    more = (
        "from habitat_like.networks.base import Network\n"
        "class Undefined(msgspec.Struct):\n    x: 'Nowhere'\n"
        "class Failing(Network):\n    name = 'failing'\n    types = ()\n    routes = ()\n"
        "    @classmethod\n    def load(cls, settings):\n        raise KeyError('nothing here')\n"
    )
    gateway = habitat(own=OWN + more)
    gateway.config.update(change)
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    assert says in wait_for_log(gateway, "reload refused, the old configuration stays")[0]["why"]
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]


def test_a_reload_loads_and_unloads_sinks(habitat: HabitatFactory) -> None:
    gateway = habitat(own=OWN)
    counted = gateway.directory / "counted"
    gateway.config["sinks"] = [ARCHIVE_SINK, "own.Counting"]
    assert reload(gateway)["changed"] == "sinks"
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    eventually(lambda: counted.read_text().split() == ["1"])
    gateway.config["sinks"] = [ARCHIVE_SINK]
    reload(gateway)
    assert list(gateway.status()["sinks"]) == [ARCHIVE_SINK]
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    assert archived(gateway) == [1, 2]
    assert counted.read_text().split() == ["1"]
    gateway.config["sinks"] = [ARCHIVE_SINK, "own.Counting"]
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
    gateway = habitat(own=OWN)
    gateway.config_path.write_text(text, encoding="utf-8")
    gateway.signal(signal.SIGHUP)
    wait_for_log(gateway, "reload refused")
    assert logged(gateway, "reload refused")[0]["why"]
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert reload(gateway)["changed"] == "nothing"
    assert archived(gateway) == [1]


def test_a_sink_that_can_not_be_loaded_leaves_the_others(habitat: HabitatFactory) -> None:
    gateway = habitat(own=OWN)
    gateway.config["sinks"] = ["own.BadStart", ARCHIVE_SINK, "own.Missing"]
    reload(gateway)
    wait_for_log(gateway, "own.BadStart")
    wait_for_log(gateway, "own.Missing")
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]


def test_a_module_that_exits_while_it_is_imported_leaves_no_ruins(habitat: HabitatFactory) -> None:
    gateway = habitat(own=OWN)
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
    gateway = habitat({"sinks": [ARCHIVE_SINK, sink]}, own=OWN)
    gateway.config["sinks"] = [ARCHIVE_SINK]
    reload(gateway)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]
    assert gateway.stop() == 0
