"""Promise 5: SIGTERM loses nothing: what a stop answers, waits for and gives up."""

from __future__ import annotations

import json
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support import scgi
from tests.support.gateway import ARCHIVE_SINK, OWN, Habitat, own_actions, read_all
from tests.support.load import Load
from tests.support.log import logged, plain_lines, wait_for_log
from tests.support.reply import unavailable
from tests.support.station import answer, archived, body, upload
from tests.support.wait import PATIENCE, eventually

#: A stop waits for the rest of a request for as long as a busy machine takes to send it.
PATIENT_STOP = f"""
import habitat_like.http.gateway
habitat_like.http.gateway.STOP_GRACE = {PATIENCE}
"""


def begin(gateway: Habitat, number: int) -> tuple[socket.socket, Path]:
    """A request whose slow action runs until the path is touched."""
    go = gateway.directory / "go"
    connection = gateway.connect()
    connection.sendall(scgi.encode("POST", f"/wait_and_push?{go}", body(number)))
    eventually(go.with_name("go.began").exists)
    return connection, go


def test_5_a_stop_under_load_answers_what_was_read_and_loses_nothing(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat()
    front = nginx(gateway)
    bodies = [body(number) for number in range(5_000)]
    with Load(front.address, bodies, connections=32) as load:
        for goal in (500, 1_000, 1_500):
            load.wait_for(goal)
            assert gateway.stop() == 0
            assert not gateway.socket_path.exists()
            gateway.start()
        load.give_up()
        outcome = load.join()
    assert outcome.statuses[200] >= 1_500
    assert outcome.broken == 0
    # With its socket's file gone nginx can't connect; whatever it did connect for was answered.
    for line in front.error_log.splitlines():
        assert "connect() to unix:" in line, f"a request was cut off: {line}"
    found = archived(gateway)
    assert {json.loads(one)["data"]["number"] for one in outcome.answered} <= set(found)
    assert len(set(found)) == len(found)


def test_5_with_an_inherited_socket_a_restart_under_load_fails_no_request(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat(activated=True)
    front = nginx(gateway)
    bodies = [body(number) for number in range(3_000)]
    with Load(front.address, bodies, connections=32, retry=False) as load:
        for goal in (500, 1_500):
            load.wait_for(goal)
            gateway.restart()
            assert gateway.socket_path.exists()
        outcome = load.join()
    assert outcome.statuses == {200: 3_000}
    assert outcome.broken == 0
    assert archived(gateway) == list(range(3_000))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_is_in_flight(habitat: HabitatFactory, number: signal.Signals) -> None:
    gateway = habitat(own_actions("wait_and_push"), own=OWN + PATIENT_STOP)
    connection, go = begin(gateway, 1)
    with connection, gateway.connect() as half:
        half.sendall(upload(2)[:-1])
        eventually(lambda: gateway.connections() == 2, "both are read")
        gateway.signal(number)
        wait_for_log(gateway, "stopping")
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
        eventually(lambda: gateway.connections() == 1, "it is read")
        gateway.signal(signal.SIGTERM)
        unavailable(scgi.decode(read_all(half)))
    assert gateway.wait() == 0
    assert archived(gateway.start()) == []


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
    gateway = habitat(own_actions("wait_and_push", shutdown_timeout=600, timeout=600), own=OWN)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    connection, _ = begin(gateway, 2)
    with connection:
        gateway.signal(signal.SIGTERM)
        wait_for_log(gateway, "stopping")
        assert not gateway.process_ended()
        gateway.signal(signal.SIGINT)
        assert gateway.wait() == 1
    assert archived(gateway.start()) == [1]


def test_5_an_action_that_never_ends_can_not_hold_up_the_stop(habitat: HabitatFactory) -> None:
    gateway = habitat(own_actions("wait_and_push", shutdown_timeout=5, timeout=600), own=OWN)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    connection, _ = begin(gateway, 2)
    with connection:
        assert gateway.scgi("POST", "/message", body(3)).status == 200
        gateway.signal(signal.SIGTERM)
        unavailable(scgi.decode(read_all(connection)))
    assert gateway.wait() == 1, "a thread was left behind, and the supervisor must know"
    assert "worker" in logged(gateway, "threads did not stop in time")[0]["threads"]
    assert not gateway.socket_path.exists()
    assert archived(gateway.start()) == [1, 3]


@pytest.mark.parametrize("sink", ["own.BadEnd", "own.BadStop"])
def test_a_sink_that_fails_to_end_does_not_disturb_a_stop(
    habitat: HabitatFactory, sink: str
) -> None:
    gateway = habitat({"sinks": [sink, ARCHIVE_SINK]}, own=OWN)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    gateway.stop()
    assert logged(gateway, "stopped")
    assert plain_lines(gateway) == []
    assert not gateway.journal_path.with_name(f"{gateway.journal_path.name}-wal").exists()
