"""Limits in bytes: of one message, and of all bodies that are in the gateway at once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Connect, HabitatFactory
from tests.main.test_reload import reload
from tests.support import scgi
from tests.support.gateway import OWN, Habitat, own_actions
from tests.support.large import peak
from tests.support.station import answer, archived, at_once, body, close, each, message, send
from tests.support.wait import eventually

GZIP = {"Content-Encoding": "gzip"}
MB = 1_000_000
AWAY = {"uri": "couchdb://op@127.0.0.1:1/down"}


def long(number: int, size: int) -> bytes:
    """A message with a note of ``size`` bytes."""
    tree = message(number)
    tree["data"]["note"] = "x" * size
    return json.dumps(tree).encode()


def ignored(number: int, size: int) -> bytes:
    """A message of some bytes in a body of ``size``."""
    text = json.dumps({**message(number), "more": ""})
    return text.replace('"more": ""', f'"more": "{"x" * (size - len(text))}"').encode()


def waiting(gateway: Habitat) -> int:
    number: int = gateway.status()["waiting"]
    return number


# -- one message


def test_a_message_over_the_limit_is_413_and_changes_nothing(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"max_message": 1000}})
    assert gateway.scgi("POST", "/message", long(1, 500)).status == 200
    (document,) = gateway.documents()
    room = 1000 - len(json.dumps(document, separators=(",", ":"))) + 500
    assert gateway.scgi("POST", "/message", long(2, room)).status == 200
    reply = gateway.scgi("POST", "/message", long(3, room + 1))
    assert (reply.status, reply.text) == (
        413,
        "message: 1001 bytes as a document, over the limit of 1000 bytes\n",
    )
    packed = gateway.scgi("POST", "/message", gzip.compress(long(3, MB)), GZIP)
    assert (packed.status, "over the limit" in packed.text) == (413, True)
    # What isn't archived doesn't count.
    assert gateway.scgi("POST", "/message", ignored(4, 200_000)).status == 200
    assert archived(gateway) == [1, 2, 4]


@pytest.mark.parametrize("form", ["lines", "array", "gzip"])
def test_in_a_batch_it_is_refused_and_the_others_are_durable(
    habitat: HabitatFactory, form: str
) -> None:
    gateway = habitat({"gateway": {"max_message": 1000}})
    parts = [body(1), long(2, 1000), body(3), long(4, 100_000), body(5)]
    batch = b"[" + b",".join(parts) + b"]" if form == "array" else b"\n".join(parts)
    headers = GZIP if form == "gzip" else {}
    sent = gzip.compress(batch) if form == "gzip" else batch
    reply = gateway.scgi("POST", "/messages", sent, headers)
    answer = reply.json()
    assert (reply.status, answer["accepted"]) == (207, 3)
    refused = [
        ("over the limit of 1000 bytes" in one.get("error", "")) for one in answer["results"]
    ]
    assert refused == [False, True, False, True, False]
    assert archived(gateway) == [1, 3, 5]
    alone = gateway.scgi("POST", "/messages", long(6, 2000))
    assert (alone.status, alone.json()["accepted"]) == (400, 0)


def test_the_usual_limit_is_a_quarter_of_a_megabyte(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/message", long(1, 261_000)).status == 200
    assert gateway.scgi("POST", "/message", long(2, 262_144)).status == 413
    assert archived(gateway) == [1]


def test_an_action_of_ones_own_has_that_limit_as_well(habitat: HabitatFactory) -> None:
    config = own_actions("note", max_message=1000)
    gateway = habitat(config, own=OWN + NOTE)
    assert gateway.scgi("POST", "/note", b"x" * 100).status == 200
    assert gateway.scgi("POST", "/note", b"x" * 1000).status == 413


NOTE = """

@action()
def note(application, ip, args):
    from habitat_like.message.message import Listener, Message
    message = Message(Listener("OWN"), "OWN", 1, 1, {"text": args.body.decode()})
    application.server.push_message(message)
"""


# -- many parts


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (b"[" + b"1," * 400_000 + b"1]", "body: not all objects"),
        (b"[" + b"{}," * 300_000 + b"{}]", "body: 300001 parts are too many"),
        (b"[" + b"{}," * 300_000 + b"1]", "body: not all objects"),
        (b"1\n" * 400_000, "parts are too many"),
        (b"{}\n" * 300_000, "parts are too many"),
    ],
    ids=["numbers", "empty objects", "both", "lines of numbers", "lines of objects"],
)
def test_a_batch_of_rubbish_is_refused_as_a_whole(
    habitat: HabitatFactory, batch: bytes, text: str
) -> None:
    gateway = habitat()
    for sent, headers in ((batch, {}), (gzip.compress(batch), GZIP)):
        reply = gateway.scgi("POST", "/messages", sent, headers)
        assert (reply.status, text in reply.text) == (400, True), reply.text[:200]


def test_costly_items_are_refused_one_by_one(habitat: HabitatFactory) -> None:
    gateway = habitat()
    digits = {**message(2), "more": [10**500] * 20}
    keys = {**message(3), "more": {f"k{n}": n for n in range(5000)}}
    parts = [message(1), digits, keys, 5, message(4)]
    reply = gateway.scgi("POST", "/messages", gzip.compress(json.dumps(parts).encode()), GZIP)
    errors = [one.get("error", "") for one in reply.json()["results"]]
    assert reply.status == 207
    assert ("digits" in errors[1], "keys" in errors[2]) == (True, True)
    assert archived(gateway) == [1, 4]


# -- all bodies


def test_a_body_over_the_room_there_is_gets_503(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"max_waiting": 200_000}})
    for headers, pack in (({}, bytes), (GZIP, gzip.compress)):
        for size, status in ((200_000, 200), (200_001, 503)):
            reply = gateway.scgi("POST", "/message", pack(ignored(1, size)), headers)
            assert reply.status == status
        assert reply.headers["retry-after"] == "5"
        assert "too many bytes" in reply.text
    assert waiting(gateway) == 0


def test_bodies_that_are_being_read_count_together(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat({"gateway": {"timeout": 60, "max_waiting": MB}})
    request = scgi.encode("POST", "/message", ignored(1, 300_000))
    claims = connect(gateway, 20)
    send(claims, scgi.encode("POST", "/message", ignored(1, 900_000))[:1000])  # reserve nothing
    held = connect(gateway, 3)
    send(held, request[:-1])
    eventually(lambda: 890_000 < waiting(gateway) < 1_000_000)
    over = connect(gateway, 4)
    for connection in over:
        connection.sendall(request[:-1])
        reply = answer(connection)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    close(over)
    # Who was there first goes on; then there is room again.
    send(held, request[-1:])
    assert each(held) == [200] * 3
    close(claims)
    eventually(lambda: waiting(gateway) == 0)
    assert gateway.scgi("POST", "/message", ignored(2, 900_000)).status == 200


def test_a_client_that_goes_or_takes_too_long_gives_its_room_back(
    habitat: HabitatFactory, connect: Connect
) -> None:
    # Both are still there when the test looks, however busy the machine is.
    gateway = habitat({"gateway": {"timeout": 10, "max_waiting": MB}})
    request = scgi.encode("POST", "/message", ignored(1, 400_000))
    gone, slow = connect(gateway, 2)
    send([gone, slow], request[:-1])
    eventually(lambda: waiting(gateway) > 790_000)
    gone.close()
    assert answer(slow).status == 408
    eventually(lambda: waiting(gateway) == 0)


def test_bodies_in_the_slow_lane_count_until_their_action_has_ended(
    habitat: HabitatFactory, connect: Connect
) -> None:
    config = own_actions("wait", timeout=10, workers=1, max_waiting=MB)
    gateway = habitat(config, own=OWN)
    go = gateway.directory / "go"
    held = connect(gateway, 2)
    send(held, scgi.encode("POST", f"/wait?{go}", b"x" * 400_000))
    eventually(lambda: waiting(gateway) == 800_000)
    assert gateway.scgi("POST", f"/wait?{go}", b"x" * 400_000).status == 503
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    # Both are answered before their action ends, which still has the bodies.
    assert each(held) == [503, 503]
    assert waiting(gateway) >= 400_000
    go.touch()
    eventually(lambda: waiting(gateway) == 0)


def test_status_and_metrics_tell_how_much_waits(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"max_waiting": 12345}})
    status = gateway.status()
    assert (status["waiting"], status["max_waiting"]) == (0, 12345)
    metrics = gateway.scgi("GET", "/metrics").text
    assert "habitat_waiting_bytes 0.0" in metrics
    assert "habitat_max_waiting_bytes 12345.0" in metrics


def test_a_reload_puts_the_limits_in_bytes_in_force(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat()
    gateway.config["gateway"].update(max_message=1000, max_waiting=50_000)
    changed = reload(gateway)["changed"].split(", ")
    assert sorted(changed) == ["gateway.max_message", "gateway.max_waiting"]
    assert gateway.scgi("POST", "/message", long(1, 1000)).status == 413
    assert gateway.scgi("POST", "/message", ignored(1, 50_001)).status == 503
    gateway.config["gateway"].update(max_message=2000, max_waiting=60_000)
    reload(gateway)
    assert gateway.scgi("POST", "/message", long(1, 1000)).status == 200
    assert gateway.scgi("POST", "/message", ignored(2, 50_001)).status == 200


@pytest.fixture(scope="module")
def small() -> Iterator[Habitat]:
    """A gateway with little room, for clients of any kind."""
    gateway = Habitat({"gateway": {"max_waiting": 300_000, "timeout": 60}})
    try:
        yield gateway.start()
    finally:
        gateway.close()


kinds = st.sampled_from(["whole", "gzip", "bomb", "no gzip", "cut gzip", "bad", "not SCGI"])
clients = st.lists(
    st.tuples(kinds, st.integers(1, 250_000), st.floats(0, 1), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=clients)
def test_whatever_clients_do_the_room_comes_back(
    small: Habitat, connect: Connect, drawn: list[tuple[str, int, float, bool]]
) -> None:
    requests = [make(kind, size) for kind, size, _, _ in drawn]
    connections = connect(small, len(requests))
    for connection, data, (_, _, part, _) in zip(connections, requests, drawn, strict=True):
        connection.sendall(data[: int(part * len(data))])  # the gateway reads whatever comes
    for connection, data, (_, _, part, goes_on) in zip(connections, requests, drawn, strict=True):
        if goes_on:
            if rest := data[int(part * len(data)) :]:  # what is whole may be answered and closed
                connection.sendall(rest)
            assert answer(connection).status in (200, 400, 413, 503)
    close(connections)
    eventually(lambda: waiting(small) == 0)
    assert small.scgi("POST", "/message", ignored(1, 299_000)).status == 200


def make(kind: str, size: int) -> bytes:
    """A request of the kind with a body of about ``size`` bytes."""
    text = ignored(size, size) if size > 300 else body(size)
    bodies: dict[str, tuple[bytes, dict[str, str]]] = {
        "whole": (text, {}),
        "gzip": (gzip.compress(text), GZIP),
        "bomb": (gzip.compress(b" " * 20 * size), GZIP),
        "no gzip": (text, GZIP),
        "cut gzip": (gzip.compress(text)[:-3], GZIP),
        "bad": (b"x" * size, {}),
    }
    if kind == "not SCGI":
        return b"x" * size
    data, headers = bodies[kind]
    return scgi.encode("POST", "/message", data, headers)


# -- memory


def test_a_thousand_large_uploads_at_once_need_bounded_memory(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"max_connections": 4000}, "archive": AWAY})
    gateway.scgi("GET", "/metrics")
    before = peak(gateway.pid)

    def one(number: int) -> Any:
        return gateway.scgi("POST", "/message", long(number, MB)).status

    assert set(at_once(400, one)) <= {413, 503}
    assert peak(gateway.pid) - before < 200 * MB
    eventually(lambda: waiting(gateway) == 0)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
