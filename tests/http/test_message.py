"""POST /message as a station sees it, through a real nginx: what is taken and archived."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.couch import CouchServer
from tests.support.messages import CREATED, GOOD, INFO, TELEM, WHERE
from tests.support.reply import one_line
from tests.support.site import Site
from tests.support.wait import eventually


def test_a_message_is_answered_ok_and_archived_as_designed(
    habitat: HabitatFactory, nginx: NginxFactory, couch: CouchServer, database: str
) -> None:
    config = {"gateway": {"machine_code": "a1"}, "archive": {"uri": couch.uri(database)}}
    gateway = habitat(config)
    real_ip = "set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;"
    front = nginx(gateway, in_server=real_ip)
    begin = int(time.time())
    body = json.dumps({**TELEM, "callsign": "m0zdr"})
    reply = front.request("POST", "/message", body, {"X-Real-IP": "203.0.113.7"})
    end = int(time.time())
    assert (reply.status, reply.body) == (200, b"OK")
    assert reply.headers["content-type"].startswith("text/plain")
    eventually(lambda: gateway.status()["archive"]["messages"] == 1, "it is archived")
    (document,) = couch.all_docs(database)
    assert re.fullmatch(r"1295103598-[0-9a-f]{24}", document.pop("_id"))
    assert document.pop("_rev").startswith("1-")
    uploaded = document.pop("time_uploaded")
    assert begin <= uploaded <= end, "the gateway's clock replaces time_uploaded"
    assert uploaded - document.pop("time_created") == 109, "the difference stays"
    assert document == {
        "type": "RECEIVED_TELEM",
        "callsign": "M0ZDR",
        "ip": "203.0.113.7",
        "data": TELEM["data"],
        "gateway": "a1",
    }


def test_an_ipv6_station_is_archived_with_its_address(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat()
    front = nginx(gateway, in_server="set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;")
    reply = front.request("POST", "/message", json.dumps(TELEM), {"X-Real-IP": "2001:db8::7"})
    assert reply.status == 200
    (document,) = gateway.documents()
    assert document["ip"] == "2001:db8::7"


def test_the_id_is_made_of_what_the_station_sent(site: Site) -> None:
    site.post({**TELEM, "callsign": "same-id"})
    (first,) = site.archived("SAME-ID")
    data = TELEM["data"]
    for repeat in (
        {**TELEM, "callsign": "SAME-id"},
        {**TELEM, "callsign": "same-id", "time_uploaded": CREATED + 5000},
        {**TELEM, "callsign": "same-id", "time_created": str(CREATED)},
        {**TELEM, "callsign": "same-id", "time_created": CREATED + 0.9},
        {**TELEM, "callsign": "same-id", "data": dict(reversed(data.items()))},
        {**TELEM, "callsign": "same-id", "more": 1},
    ):
        reply = site.post(repeat)
        assert (reply.status, reply.body) == (200, b"OK")
    assert site.archived("SAME-ID") == [first]
    others = (
        {**TELEM, "callsign": "same-id", "time_created": CREATED + 1},
        {**TELEM, "callsign": "same-id", "data": {**data, "frequency": 1}},
        {**TELEM, "callsign": "same-id", "data": {**data, "snr": 1}},
        {**INFO, "callsign": "same-id"},
    )
    for other in others:
        assert site.post(other).status == 200
    found = site.archived("SAME-ID")
    assert len(found) == len({document["_id"] for document in found}) == 1 + len(others)
    assert all(re.fullmatch(r"\d{10}-[0-9a-f]{24}", document["_id"]) for document in found)


@pytest.mark.parametrize("callsign", ["a", "Z9/-_p", "M0ZDR/P", "x" * 64, "0", "-", "/"])
def test_a_callsign_is_archived_in_upper_case(site: Site, callsign: str) -> None:
    assert site.post({**TELEM, "callsign": callsign}).status == 200
    assert [document["callsign"] for document in site.archived(callsign.upper())] == [
        callsign.upper()
    ]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (b"-0", 0),
        (1, 1),
        (CREATED, CREATED),
        (CREATED + 0.999, CREATED),
        (b"1.295103598e9", CREATED),
        (9_999_999_999, 9_999_999_999),
        (9_999_999_999.9, 9_999_999_999),
        ("0", 0),
        (str(CREATED), CREATED),
        ("0001295103598", CREATED),
        ("9999999999", 9_999_999_999),
    ],
)
@pytest.mark.parametrize("field", ["time_created", "time_uploaded"])
def test_times_are_numbers_or_integers_in_strings(
    site: Site, field: str, value: Any, seconds: int
) -> None:
    tree = {**TELEM, "time_created": CREATED, "time_uploaded": CREATED, field: "HERE"}
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    document = site.accepted(json.dumps(tree).encode().replace(b'"HERE"', text))
    created = seconds if field == "time_created" else CREATED
    uploaded = seconds if field == "time_uploaded" else CREATED
    assert document["_id"].startswith(f"{created:010d}-")
    corrected = document["time_uploaded"] - uploaded + created
    assert document["time_created"] == min(max(corrected, 0), 9_999_999_999)


def test_further_top_level_keys_are_ignored(site: Site) -> None:
    further = {"x": {"y": [1, {"z": None}]}, "": 1, "_id": "mine", "_rev": "1-a", "ip": "1.1.1.1"}
    document = site.accepted({**further, **TELEM, "gateway": "mine"})
    assert set(document) == {
        "_id",
        "type",
        "callsign",
        "ip",
        "time_created",
        "time_uploaded",
        "data",
        "gateway",
    }
    assert document["_id"] != "mine"
    assert document["ip"] == "127.0.0.1"
    assert document["gateway"] == "test"


SCALARS = {
    "snr": -12.5,
    "rssi": -90,
    "zero": 0,
    "large": 2**53,
    "tiny": 5e-324,
    "ok": True,
    "bad": False,
    "nothing": None,
    "software": 'dl-fldigi "3.1": \\ \u00e9 \U0001f388 \x00 \x1f \x7f',
    "": "a key without a name",
    'k"e:y\n': 1,
    "_id": "not ours",
    "\u00e9": 1,
}


def test_received_telem_keeps_scalars_that_it_does_not_know(site: Site) -> None:
    data = {"string": "", **SCALARS}
    for ascii_only in (True, False):
        body = json.dumps({**TELEM, "data": data}, ensure_ascii=ascii_only).encode()
        assert site.accepted(body)["data"] == data


@pytest.mark.parametrize("frequency", [0, 0.0, 434075199.23, 1e300])
def test_received_telem_with_a_frequency(site: Site, frequency: float) -> None:
    data = {"string": "JCRo", "frequency": frequency}
    assert site.accepted({**TELEM, "data": data})["data"] == data


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 30_000])
def test_received_telem_of_any_bytes(site: Site, size: int) -> None:
    string = base64.b64encode(bytes(number % 256 for number in range(size))).decode()
    assert site.accepted({**TELEM, "data": {"string": string}})["data"] == {"string": string}


@pytest.mark.parametrize("keys", [[], ["name"], ["location", "antenna"], list(INFO["data"])])
def test_listener_info_keeps_what_it_knows(site: Site, keys: list[str]) -> None:
    known = {key: INFO["data"][key] for key in keys}
    sent = {**known, "more": [1, {"a": {}}], "rssi": 1}
    assert site.accepted({**INFO, "data": sent})["data"] == known


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"latitude": 90, "longitude": 180},
        {"latitude": -90.0, "longitude": -180.0},
        {"altitude": -400.5},
        {"altitude": 0},
        {"time": {"hour": 0, "minute": 0, "second": 0}},
        {"time": {"hour": 23, "minute": 59, "second": 60}},
    ],
)
def test_listener_telem_within_its_limits(site: Site, changes: dict[str, Any]) -> None:
    data = {**WHERE["data"], **changes}
    noise = {**data, "speed": 12, "time": {**data["time"], "zone": "UTC"}}
    assert site.accepted({**WHERE, "data": noise})["data"] == data


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
def test_gzip_bodies_are_accepted(site: Site, coding: str) -> None:
    headers = {"Content-Encoding": coding}
    callsign = f"zip-{coding}-"
    body = json.dumps({**TELEM, "callsign": callsign}).encode()
    halves = gzip.compress(body[:50]) + gzip.compress(body[50:])
    for compressed in (gzip.compress(body), halves):
        assert site.post(compressed, headers=headers).status == 200
    assert len(site.archived(callsign.upper())) == 1
    batch = b"\n".join(
        json.dumps({**TELEM, "callsign": f"{callsign}{n}"}).encode() for n in range(50)
    )
    reply = site.post(gzip.compress(batch), "/messages", headers)
    assert (reply.status, reply.json()["accepted"]) == (200, 50)


#: Once it got past the check for keys that stand twice.
LONE_IN_A_SECOND_DATA = (
    GOOD.replace(b'"string"', b'"a": [], "string"')[:-1] + rb', "data": {"\ud800": []}}'
)
JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from([*TELEM, "string", "TELEM", "RECEIVED_TELEM", "M0ZDR", "YQ==", CREATED]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*TELEM, "string", "frequency", "time"])
            | st.text(st.characters(exclude_categories=())),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON, nearly JSON, and messages with something wrong in them."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.binary(max_size=200))
    tree = draw(JSONISH)
    if kind == 1:
        place = draw(st.sampled_from([TELEM, INFO, WHERE]))
        field = draw(st.sampled_from([*place, "more"]))
        tree = {**place, field: tree}
    elif kind == 2:
        place = draw(st.sampled_from([TELEM, INFO, WHERE]))
        field = draw(st.sampled_from([*place["data"], "more"]))
        tree = {**place, "data": {**place["data"], field: tree}}
    text = json.dumps(tree, ensure_ascii=draw(st.booleans()))
    body = text.encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        return body
    at = draw(st.integers(0, len(body)))
    junk = draw(st.sampled_from([b"", b'"', b"{", b"[", b",", b":", b"\\", b"\0", b"\xff", b"1"]))
    return body[:at] + junk + body[at + draw(st.integers(0, 3)) :]


@given(body=bodies())
@example(body=LONE_IN_A_SECOND_DATA)
@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_body_has_a_documented_answer_and_a_refused_one_changes_nothing(
    site: Site, body: bytes
) -> None:
    before = site.written()
    reply = site.gateway.scgi("POST", "/message", body)
    assert reply.status in (200, 400), (body, reply)
    if reply.status == 400:
        one_line(reply)
        assert site.written() == before
    else:
        assert reply.body == b"OK"
        assert before <= site.written() <= before + 1
    before = site.written()
    reply = site.gateway.scgi("POST", "/messages", body)
    assert reply.status in (200, 207, 400), (body, reply)
    if reply.headers["content-type"].startswith("application/json"):
        accepted = reply.json()["accepted"]
        assert accepted == sum("id" in result for result in reply.json()["results"])
        assert before <= site.written() <= before + accepted
    else:
        one_line(reply)
        assert (reply.status, site.written()) == (400, before)


def test_everything_that_was_taken_so_far_is_sound(site: Site) -> None:
    for document in site.archived():
        assert re.fullmatch(r"\d{10}-[0-9a-f]{24}", document["_id"])
        assert re.fullmatch(r"[A-Z0-9/_-]{1,64}", document["callsign"])
        assert document["type"] in ("RECEIVED_TELEM", "LISTENER_INFO", "LISTENER_TELEM")
        assert 0 <= document["time_created"] <= 9_999_999_999
        text = json.dumps(document, allow_nan=False)
        assert all(math.isfinite(n) for n in document["data"].values() if type(n) is float)
        text.encode("utf-8")
    assert site.gateway.status()["dead_letters"] == 0
