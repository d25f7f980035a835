"""Many clients, bad clients and slow actions, at a real gateway's UNIX socket."""

from __future__ import annotations

import gzip
import json
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support import scgi
from tests.support.gateway import Habitat, read_all
from tests.support.station import (
    answer,
    archived,
    at_once,
    body,
    bulk,
    close,
    each,
    logged,
    message,
    plain_lines,
    upload,
)
from tests.support.wait import eventually

GZIP = {"Content-Encoding": "gzip"}
#: Long enough that a test which only ends with it has failed.
PATIENT = {"gateway": {"timeout": 60}}

#: An operator's own actions, in a module beside the configuration.
ACTIONS = """
import os
import threading
import time

from habitat_like.http import Response, action


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)


def lane(application, ip, args):
    return threading.current_thread().name


@action(fast=True)
def quick_lane(application, ip, args):
    return threading.current_thread().name


def wait(application, ip, args):
    open(args.query + ".began", "w").close()
    wait_for(args.query)


def push_and_wait(application, ip, args):
    application.message(ip, args)
    open(args.query + ".began", "w").close()
    wait_for(args.query)
    application.message(ip, args)
    open(args.query + ".ended", "w").close()


def push(application, ip, args):
    application.message(ip, args)
    return {"pushed": 1}


def push_and_fail(application, ip, args):
    application.message(ip, args)
    raise RuntimeError("a defect in an action")


@action(fast=True)
def push_and_fail_fast(application, ip, args):
    application.message(ip, args)
    raise RuntimeError("a defect in an action")


def push_and_refuse(application, ip, args):
    application.message(ip, args)
    return Response(422, b"changed its mind")


def text_as_body(application, ip, args):
    return Response(200, "text, not bytes")


@action(fast=True)
def text_as_body_fast(application, ip, args):
    return Response(200, "text, not bytes")


def no_status(application, ip, args):
    return Response(None, b"")


def header_beyond_latin_1(application, ip, args):
    return Response(200, b"", headers={"X-Price": "5 \\u20ac"})


@action(fast=True)
def big(application, ip, args):
    return b"x" * 2_000_000


def not_json(application, ip, args):
    return object()


@action(methods=("GET", "PUT"), subpaths=True)
def below(application, ip, args):
    return f"{args.method} {args.path} {args.query}"
"""


def with_actions(habitat: HabitatFactory, *names: str, **gateway: Any) -> Habitat:
    """A gateway with the actions ``names`` of the operator's own module."""
    actions = ["message", "messages", *(f"station_actions.{name}" for name in names)]
    made = habitat({"gateway": {"actions": actions, **gateway}}, start=False)
    (made.directory / "station_actions.py").write_text(ACTIONS, encoding="utf-8")
    return made.start()


Connect = Callable[[Habitat, int], list[socket.socket]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens many connections, and closes them after the test."""
    made: list[socket.socket] = []

    def connect(habitat: Habitat, count: int) -> list[socket.socket]:
        new = [habitat.connect() for _ in range(count)]
        made.extend(new)
        return new

    yield connect
    close(made)


def waiting(habitat: Habitat) -> int:
    """How many connections the gateway has in its set."""
    return int(habitat.status()["connections"])


def send(connections: list[socket.socket], data: bytes) -> None:
    for connection in connections:
        connection.sendall(data)


def test_a_request_is_read_whatever_byte_it_is_split_at(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat()
    requests = [upload(number) for number in range(1, len(upload(100)))]
    connections = connect(gateway, len(requests))
    for at, (connection, request) in enumerate(zip(connections, requests, strict=True), 1):
        connection.sendall(request[:at])
    eventually(lambda: waiting(gateway) == len(connections), "every first part is read")
    for at, (connection, request) in enumerate(zip(connections, requests, strict=True), 1):
        connection.sendall(request[at:])
    assert set(each(connections)) == {200}
    assert archived(gateway) == list(range(1, len(requests) + 1))


def test_a_request_is_read_that_comes_byte_by_byte(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat()
    (connection,) = connect(gateway, 1)
    for byte in upload(7):
        connection.sendall(bytes([byte]))
    assert answer(connection).status == 200
    assert archived(gateway) == [7]


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
    gateway = habitat({"gateway": {"timeout": 0.5}})
    threads = gateway.status()["threads"]
    connections = connect(gateway, 20)
    send(connections, upload()[:cut])
    assert gateway.status()["threads"] == threads
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert set(each(connections)) == {408}
    eventually(lambda: waiting(gateway) == 0)
    assert archived(gateway) == [1]
    assert "habitat_request_timeouts_total 20.0" in gateway.scgi("GET", "/metrics").text


def test_uploads_go_on_beside_two_hundred_idle_connections(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(PATIENT)
    connect(gateway, 200)
    eventually(lambda: waiting(gateway) == 200)
    replies = at_once(50, lambda n: gateway.scgi("POST", "/message", body(n)).status)
    assert Counter(replies) == {200: 50}
    eventually(lambda: waiting(gateway) == 200)
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
    eventually(lambda: waiting(gateway) == 0)
    assert archived(gateway) == list(range(101))


def test_a_client_that_vanishes_halfway_changes_nothing(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat(PATIENT)
    connections = connect(gateway, 20)
    send(connections, upload()[:-1])
    eventually(lambda: waiting(gateway) == 20)
    close(connections)
    eventually(lambda: waiting(gateway) == 0)
    assert archived(gateway) == []


def test_a_slow_reader_gets_all_of_a_big_reply(habitat: HabitatFactory, connect: Connect) -> None:
    gateway = habitat({"gateway": {"timeout": 60, "max_body": 8_000_000}})
    (connection,) = connect(gateway, 1)
    connection.sendall(scgi.encode("POST", "/messages", bulk(range(12_000))))
    eventually(lambda: waiting(gateway) == 1 and gateway.status()["messages"]["accepted"] == 12_000)
    assert gateway.scgi("POST", "/message", body(12_000)).status == 200
    parts = []
    while part := connection.recv(1000):
        parts.append(part)
    reply = scgi.decode(b"".join(parts))
    assert reply.status == 200
    assert len(reply.body) > 300_000
    assert len({result["id"] for result in reply.json()["results"]}) == 12_000


def test_a_client_that_never_reads_is_dropped(habitat: HabitatFactory, connect: Connect) -> None:
    gateway = with_actions(habitat, "big", timeout=1)
    (connection,) = connect(gateway, 1)
    connection.sendall(scgi.encode("POST", "/big"))
    eventually(lambda: waiting(gateway) == 1, "the reply doesn't fit into the socket")
    eventually(lambda: waiting(gateway) == 0, "the connection is dropped")
    with pytest.raises(AssertionError, match="Content-Length"):
        scgi.decode(read_all(connection))


def test_clients_over_the_limit_of_connections_are_told_503_at_once(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat({"gateway": {"timeout": 60, "max_connections": 5}})
    held = connect(gateway, 5)
    send(held, upload()[:10])
    eventually(lambda: waiting(gateway) == 5)
    over = connect(gateway, 4)
    for connection in over:
        reply = answer(connection)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    close(over)
    send(held, upload()[10:])
    assert each(held) == [200] * 5
    (late,) = connect(gateway, 1)
    eventually(lambda: waiting(gateway) == 1)
    late.sendall(upload(1))
    assert answer(late).status == 200


def test_requests_that_wait_for_slow_actions_count_as_connections(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = with_actions(habitat, "wait", timeout=60, max_connections=8, workers=1)
    go = gateway.directory / "go"
    held = connect(gateway, 8)
    send(held, scgi.encode("POST", f"/wait?{go}"))
    eventually(lambda: waiting(gateway) == 8)
    over = connect(gateway, 5)
    send(over, scgi.encode("POST", f"/wait?{go}"))
    assert each(over) == [503] * 5
    go.touch()
    assert each(held) == [200] * 8


def test_out_of_descriptors_clients_wait_and_are_served_later(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat({"gateway": {"timeout": 1}})
    gateway.scgi("GET", "/metrics")
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (40, 40))
    idle = connect(gateway, 60)
    reply = gateway.scgi("POST", "/message", body(1))
    assert reply.status == 200
    assert each(idle[:10]) == [408] * 10
    assert archived(gateway) == [1]
    assert logged(gateway, "can't accept connections")


def test_headers_over_the_limit_are_told_431(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"timeout": 60, "max_headers": 1000}})
    with gateway.connect() as connection:
        connection.sendall(scgi.encode("POST", "/message", body(), {"X-Long": "x" * 5000}))
        reply = answer(connection)
    assert (reply.status, reply.body.count(b"\n")) == (431, 1)
    assert "1000" in reply.text


def test_a_client_still_sending_too_large_a_body_can_read_413(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat({"gateway": {"timeout": 60, "max_body": 1000}})
    (connection,) = connect(gateway, 1)
    connection.sendall(scgi.encode("POST", "/message", b"x" * 5_000_000))
    reply = answer(connection)
    assert (reply.status, reply.body) == (
        413,
        b"body: 5000000 bytes, over the limit of 1000 bytes\n",
    )
    assert archived(gateway) == []


def test_a_body_of_just_the_limit_is_read(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"timeout": 60, "max_body": len(body())}})
    assert gateway.scgi("POST", "/message", body()).status == 200
    with gateway.connect() as connection:
        connection.sendall(scgi.encode("POST", "/message", body() + b" "))
        assert answer(connection).status == 413


def test_a_station_behind_nginx_reads_413(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    server = nginx(habitat({"gateway": {"timeout": 60, "max_body": 1000}}))
    reply = server.request("POST", "/message", b"x" * 50_000, timeout=10)
    assert (reply.status, reply.body) == (413, b"body: 50000 bytes, over the limit of 1000 bytes\n")


MALFORMED = {
    "no netstring": b"POST /message HTTP/1.1\r\n\r\n",
    "no length": b":" + b"x" * 30,
    "negative length": b"-1:,",
    "leading zero": b"070:" + b"x" * 80,
    "sign": b"+70:" + b"x" * 80,
    "space": b" 70:" + b"x" * 80,
    "too many digits": b"12345678901:" + b"x" * 30,
    "digits for ever": b"1" * 100,
    "no comma": scgi.netstring({"CONTENT_LENGTH": "0", "SCGI": "1"})[:-1] + b";",
    "empty": b"0:,",
    "no NUL": b"3:abc,",
    "odd": b"15:CONTENT_LENGTH\0,",
    "CONTENT_LENGTH not first": scgi.netstring({"SCGI": "1", "CONTENT_LENGTH": "0"}),
    "no CONTENT_LENGTH": scgi.netstring({"SCGI": "1"}),
    "no SCGI": scgi.netstring({"CONTENT_LENGTH": "0"}),
    "SCGI 2": scgi.netstring({"CONTENT_LENGTH": "0", "SCGI": "2"}),
    "empty CONTENT_LENGTH": scgi.netstring({"CONTENT_LENGTH": "", "SCGI": "1"}),
    "negative CONTENT_LENGTH": scgi.netstring({"CONTENT_LENGTH": "-1", "SCGI": "1"}),
    "underscore": scgi.netstring({"CONTENT_LENGTH": "1_0", "SCGI": "1"}),
    "endless CONTENT_LENGTH": scgi.netstring({"CONTENT_LENGTH": "9" * 40, "SCGI": "1"}),
    "twice": b"40:CONTENT_LENGTH\x000\0CONTENT_LENGTH\x000\0SCGI\x001\0,",
    "no name": scgi.netstring({"CONTENT_LENGTH": "0", "SCGI": "1", "": "x"}),
}


def test_malformed_requests_are_told_400_and_logged_once(habitat: HabitatFactory) -> None:
    gateway = habitat(PATIENT)
    for name, data in MALFORMED.items():
        with gateway.connect() as connection:
            connection.sendall(data)
            reply = answer(connection)
        assert reply.status == 400, name
        assert reply.body.startswith(b"SCGI: "), name
        assert reply.body.count(b"\n") == 1, name
    assert len(logged(gateway, "malformed requests")) == 1
    assert (
        f"habitat_malformed_requests_total {len(MALFORMED)}.0"
        in gateway.scgi("GET", "/metrics").text
    )
    assert gateway.scgi("POST", "/message", body()).status == 200


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"nonsense", id="400"),
        pytest.param(b"999999:", id="431"),
        pytest.param(scgi.encode("POST", "/message", b"x" * 2_000_000), id="413"),
    ],
)
def test_an_early_answer_ends_as_every_other_with_the_end_of_the_stream(
    habitat: HabitatFactory, data: bytes
) -> None:
    gateway = habitat(PATIENT)
    assert gateway.send_raw(data, timeout=5).startswith(b"Status: 4")


def test_bytes_after_the_body_are_ignored(habitat: HabitatFactory) -> None:
    gateway = habitat(PATIENT)
    assert scgi.decode(gateway.send_raw(upload(1) + b"garbage")).status == 200
    assert scgi.decode(gateway.send_raw(upload(2) + upload(3))).status == 200
    assert scgi.decode(gateway.send_raw(upload(4) + b"x" * 500_000)).status == 200
    assert archived(gateway) == [1, 2, 4]


def test_gzip_bodies(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"timeout": 60, "max_body": 100_000}})
    whole = gzip.compress(body(1))
    half = len(body(2)) // 2
    members = gzip.compress(body(2)[:half]) + gzip.compress(body(2)[half:])

    def ask(data: bytes, coding: str = "gzip") -> tuple[int, Mapping[str, str]]:
        reply = gateway.scgi("POST", "/message", data, {"Content-Encoding": coding})
        return reply.status, reply.headers

    assert ask(whole)[0] == 200
    assert ask(members)[0] == 200
    assert ask(gzip.compress(body(3)), " X-GZip ")[0] == 200
    assert ask(body(4), "identity")[0] == 200
    for bad in (b"no gzip", body(5), whole[:-1], whole[:20], whole + b"x", b"", gzip.compress(b"")):
        assert ask(bad)[0] == 400, bad
    assert ask(whole[:-5] + b"\0" + whole[-4:])[0] == 400
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    assert ask(bomb)[0] == 413
    assert ask(gzip.compress(b" " * 100_000) + gzip.compress(body(6)))[0] == 413
    for coding in ("br", "deflate", "gzip, gzip", "gzip, br"):
        status, headers = ask(whole, coding)
        assert (status, headers["accept-encoding"]) == (415, "gzip"), coding
    assert archived(gateway) == [1, 2, 3, 4]


def test_an_action_runs_on_the_lane_it_is_declared_for(habitat: HabitatFactory) -> None:
    gateway = with_actions(habitat, "lane", "quick_lane")
    assert gateway.scgi("POST", "/quick_lane").text == "gateway"
    assert gateway.scgi("POST", "/lane").text.startswith("worker ")
    assert gateway.scgi("POST", "/quick_lane", b" " * 70_000).text != "gateway"
    assert gateway.scgi("POST", "/quick_lane", gzip.compress(b"x"), GZIP).text != "gateway"


def test_what_an_action_declares_is_what_it_is_called_with(habitat: HabitatFactory) -> None:
    gateway = with_actions(habitat, "below", "push")
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
    gateway = with_actions(habitat, "wait", timeout=60, workers=3)
    blocked, go = block_workers(gateway, connect, 3)
    replies = at_once(50, lambda n: gateway.scgi("POST", "/message", body(n)).status)
    assert Counter(replies) == {200: 50}
    eventually(lambda: waiting(gateway) == 3)
    go.touch()
    assert each(blocked) == [200] * 3
    assert archived(gateway) == list(range(50))


def test_slow_actions_on_every_worker_hold_up_no_big_or_compressed_upload(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = with_actions(habitat, "wait", timeout=60, workers=3)
    _, go = block_workers(gateway, connect, 3)
    try:
        packed = gateway.scgi("POST", "/message", gzip.compress(body(1)), GZIP, timeout=5)
        assert packed.status == 200
        big = bulk(range(2, 602))
        assert len(big) > 65536
        assert gateway.scgi("POST", "/messages", big, timeout=5).status == 200
    finally:
        go.touch()
    assert archived(gateway) == list(range(1, 602))


def test_a_slow_action_over_the_timeout_is_told_503_and_its_messages_are_dropped(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = with_actions(habitat, "push_and_wait", "push", timeout=0.5, workers=1)
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
    gateway = with_actions(habitat, "wait", "push", timeout=0.5, workers=1)
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
    gateway = with_actions(habitat, name)
    connections = connect(gateway, 40)
    for number, connection in enumerate(connections):
        path = f"/{name}" if number % 2 else "/message"
        connection.sendall(scgi.encode("POST", path, body(number)))
    assert each(connections) == [200, status] * 20
    assert archived(gateway) == list(range(0, 40, 2))
    if status == 500:
        failures = logged(gateway, "action failed")
        assert len(failures) == 20
        assert failures[0]["action"] == name
        assert "a defect in an action" in failures[0]["exception"]


@pytest.mark.parametrize(
    "name",
    ["text_as_body", "text_as_body_fast", "no_status", "header_beyond_latin_1", "not_json"],
)
def test_an_action_that_answers_nonsense_is_a_500_and_no_more(
    habitat: HabitatFactory, name: str
) -> None:
    gateway = with_actions(habitat, name)
    assert gateway.scgi("POST", f"/{name}", timeout=5).status == 500
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]
    assert not gateway.process_ended()


def test_only_whitelisted_actions_can_be_reached(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"actions": ["message"]}})
    (gateway.directory / "loose.py").write_text("def found(*_):\n    return 'found'\n")
    for name in (
        "messages",
        "__init__",
        "__class__",
        "program",
        "server",
        "push_message",
        "actions",
        "clock",
        "loose.found",
        "habitat_like.http.InsertApplication.messages",
        "message.json",
        "Message",
        "message%00",
        "../message",
        "/message",
        "message/json",
        "unknown",
    ):
        for method in ("GET", "POST"):
            reply = gateway.scgi(method, f"/{name}", body())
            assert reply.status == 404, name
            assert reply.text == "no action at this path; there are: /message\n", name
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]


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


def test_requests_of_one_batch_each_get_their_own_answer(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat({"gateway": {"max_batch": 7}})
    kinds: list[tuple[bytes, int]] = [
        (upload(1), 200),
        (scgi.encode("POST", "/message", b"{}"), 400),
        (scgi.encode("GET", "/nothing"), 404),
        (scgi.encode("GET", "/message"), 405),
        (b"nonsense", 400),
        (scgi.encode("POST", "/messages", bulk([2, 3])), 200),
        (scgi.encode("POST", "/messages", body(4) + b"\n{}"), 207),
    ]
    connections = connect(gateway, 20 * len(kinds))
    for number, connection in enumerate(connections):
        connection.sendall(kinds[number % len(kinds)][0])
    assert each(connections) == [status for _, status in kinds] * 20
    assert archived(gateway) == [1, 2, 3, 4]


def test_a_full_backlog_is_told_503_and_nothing_of_a_refused_request_is_stored(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat(
        {
            "journal": {"max_backlog": 10},
            "archive": {"uri": "couchdb://op@127.0.0.1:1/down", "timeout": 1},
        }
    )
    assert gateway.scgi("POST", "/messages", bulk(range(8))).status == 200
    reply = gateway.scgi("POST", "/messages", bulk(range(8, 11)))
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert gateway.status()["backlog"] == 8
    assert gateway.scgi("POST", "/messages", bulk(range(8, 10))).status == 200
    assert gateway.scgi("POST", "/message", body(10)).status == 503
    assert gateway.scgi("GET", "/readyz").status == 503
    assert gateway.status()["backlog"] == 10


def test_no_request_body_is_in_the_log(habitat: HabitatFactory) -> None:
    gateway = with_actions(habitat, "push_and_fail")
    secret = "c2VjcmV0LXRlbGVtZXRyeQ=="
    told = message(1) | {"data": {"string": secret, "number": 1}}
    for path in ("/message", "/push_and_fail", "/messages"):
        gateway.scgi("POST", path, json.dumps(told))
        gateway.scgi("POST", path, json.dumps(told)[:-1])
    gateway.send_raw(b"15:" + secret.encode() * 2, end=True)
    assert archived(gateway) == [1]
    assert secret not in gateway.log
