"""Answers under stress: each network is told what its clients survive best."""

from __future__ import annotations

import contextlib
import functools
import resource
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from habitat_like.networks.catalogue import BUILT_IN
from tests.conftest import HabitatFactory, NginxFactory
from tests.support.control import connect
from tests.support.gateway import Habitat, read_all
from tests.support.reply import Reply
from tests.support.scgi import decode, encode
from tests.support.wait import eventually

NAMES = [name for name in BUILT_IN if name != "hisparc"]
NETWORKS: dict[str, Any] = {"networks": {name: {} for name in NAMES}}
#: Over it a body is too large here.
MAX_BODY = 2000
AMATEUR = (
    '[{"software_name": "x", "software_version": "1", "uploader_callsign": "N0CALL-7",'
    ' "payload_callsign": "P%d", "datetime": "2026-11-20T10:15:30Z", "lat": 52,'
    ' "lon": 5, "alt": 9}]'
)
LINE = "weather,host=field07 temperature=4.%d 1795169730000000000"


class Case(NamedTuple):
    """A network's request, with a number in it that makes it another one, and its answers.

    ``done`` is its success; ``denied`` is told to addresses that may not upload, ``large`` for too
    large a body, ``rate`` where too much is sent.
    """

    network: str
    method: str
    path: str
    body: str
    done: int
    overload: int
    denied: int
    large: int
    rate: int


CASES = [
    Case("sondehub", "PUT", "/amateur/telemetry", AMATEUR, 200, 500, 403, 413, 500),
    Case(
        "habitat",
        "PUT",
        f"/habitat/{32 * 'c'}",
        '{"data": {"callsign": "N0CALL", "name": "A. Tester %d"}, "type": "listener_information",'
        ' "time_created": "2026-11-20T11:00:01+01:00",'
        ' "time_uploaded": "2026-11-20T11:00:01+01:00"}',
        201,
        503,
        403,
        413,
        503,
    ),
    Case("weather", "POST", "/data/report/", "PASSKEY=0123%d&tempf=41", 200, 503, 403, 413, 503),
    Case(
        "airrohr",
        "POST",
        "/airrohr",
        '{"esp8266id": "1", "sensordatavalues": [{"value_type": "SDS_P1", "value": "%d"}]}',
        200,
        503,
        403,
        413,
        503,
    ),
    Case("opensensemap", "POST", f"/boxes/{24 * 'a'}/data", '{"x": %d}', 201, 503, 403, 413, 503),
    Case(
        "safecast",
        "POST",
        "/measurements.json",
        '{"device_id": 7, "value": %d, "unit": "cpm"}',
        201,
        503,
        403,
        413,
        503,
    ),
    Case(
        "ttn",
        "POST",
        "/ttn/up",
        '{"end_device_ids": {"device_id": "d", "dev_eui": "70B3D57ED0000001"},'
        ' "received_at": "2026-11-20T10:15:30Z", "uplink_message": {"f_cnt": %d}}',
        200,
        503,
        403,
        413,
        503,
    ),
    Case(
        "chirpstack",
        "POST",
        "/chirpstack?event=up",
        '{"deduplicationId": "3ac7e3c4-%d", "time": "2026-11-20T10:15:31+00:00",'
        ' "deviceInfo": {"devEui": "0101010101010101"}, "fCnt": %d}',
        200,
        503,
        403,
        413,
        503,
    ),
    Case(
        "helium",
        "POST",
        "/helium",
        '{"dev_eui": "6081F90000000002", "fcnt": %d, "reported_at": 1795169730622,'
        ' "type": "uplink"}',
        200,
        503,
        403,
        413,
        503,
    ),
    Case(
        "owntracks",
        "POST",
        "/pub?u=car&d=van7",
        '{"_type": "location", "lat": 52, "lon": 5, "tst": 1795169%d}',
        200,
        503,
        200,
        200,
        503,
    ),
    Case("osmand", "GET", "/osmand?id=7&lat=52&lon=5&alt=%d", "", 200, 503, 200, 200, 503),
    Case(
        "rockblock",
        "POST",
        "/rockblock",
        "imei=300234010000000&momsn=%d&transmit_time=26-11-20+10:15:31&data=68",
        200,
        503,
        200,
        200,
        503,
    ),
    Case("influx", "POST", "/api/v2/write", LINE, 204, 503, 403, 413, 429),
    Case(
        "cloudevents",
        "POST",
        "/events",
        '{"specversion": "1.0", "id": "%d", "source": "field07", "type": "x", "data": 1}',
        204,
        503,
        403,
        413,
        429,
    ),
]
BY_NAME = pytest.mark.parametrize("case", CASES, ids=[case.network for case in CASES])


def test_every_network_is_in_the_table() -> None:
    assert sorted(case.network for case in CASES) == sorted(NAMES)


def ask(case: Case, number: int = 1, *, filler: int = 0) -> tuple[str, str, str, dict[str, str]]:
    """Method, path, body and headers of a case's request."""
    path = case.path.replace("%d", str(number))
    body = case.body.replace("%d", str(number)) + " " * filler
    kind = "application/x-www-form-urlencoded" if "=" in case.body else "application/json"
    if case.network == "cloudevents":
        kind = "application/cloudevents+json"
    return case.method, path, body, {"Content-Type": kind}


def encoded(case: Case, number: int = 1, *, filler: int = 0) -> bytes:
    """A case's request as it comes to the gateway."""
    method, path, body, headers = ask(case, number, filler=filler)
    return encode(method, path, body.encode(), headers)


def send(gateway: Habitat, case: Case, number: int = 1, *, filler: int = 0) -> Reply:
    """Send a case's request to the gateway itself."""
    return decode(gateway.send_raw(encoded(case, number, filler=filler)))


def is_taken(gateway: Habitat, case: Case) -> bool:
    return send(gateway, case, 5).status == case.done


def check(reply: Reply, status: int) -> None:
    """It is the answer, one that a simple client can read, and no redirect."""
    assert reply.status == status, reply
    assert "location" not in reply.headers
    assert len(reply.body) < 300
    if status in (429, 500, 503):
        assert int(reply.headers["retry-after"]) > 0


@pytest.fixture(scope="module")
def shared() -> Iterator[Habitat]:
    gateway = Habitat({**NETWORKS, "gateway": {"max_body": MAX_BODY}})
    try:
        yield gateway.start()
    finally:
        gateway.close()


@BY_NAME
def test_well_formed_requests_are_taken(shared: Habitat, case: Case) -> None:
    """Or else the tests below would prove little."""
    before = shared.status()["networks"][case.network]["observations"]
    check(send(shared, case, 8), case.done)
    assert shared.status()["networks"][case.network]["observations"] != before


@BY_NAME
@pytest.mark.parametrize("message", ["", "307 https://other.example/message"])
def test_maintenance(shared: Habitat, case: Case, message: str) -> None:
    said = ["--message", message] if message else []
    done = shared.cli("ctl", "maintenance", "on", *said)
    assert done.returncode == 0, done.stderr
    try:
        check(send(shared, case), case.overload)
    finally:
        shared.cli("ctl", "maintenance", "off")
    check(send(shared, case), case.done)


@BY_NAME
def test_a_body_that_is_too_large(shared: Habitat, case: Case) -> None:
    written = shared.status()["journal"]["last_seq"]
    check(send(shared, case, 3, filler=MAX_BODY + 1), case.large)
    assert shared.status()["journal"]["last_seq"] == written


@BY_NAME
def test_a_body_that_says_it_is_gzip_and_is_not(shared: Habitat, case: Case) -> None:
    method, path, body, headers = ask(case, 4)
    headers["Content-Encoding"] = "gzip"
    reply = shared.scgi(method, path, body, headers)
    stubborn = case.large == 200
    assert (reply.status < 300) == (stubborn or not body)


@BY_NAME
def test_a_full_backlog(habitat: HabitatFactory, case: Case) -> None:
    # An archive that is never there.
    gateway = habitat(
        {
            **NETWORKS,
            "journal": {"max_backlog": 1},
            "archive": {"uri": "couchdb://127.0.0.1:9/none"},
        }
    )
    check(send(gateway, case, 1), case.done)
    check(send(gateway, case, 2), case.overload)
    assert gateway.status()["networks"][case.network]["refused"] == {"overload": 1}


@contextlib.contextmanager
def full_disk(gateway: Habitat) -> Iterator[None]:
    """No file of the gateway can grow."""
    before = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    yield
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, before)


def test_a_commit_that_fails(habitat: HabitatFactory) -> None:
    gateway = habitat(NETWORKS)
    with full_disk(gateway):
        for case in CASES:
            check(send(gateway, case, 5), case.overload)
    for case in CASES:
        taken = functools.partial(is_taken, gateway, case)
        eventually(taken, "it is taken")


def test_draining(habitat: HabitatFactory) -> None:
    gateway = habitat(
        {**NETWORKS, "archive": {"uri": "couchdb://127.0.0.1:9/none"}},
    )
    check(send(gateway, CASES[0], 1), CASES[0].done)
    with connect(gateway) as connection:
        connection.sendall(b'{"command": "drain"}\n')
        eventually(lambda: gateway.status()["state"] == "draining", "it drains")
        for case in CASES:
            check(send(gateway, case, 6), case.overload)


@BY_NAME
def test_an_address_that_may_not_upload(habitat: HabitatFactory, case: Case) -> None:
    gateway = habitat({**NETWORKS, "access": {"deny": ["127.0.0.0/8"]}})
    check(send(gateway, case), case.denied)
    assert gateway.status()["journal"]["last_seq"] == 0
    assert gateway.status()["networks"][case.network]["refused"] == {"denied": 1}


@BY_NAME
def test_too_much_from_one_address(habitat: HabitatFactory, case: Case) -> None:
    gateway = habitat({**NETWORKS, "access": {"rate_per_address": 1, "rate_burst": 1}})
    check(send(gateway, case, 1), case.done)
    check(send(gateway, case, 2), case.rate)
    assert gateway.status()["networks"][case.network]["refused"] == {"rate": 1}


def test_too_many_connections(habitat: HabitatFactory) -> None:
    gateway = habitat({**NETWORKS, "gateway": {"max_connections": 1}})
    with gateway.connect() as idle:
        # The second half of this request never comes.
        idle.sendall(encode("POST", "/message", b"12345")[:-2])
        eventually(lambda: gateway.connections() >= 1, "it waits")
        for case in CASES:
            # Sent before it is accepted: what has sent nothing yet is of no network.
            gateway.signal(signal.SIGSTOP)
            with gateway.connect() as client:
                client.sendall(encoded(case, 7, filler=5)[:-2])
                gateway.signal(signal.SIGCONT)
                answer = client.recv(4096)
            assert answer.startswith(b"Status: %d " % case.overload), (case.network, answer)


def test_more_bytes_than_there_is_room_for(habitat: HabitatFactory) -> None:
    gateway = habitat({**NETWORKS, "gateway": {"max_waiting": MAX_BODY}})
    for case in CASES:
        check(send(gateway, case, 9, filler=MAX_BODY + 1), case.overload)
        refused = gateway.status()["networks"][case.network]["refused"]
        assert refused == {"overload": 1}, case.network
        check(send(gateway, case, 9), case.done)


def test_bodies_of_others_that_take_all_the_room(habitat: HabitatFactory) -> None:
    gateway = habitat({**NETWORKS, "gateway": {"max_waiting": MAX_BODY}})
    with gateway.connect() as other:
        # Its last byte never comes.
        other.sendall(encode("POST", "/message", b"x" * MAX_BODY)[:-1])
        eventually(lambda: gateway.status()["waiting"] == MAX_BODY - 1, "it is read")
        for case in CASES:
            # One byte is left.
            with gateway.connect() as client:
                client.sendall(encoded(case, filler=10)[:-2])
                check(decode(read_all(client)), case.overload)
    eventually(lambda: gateway.status()["waiting"] == 0, "it is forgotten")
    for case in CASES:
        check(send(gateway, case), case.done)


def test_sigterm_answers_who_has_sent_all(habitat: HabitatFactory) -> None:
    """What waits in the socket when the stop begins is taken, and archived."""
    gateway = habitat(NETWORKS)
    gateway.signal(signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in CASES]
        for client, case in zip(clients, CASES, strict=True):
            client.sendall(encoded(case))
        gateway.signal(signal.SIGTERM)
        gateway.signal(signal.SIGCONT)
        for client, case in zip(clients, CASES, strict=True):
            check(decode(read_all(client)), case.done)
    assert gateway.wait() == 0
    assert len(gateway.start().documents()) == len(CASES)


def test_sigterm_tells_who_never_sends_all(habitat: HabitatFactory) -> None:
    gateway = habitat(NETWORKS)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in CASES]
        for client, case in zip(clients, CASES, strict=True):
            client.sendall(encoded(case, filler=10)[:-1])
        eventually(lambda: gateway.connections() == len(CASES), "all are read")
        gateway.signal(signal.SIGTERM)
        for client, case in zip(clients, CASES, strict=True):
            check(decode(read_all(client)), case.overload)
    assert gateway.wait() == 0
    assert gateway.start().documents() == []


def test_a_gateway_that_is_away_is_told_by_nginx(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat(NETWORKS)
    front = nginx(gateway)
    for case in CASES:
        assert front.request(*ask(case)).status == case.done, case.network
    assert gateway.stop() == 0
    for case in CASES:
        check(front.request(*ask(case)), case.overload)


def test_a_body_that_nginx_itself_refuses(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    front = nginx(habitat({**NETWORKS, "gateway": {"max_body": MAX_BODY}}))
    for case in CASES:
        method, path, body, headers = ask(case)
        reply = front.request(method, path, body + " " * 100_000, headers)
        assert reply.status == case.large, case.network
