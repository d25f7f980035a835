"""Promise 7: no half-dead process."""

from __future__ import annotations

import os
import socket

import pytest

from tests.conftest import HabitatFactory
from tests.support import scgi
from tests.support.gateway import ARCHIVE_SINK, OWN, Habitat, own_actions
from tests.support.log import log_entries, logged, plain_lines
from tests.support.station import archived, body, bulk

#: Actions of the operator's own module, and how the thread is called that each of them ends.
FAILURES = {
    "fall": "worker",
    "fall_fast": "gateway",
    "fall_unknown": "gateway",
    "fall_beside": "own thread",
}


def check_failed(gateway: Habitat, thread: str) -> None:
    """It ended with code 1, in order, and said which thread failed and why."""
    assert gateway.wait() == 1, gateway.log
    (failure,) = logged(gateway, "a thread failed")
    assert failure["level"] == "critical"
    assert any(thread in str(value) for value in failure.values()), "the thread is not named"
    assert "Traceback" in failure["exception"]
    assert "'s end" in failure["exception"]
    assert log_entries(gateway)[-1]["message"] == "stopped", "it did not end in order"
    assert plain_lines(gateway) == []
    assert not gateway.socket_path.exists()


@pytest.mark.parametrize("name", FAILURES)
def test_7_an_exception_that_ends_a_thread_ends_the_program_in_order(
    habitat: HabitatFactory, name: str
) -> None:
    # The stop waits for the request of a worker that fell as long as for any other.
    gateway = habitat(own_actions(name, timeout=10), own=OWN)
    assert gateway.scgi("POST", "/messages", bulk(range(500))).status == 200
    with gateway.connect() as connection:
        connection.sendall(scgi.encode("POST", f"/{name}"))
        check_failed(gateway, FAILURES[name])
    assert archived(gateway.start()) == list(range(500))


@pytest.mark.parametrize("sink", ["own.Falling", "own.FallingBatch"])
def test_7_a_sink_whose_thread_dies_ends_the_program_in_order(
    habitat: HabitatFactory, sink: str
) -> None:
    gateway = habitat({"sinks": [sink, ARCHIVE_SINK]}, own=OWN)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    check_failed(gateway, f"sink {sink}")
    gateway.config["sinks"] = [ARCHIVE_SINK]
    assert archived(gateway.start()) == [1]


def test_7_a_supervisor_is_told_by_the_exit_code(habitat: HabitatFactory) -> None:
    gateway = habitat()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(gateway.socket_path))
        assert gateway.stop() == 0
    os.mkfifo(gateway.directory / "fifo")
    gateway.config["journal"]["path"] = str(gateway.directory / "fifo" / "journal")
    gateway.start(ready=False)
    assert gateway.wait() == 1
