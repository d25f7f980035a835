"""Many clients, slow ones and such as vanish, at a real gateway's UNIX socket."""

from __future__ import annotations

import resource
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Connect, HabitatFactory
from tests.support import scgi
from tests.support.gateway import OWN, own_actions, read_all
from tests.support.log import wait_for_log
from tests.support.station import answer, archived, at_once, body, bulk, close, each, send, upload
from tests.support.wait import PATIENCE, eventually

#: Long enough that a test which only ends with it has failed.
PATIENT = {"gateway": {"timeout": PATIENCE}}
#: Seconds that pass in a test, and more than what is sent whole needs on a busy machine.
TIMEOUT = 5


def test_two_hundred_uploads_at_once_are_all_taken(habitat: HabitatFactory) -> None:
    gateway = habitat()
    replies = at_once(200, lambda n: gateway.scgi("POST", "/message", body(n)).status)
    assert Counter(replies) == {200: 200}
    assert archived(gateway) == list(range(200))


def test_the_same_upload_two_hundred_times_at_once_is_one_document(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat()
    replies = at_once(200, lambda _: gateway.scgi("POST", "/message", body(1)).status)
    assert Counter(replies) == {200: 200}
    assert archived(gateway) == [1]


@pytest.mark.parametrize("cut", [0, 1, 30, -1])
def test_a_client_that_stops_halfway_is_told_408_and_holds_no_thread(
    habitat: HabitatFactory, connect: Connect, cut: int
) -> None:
    gateway = habitat({"gateway": {"timeout": TIMEOUT}})
    threads = gateway.threads()
    connections = connect(gateway, 20)
    send(connections, upload()[:cut])
    assert gateway.threads() == threads
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert set(each(connections)) == {408}
    eventually(lambda: gateway.connections() == 0)
    assert archived(gateway) == [1]
    assert "habitat_request_timeouts_total 20.0" in gateway.scgi("GET", "/metrics").text


def test_uploads_go_on_beside_two_hundred_idle_connections(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(PATIENT)
    connect(gateway, 200)
    eventually(lambda: gateway.connections() == 200)
    replies = at_once(50, lambda n: gateway.scgi("POST", "/message", body(n)).status)
    assert Counter(replies) == {200: 50}
    eventually(lambda: gateway.connections() == 200)
    assert archived(gateway) == list(range(50))


def test_clients_that_vanish_before_the_reply_harm_nobody(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat()
    for number in range(100):
        with gateway.connect() as connection:
            connection.sendall(upload(number))
    close(connect(gateway, 50))
    assert gateway.scgi("POST", "/message", body(100)).status == 200
    eventually(lambda: gateway.connections() == 0)
    assert archived(gateway) == list(range(101))


def test_a_client_that_vanishes_halfway_changes_nothing(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(PATIENT)
    connections = connect(gateway, 20)
    send(connections, upload()[:-1])
    eventually(lambda: gateway.connections() == 20)
    close(connections)
    eventually(lambda: gateway.connections() == 0)
    assert archived(gateway) == []


def test_a_slow_reader_gets_all_of_a_big_reply(habitat: HabitatFactory, connect: Connect) -> None:
    gateway = habitat({"gateway": {"timeout": PATIENCE, "max_body": 8_000_000}})
    (connection,) = connect(gateway, 1)
    connection.sendall(scgi.encode("POST", "/messages", bulk(range(12_000))))
    eventually(
        lambda: gateway.connections() == 1 and gateway.status()["messages"]["accepted"] == 12_000
    )
    assert gateway.scgi("POST", "/message", body(12_000)).status == 200
    parts = []
    while part := connection.recv(1000):
        parts.append(part)
    reply = scgi.decode(b"".join(parts))
    assert reply.status == 200
    assert len(reply.body) > 300_000
    assert len({result["id"] for result in reply.json()["results"]}) == 12_000


def test_a_client_that_never_reads_is_dropped(habitat: HabitatFactory, connect: Connect) -> None:
    gateway = habitat(own_actions("big", timeout=TIMEOUT), own=OWN)
    (connection,) = connect(gateway, 1)
    connection.sendall(scgi.encode("POST", "/big"))
    assert connection.recv(1, socket.MSG_PEEK), "the reply begins, and doesn't fit into the socket"
    eventually(lambda: gateway.connections() == 0, "the connection is dropped")
    with pytest.raises(AssertionError, match="Content-Length"):
        scgi.decode(read_all(connection))


def test_clients_over_the_limit_of_connections_are_told_503_at_once(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat({"gateway": {"timeout": PATIENCE, "max_connections": 5}})
    held = connect(gateway, 5)
    send(held, upload()[:10])
    eventually(lambda: gateway.connections() == 5)
    over = connect(gateway, 4)
    for connection in over:
        reply = answer(connection)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    close(over)
    send(held, upload()[10:])
    assert each(held) == [200] * 5
    (late,) = connect(gateway, 1)
    eventually(lambda: gateway.connections() == 1)
    late.sendall(upload(1))
    assert answer(late).status == 200


def test_requests_that_wait_for_slow_actions_count_as_connections(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(own_actions("wait", timeout=PATIENCE, max_connections=8, workers=1), own=OWN)
    go = gateway.directory / "go"
    held = connect(gateway, 8)
    send(held, scgi.encode("POST", f"/wait?{go}"))
    eventually(lambda: gateway.connections() == 8)
    over = connect(gateway, 5)
    send(over, scgi.encode("POST", f"/wait?{go}"))
    assert each(over) == [503] * 5
    go.touch()
    assert each(held) == [200] * 8


def test_who_would_wait_too_long_for_a_slow_action_is_told_503_at_once(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(own_actions("wait", timeout=TIMEOUT, workers=1), own=OWN)
    go = gateway.directory / "go"
    # The first one takes so long that it is answered before its end: now it is known how long.
    assert gateway.scgi("POST", f"/wait?{go}").status == 503
    go.touch()
    eventually(lambda: gateway.scgi("POST", f"/wait?{go}").status == 200)
    held = connect(gateway, 40)
    send(held, scgi.encode("POST", f"/wait?{gateway.directory / 'later'}"))
    replies = [answer(connection) for connection in held]
    assert {reply.status for reply in replies} == {503}
    at_once = [reply for reply in replies if "too many requests are waiting" in reply.text]
    assert len(at_once) >= 30


def test_out_of_descriptors_clients_wait_and_are_served_later(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat({"gateway": {"timeout": 2}})
    gateway.scgi("GET", "/metrics")
    most = len(list(Path(f"/proc/{gateway.pid}/fd").iterdir())) + 12
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (most, most))
    idle = connect(gateway, 60)
    reply = gateway.scgi("POST", "/message", body(1))
    assert reply.status == 200
    assert each(idle[:10]) == [408] * 10
    assert archived(gateway) == [1]
    wait_for_log(gateway, "can't accept connections")
