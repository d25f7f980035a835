"""Sinks that come and go while the gateway runs, also those that take long to go."""

from __future__ import annotations

import os
import signal

from tests.conftest import HabitatFactory
from tests.support.gateway import Habitat
from tests.support.log import logged, wait_for_log
from tests.support.station import body
from tests.support.wait import eventually

ARCHIVE = "habitat_like.archive.ArchiveSink"

#: A sink that waits, for each message, until somebody opens the pipe for writing.
SLOW = """
from habitat_like.message_server import SimpleSink


class Slow(SimpleSink):
    def message(self, message):
        open("began", "w").close()
        open("pipe").close()
"""


def with_slow_sink(habitat: HabitatFactory) -> Habitat:
    gateway = habitat({"sinks": [ARCHIVE, "slow.Slow"]}, start=False)
    (gateway.directory / "slow.py").write_text(SLOW, encoding="utf-8")
    os.mkfifo(gateway.directory / "pipe")
    gateway.start()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    eventually((gateway.directory / "began").exists)
    return gateway


def let_go(gateway: Habitat) -> None:
    with (gateway.directory / "pipe").open("w"):
        pass


def take_out(gateway: Habitat) -> None:
    gateway.config["sinks"] = [ARCHIVE]
    gateway.write_config()
    gateway.signal(signal.SIGHUP)


def test_a_sink_that_takes_long_to_stop_holds_up_no_page_and_no_upload(
    habitat: HabitatFactory,
) -> None:
    gateway = with_slow_sink(habitat)
    take_out(gateway)
    eventually(lambda: gateway.status()["sinks"]["slow.Slow"]["state"] == "stopping")
    for page in ("/status", "/metrics", "/readyz"):
        assert gateway.scgi("GET", page).status == 200
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    assert not logged(gateway, "sink unloaded"), "the pages waited for the sink"
    let_go(gateway)
    wait_for_log(gateway, "sink unloaded")
    assert list(gateway.status()["sinks"]) == [ARCHIVE]


def test_a_sink_that_stopped_too_late_is_gone_in_the_end_and_can_come_back(
    habitat: HabitatFactory,
) -> None:
    gateway = with_slow_sink(habitat)
    take_out(gateway)
    wait_for_log(gateway, "sinks: slow.Slow did not stop within 10 s")
    assert "slow.Slow" in gateway.status()["sinks"]
    let_go(gateway)
    eventually(lambda: list(gateway.status()["sinks"]) == [ARCHIVE])
    gateway.config["sinks"] = [ARCHIVE, "slow.Slow"]
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.status()["sinks"].get("slow.Slow", {}).get("state") == "ok")
    (gateway.directory / "began").unlink()
    assert gateway.scgi("POST", "/message", body(3)).status == 200
    eventually((gateway.directory / "began").exists)
    let_go(gateway)
    eventually(lambda: gateway.status()["sinks"]["slow.Slow"]["backlog"] == 0)
