"""Requests at a real gateway's socket: split, malformed, too large, compressed, in one batch."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import Connect, HabitatFactory, NginxFactory
from tests.support import scgi
from tests.support.gateway import OWN, own_actions
from tests.support.log import wait_for_log
from tests.support.station import answer, archived, body, bulk, each, message, upload
from tests.support.wait import PATIENCE, eventually

GZIP = {"Content-Encoding": "gzip"}

#: Long enough that a test which only ends with it has failed.
PATIENT = {"gateway": {"timeout": PATIENCE}}


def test_a_request_is_read_whatever_byte_it_is_split_at(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat()
    requests = [upload(number) for number in range(1, len(upload(100)))]
    connections = connect(gateway, len(requests))
    for at, (connection, request) in enumerate(zip(connections, requests, strict=True), 1):
        connection.sendall(request[:at])
    eventually(lambda: gateway.connections() == len(connections), "every first part is read")
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


def test_headers_over_the_limit_are_told_431(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"timeout": PATIENCE, "max_headers": 1000}})
    with gateway.connect() as connection:
        connection.sendall(scgi.encode("POST", "/message", body(), {"X-Long": "x" * 5000}))
        reply = answer(connection)
    assert (reply.status, reply.body.count(b"\n")) == (431, 1)
    assert "1000" in reply.text


def test_a_client_still_sending_too_large_a_body_can_read_413(
    habitat: HabitatFactory, connect: Connect
) -> None:
    gateway = habitat({"gateway": {"timeout": PATIENCE, "max_body": 1000}})
    (connection,) = connect(gateway, 1)
    connection.sendall(scgi.encode("POST", "/message", b"x" * 5_000_000))
    reply = answer(connection)
    assert (reply.status, reply.body) == (
        413,
        b"body: 5000000 bytes, over the limit of 1000 bytes\n",
    )
    assert archived(gateway) == []


def test_a_body_of_just_the_limit_is_read(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"timeout": PATIENCE, "max_body": len(body())}})
    assert gateway.scgi("POST", "/message", body()).status == 200
    with gateway.connect() as connection:
        connection.sendall(scgi.encode("POST", "/message", body() + b" "))
        assert answer(connection).status == 413


def test_a_station_behind_nginx_reads_413(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    server = nginx(habitat({"gateway": {"timeout": PATIENCE, "max_body": 1000}}))
    reply = server.request("POST", "/message", b"x" * 50_000)
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
    "NULs": bytes(100),
    "no number as CONTENT_LENGTH": scgi.netstring({"CONTENT_LENGTH": "x", "SCGI": "1"}),
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
    assert len(wait_for_log(gateway, "malformed requests")) == 1
    assert (
        f"habitat_malformed_requests_total {len(MALFORMED)}.0"
        in gateway.scgi("GET", "/metrics").text
    )
    assert gateway.scgi("POST", "/message", body()).status == 200
    assert gateway.status()["journal"]["last_seq"] == 1


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
    assert gateway.send_raw(data).startswith(b"Status: 4")


def test_bytes_after_the_body_are_ignored(habitat: HabitatFactory) -> None:
    gateway = habitat(PATIENT)
    assert scgi.decode(gateway.send_raw(upload(1) + b"garbage")).status == 200
    assert scgi.decode(gateway.send_raw(upload(2) + upload(3))).status == 200
    assert scgi.decode(gateway.send_raw(upload(4) + b"x" * 500_000)).status == 200
    assert archived(gateway) == [1, 2, 4]


def test_gzip_bodies(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"timeout": PATIENCE, "max_body": 100_000}})
    whole = gzip.compress(body(1))
    half = len(body(2)) // 2
    members = gzip.compress(body(2)[:half]) + gzip.compress(body(2)[half:])
    padded = gzip.compress(body(2)[:half]) + bytes(9) + gzip.compress(body(2)[half:]) + bytes(999)

    def ask(data: bytes, coding: str = "gzip") -> tuple[int, Mapping[str, str]]:
        reply = gateway.scgi("POST", "/message", data, {"Content-Encoding": coding})
        return reply.status, reply.headers

    assert ask(whole)[0] == 200
    assert ask(members)[0] == ask(padded)[0] == 200
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


def test_no_request_body_is_in_the_log(habitat: HabitatFactory) -> None:
    gateway = habitat(own_actions("push_and_fail"), own=OWN)
    secret = "c2VjcmV0LXRlbGVtZXRyeQ=="
    told = message(1) | {"data": {"string": secret, "number": 1}}
    for path in ("/message", "/push_and_fail", "/messages"):
        gateway.scgi("POST", path, json.dumps(told))
        gateway.scgi("POST", path, json.dumps(told)[:-1])
    gateway.send_raw(b"15:" + secret.encode() * 2, end=True)
    assert archived(gateway) == [1]
    assert secret not in gateway.log


BOM = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_passed_over(habitat: HabitatFactory) -> None:
    gateway = habitat()

    def ask(path: str, data: bytes) -> Any:
        return gateway.scgi("POST", path, data)

    assert ask("/message", BOM + body(1)).status == 200
    array = b"[" + body(2) + b"," + body(3) + b"]"
    for data in (
        BOM + array,
        BOM + body(2) + b"\n" + body(3),
        BOM + body(2) + b"\r\n" + BOM + body(3) + b"\n" + BOM + b"\n",
        b"\n" + BOM + body(2) + b"\n" + body(3),
    ):
        answer = ask("/messages", data)
        assert (answer.status, answer.json()["accepted"]) == (200, 2)
    assert archived(gateway) == [1, 2, 3]
    # One that is a part of a text stays there; in the middle of JSON it is a mistake.
    assert ask("/message", b"{" + BOM + body(1)[1:]).status == 400
    inside = json.loads(body(4))
    inside["data"]["note"] = "\ufeffx"
    assert ask("/messages", json.dumps(inside, ensure_ascii=False).encode()).status == 200
    gateway.wait_until_archived()
    assert "\ufeffx" in [one["data"].get("note") for one in gateway.documents()]


@pytest.mark.parametrize("form", ["::ffff:192.0.2.1", "::FFFF:c000:201"])
def test_an_ipv4_address_in_ipv6s_form_is_one_address_everywhere(
    habitat: HabitatFactory, form: str
) -> None:
    gateway = habitat({"access": {"deny": ["192.0.2.2"], "rate_per_address": 1, "rate_burst": 2}})

    def ask(number: int, address: str) -> int:
        params = {"REMOTE_ADDR": address}
        return gateway.scgi("POST", "/message", body(number), params=params).status

    assert ask(1, form) == ask(2, "192.0.2.1") == 200
    assert ask(3, form) == ask(4, "192.0.2.1") == 429
    assert ask(5, form.replace("2.1", "2.2").replace("201", "202")) == 403
    assert {one["ip"] for one in gateway.documents()} == {"192.0.2.1"}
