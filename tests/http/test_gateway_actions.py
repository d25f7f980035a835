"""Actions: what they are called with, on which thread, what becomes of slow and failing ones."""

from __future__ import annotations

import gzip
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Connect, HabitatFactory
from tests.support import scgi
from tests.support.gateway import OWN, Habitat, own_actions
from tests.support.log import plain_lines, wait_for_log
from tests.support.station import answer, archived, at_once, body, bulk, each
from tests.support.wait import PATIENCE, eventually

GZIP = {"Content-Encoding": "gzip"}
#: Seconds that pass in a test, and in which a worker begins on the busiest machine.
TIMEOUT = 10


def test_an_action_runs_on_the_lane_it_is_declared_for(habitat: HabitatFactory) -> None:
    gateway = habitat(own_actions("lane", "lane_fast"), own=OWN)
    assert gateway.scgi("POST", "/lane_fast").text == "gateway"
    assert gateway.scgi("POST", "/lane").text.startswith("worker ")
    assert gateway.scgi("POST", "/lane_fast", b" " * 70_000).text != "gateway"
    assert gateway.scgi("POST", "/lane_fast", gzip.compress(b"x"), GZIP).text != "gateway"


def test_what_an_action_declares_is_what_it_is_called_with(habitat: HabitatFactory) -> None:
    gateway = habitat(own_actions("below", "push"), own=OWN)
    assert gateway.scgi("GET", "/below/a/b?c=d").text == "GET a/b c=d"
    assert gateway.scgi("PUT", "/below").text == "PUT  "
    reply = gateway.scgi("POST", "/below")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, PUT")
    assert gateway.scgi("POST", "/push/below", body(1)).status == 404
    assert gateway.scgi("POST", "/push", body(1)).json() == {"pushed": 1}
    assert archived(gateway) == [1]


def block_workers(
    gateway: Habitat, connect: Connect, workers: int
) -> tuple[list[socket.socket], Path]:
    """Keep every worker busy until the path is touched; the connections of those requests."""
    marks = [gateway.directory / f"go{number}" for number in range(workers)]
    go = gateway.directory / "go"
    for mark in marks:
        mark.symlink_to(go)
    connections = connect(gateway, workers)
    for connection, mark in zip(connections, marks, strict=True):
        connection.sendall(scgi.encode("POST", f"/wait?{mark}"))
    for mark in marks:
        eventually(mark.with_name(f"{mark.name}.began").exists)
    return connections, go


def test_slow_actions_on_every_worker_hold_up_no_upload(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(own_actions("wait", timeout=PATIENCE, workers=3), own=OWN)
    blocked, go = block_workers(gateway, connect, 3)
    replies = at_once(50, lambda n: gateway.scgi("POST", "/message", body(n)).status)
    assert Counter(replies) == {200: 50}
    eventually(lambda: gateway.connections() == 3)
    go.touch()
    assert each(blocked) == [200] * 3
    assert archived(gateway) == list(range(50))


def test_slow_actions_on_every_worker_hold_up_no_big_or_compressed_upload(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(own_actions("wait", timeout=PATIENCE, workers=3), own=OWN)
    _, go = block_workers(gateway, connect, 3)
    try:
        packed = gateway.scgi("POST", "/message", gzip.compress(body(1)), GZIP)
        assert packed.status == 200
        big = bulk(range(2, 602))
        assert len(big) > 65536
        assert gateway.scgi("POST", "/messages", big).status == 200
    finally:
        go.touch()
    assert archived(gateway) == list(range(1, 602))


def test_a_slow_action_over_the_timeout_is_told_503_and_its_messages_are_dropped(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(own_actions("push_and_wait", "push", timeout=TIMEOUT, workers=1), own=OWN)
    go = gateway.directory / "go"
    (late,) = connect(gateway, 1)
    late.sendall(scgi.encode("POST", f"/push_and_wait?{go}", body(1)))
    reply = answer(late)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    go.touch()
    eventually((gateway.directory / "go.ended").exists)
    # The one worker is past the first action when it takes this one.
    eventually(lambda: gateway.scgi("POST", "/push", body(2)).status == 200)
    assert archived(gateway) == [2]


def test_a_request_that_waited_too_long_for_a_worker_is_not_run_later(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(own_actions("wait", "push", timeout=TIMEOUT, workers=1), own=OWN)
    _, go = block_workers(gateway, connect, 1)
    assert gateway.scgi("POST", "/push", body(1)).status == 503
    go.touch()
    eventually(lambda: gateway.scgi("POST", "/push", body(2)).status == 200)
    assert archived(gateway) == [2]


@pytest.mark.parametrize(
    ("name", "status"),
    [("push_and_fail", 500), ("push_and_fail_fast", 500), ("push_and_refuse", 422)],
)
def test_an_action_that_fails_changes_nothing(
    habitat: HabitatFactory, connect: Connect, name: str, status: int
) -> None:
    gateway = habitat(own_actions(name), own=OWN)
    connections = connect(gateway, 40)
    for number, connection in enumerate(connections):
        path = f"/{name}" if number % 2 else "/message"
        connection.sendall(scgi.encode("POST", path, body(number)))
    assert each(connections) == [200, status] * 20
    assert archived(gateway) == list(range(0, 40, 2))
    if status == 500:
        failures = wait_for_log(gateway, "action failed", 20)
        assert len(failures) == 20
        assert failures[0]["action"] == name
        assert "a defect in an action" in failures[0]["exception"]


@pytest.mark.parametrize(
    "name",
    [
        "text_as_body",
        "text_as_body_fast",
        "no_status",
        "header_beyond_latin_1",
        "refusal_beyond_latin_1",
        "refusal_without_status_fast",
        "not_json",
    ],
)
def test_an_action_that_answers_nonsense_is_a_500_and_no_more(
    habitat: HabitatFactory, name: str
) -> None:
    gateway = habitat(own_actions(name), own=OWN)
    assert gateway.scgi("POST", f"/{name}").status == 500
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]
    assert not gateway.process_ended()


@pytest.mark.parametrize(
    "name", ["__init__", "program", "push_message", "actions", "clock", "mesage", "os.path"]
)
def test_what_is_no_action_can_not_be_whitelisted(habitat: HabitatFactory, name: str) -> None:
    gateway = habitat({"gateway": {"actions": ["message", name]}}, start=False).start(ready=False)
    assert gateway.wait() == 2
    (line,) = plain_lines(gateway)
    assert line.startswith("habitat: ")
    assert "gateway.actions" in line
    assert name in line
