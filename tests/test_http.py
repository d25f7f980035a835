"""The gateway as a station sees it, through a real nginx: each row of the HTTP table."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from habitat_like.archive.base import Query
from habitat_like.archive.sqlite import SqliteArchive
from tests.conftest import HabitatFactory, NginxFactory
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.nginx import Nginx
from tests.support.reply import Reply
from tests.support.wait import eventually

CREATED = 1295103598
TELEM: dict[str, Any] = {
    "callsign": "M0ZDR",
    "type": "RECEIVED_TELEM",
    "time_created": CREATED,
    "time_uploaded": CREATED + 109,
    "data": {"string": "JCRoYWJpdGF0LDEyMyw=", "frequency": 434075199.23},
}
INFO: dict[str, Any] = {
    **TELEM,
    "type": "LISTENER_INFO",
    "data": {"name": "Daniel", "location": "Cambridge", "radio": "FT-817", "antenna": "Yagi"},
}
WHERE: dict[str, Any] = {
    **TELEM,
    "type": "LISTENER_TELEM",
    "data": {
        "latitude": 52.1,
        "longitude": -0.1,
        "altitude": 120,
        "time": {"hour": 12, "minute": 4, "second": 30},
    },
}
#: Limits of the site that most tests share.
MAX_BODY = 100_000
MAX_HEADERS = 4096

_callsigns = count(1)


class Site:
    """A gateway with the embedded archive, behind nginx; many tests share it."""

    def __init__(self) -> None:
        limits = {"max_body": MAX_BODY, "max_headers": MAX_HEADERS}
        self.gateway = Habitat({"gateway": limits})
        self.front = Nginx(self.gateway)

    def start(self) -> None:
        self.gateway.start()
        self.front.start()

    def close(self) -> None:
        self.front.close()
        self.gateway.close()

    def post(
        self, body: Any, path: str = "/message", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Post bytes as they are and all else as JSON."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.front.request("POST", path, payload, headers)

    def accepted(self, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Post a message with a callsign of its own; what was archived of it."""
        callsign = f"T{next(_callsigns)}"
        payload = (
            body.replace(b"M0ZDR", callsign.encode())
            if isinstance(body, bytes)
            else {**body, "callsign": callsign}
        )
        reply = self.post(payload, headers=headers)
        assert (reply.status, reply.body) == (200, b"OK"), reply
        (document,) = self.archived(callsign)
        return document

    def archived(self, callsign: str | None = None) -> list[dict[str, Any]]:
        """What is archived (of one callsign), once the journal is empty."""
        eventually(lambda: self.gateway.status()["backlog"] == 0, "all is archived")
        archive = SqliteArchive(str(self.gateway.directory / "archive.sqlite"))
        try:
            return list(archive.query(Query(callsign=callsign)))
        finally:
            archive.close()

    def written(self) -> int:
        """How many messages were ever written."""
        number: int = self.gateway.status()["journal"]["last_seq"]
        return number

    def refused(self, body: Any, status: int = 400) -> str:
        """Post what must be refused and must change nothing; the one line of the answer."""
        before = self.written()
        reply = self.post(body)
        assert reply.status == status, reply
        assert self.written() == before, "a refused request was written"
        return line(reply)


def line(reply: Reply) -> str:
    """The one line of a text/plain answer."""
    assert reply.headers["content-type"].startswith("text/plain"), reply
    assert re.fullmatch(r"[^\r\n]+\n", reply.text), f"not one line: {reply.text!r}"
    return reply.text.rstrip("\n")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def still_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sent, the gateway that it was sent to has survived it."""
    yield
    if "site" not in request.fixturenames:
        return
    gateway = request.getfixturevalue("site").gateway
    try:
        lives = gateway.scgi("GET", "/readyz").status == 200
    except OSError:
        lives = False
    if not lives:
        gateway.restart(kill=True)  # for the tests that come
    assert lives, f"the gateway died:\n{gateway.log[-4000:]}"


# -- GET /


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_front_page_says_what_this_is(site: Site, method: str) -> None:
    reply = site.front.request(method, "/")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    if method == "HEAD":
        assert reply.body == b""
        return
    assert "habitat_like" in reply.text
    assert "/message\n" in reply.text
    assert "/messages\n" in reply.text
    assert "docs/" in reply.text


# -- POST /message: what is taken


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
    site = Site.__new__(Site)
    site.gateway = gateway
    (document,) = site.archived()
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


# -- POST /message: what is refused


@pytest.mark.parametrize("field", list(TELEM))
def test_a_missing_field_is_named(site: Site, field: str) -> None:
    tree = {key: value for key, value in TELEM.items() if key != field}
    assert site.refused(tree).startswith(f"{field}: ")


NO_TIMES: list[Any] = [
    *(None, True, [], {}, -1, -0.5, 10**10, 10**400, 1e300),
    *("", " 1", "1 ", "-1", "+1", "1.5", "1e3", "0x1", "1_0", "\u0661", "9" * 5000),
]
WRONG: dict[str, list[Any]] = {
    "callsign": [
        *(None, 1, True, [], {}, ""),
        *("x" * 65, "M0 ZDR", "M0ZDR\n", "M\u00d6", "a.b"),
    ],
    "type": [None, 1, [], "", "received_telem", "TELEM ", "X" * 1000],
    "time_created": NO_TIMES,
    "time_uploaded": NO_TIMES,
    "data": [None, 1, "x", True, [], [{}]],
}
WRONG_FIELDS = [(field, value) for field, values in WRONG.items() for value in values]


@pytest.mark.parametrize(
    ("field", "value"), WRONG_FIELDS, ids=lambda value: ascii(value)[:24].strip("'")
)
def test_a_wrong_field_is_named(site: Site, field: str, value: Any) -> None:
    assert site.refused({**TELEM, field: value}).startswith(f"{field}: ")


def test_telem_is_forbidden_for_stations(site: Site) -> None:
    for tree in (TELEM, INFO, WHERE):
        assert site.refused({**tree, "type": "TELEM"}).startswith("type: TELEM ")


def wrong_data() -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """A message, the field of its data that is wrong, and what in the data is."""
    no_base64: list[Any] = [None, 1, "a", "ab", "abc", "ab=", "a===", "YQ==YQ==", "Y Q==", "YQ==\n"]
    no_base64 += ["Y_-=", "\u00e9"]
    values: list[tuple[dict[str, Any], str, list[Any]]] = [
        (TELEM, "string", no_base64),
        (TELEM, "frequency", [-1, -1e-9, None, "1", True]),
        (TELEM, "more", [[], {}, [1], {"a": 1}]),
        *((INFO, key, [None, 1, True, [], {}]) for key in INFO["data"]),
        (WHERE, "latitude", [-90.001, 90.001, 91, "52", None, True]),
        (WHERE, "longitude", [-180.001, 180.001, "0", None, []]),
        (WHERE, "altitude", ["120", None, True, {}]),
        (WHERE, "time", [None, "12:04:30", 1, []]),
    ]
    for tree, key, wrong in values:
        for value in wrong:
            yield tree, f"data.{key}", {key: value}
    for key, limit in (("hour", 24), ("minute", 60), ("second", 61)):
        for value in (-1, limit, 1.5, "1", None, True):
            yield WHERE, f"data.time.{key}", {"time": {**WHERE["data"]["time"], key: value}}


@pytest.mark.parametrize(
    ("tree", "field", "changes"), list(wrong_data()), ids=lambda value: ascii(value)[:24].strip("'")
)
def test_wrong_data_is_named(
    site: Site, tree: dict[str, Any], field: str, changes: dict[str, Any]
) -> None:
    assert site.refused({**tree, "data": {**tree["data"], **changes}}).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        (TELEM, ["string"]),
        *((WHERE, [key]) for key in WHERE["data"]),
        *((WHERE, ["time", key]) for key in WHERE["data"]["time"]),
    ],
    ids=str,
)
def test_missing_data_is_named(site: Site, tree: dict[str, Any], path: list[str]) -> None:
    bad = json.loads(json.dumps(tree))
    place = bad["data"]
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    assert site.refused(bad).startswith(f"data.{'.'.join(path)}: ")


GOOD = json.dumps(TELEM).encode()
LONE = rb"\ud800"
NOT_JSON = {
    "nothing": b"",
    "spaces": b"  \n",
    "null": b"null",
    "a number": b"1",
    "a string": b'"M0ZDR"',
    "an array": b"[%b]" % GOOD,
    "an empty object": b"{}",
    "a form": b"callsign=M0ZDR&type=RECEIVED_TELEM",
    "two objects": GOOD + GOOD,
    "more behind it": GOOD + b"x",
    "a comma too much": GOOD[:-1] + b",}",
    "cut off": GOOD[:-1],
    "single quotes": GOOD.replace(b'"', b"'"),
    "a comment": b"/**/" + GOOD,
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "utf-16": GOOD.decode().encode("utf-16"),
    "utf-32": GOOD.decode().encode("utf-32"),
    "a raw newline in a string": GOOD.replace(b"JCRo", b"JC\nRo"),
    "a NUL": GOOD + b"\0",
    "latin-1 in data": GOOD.replace(b'"frequency"', b'"note": "\xe9", "frequency"'),
    "latin-1 in a key": GOOD.replace(b'"frequency"', b'"\xe9": 1, "frequency"'),
    "latin-1 in an ignored key": GOOD[:-1] + b', "more": "\xe9"}',
    "a surrogate in utf-8 in an ignored key": GOOD[:-1] + b', "more": "\xed\xa0\x80"}',
    "overlong utf-8": GOOD.replace(b'"frequency"', b'"note": "\xc0\xaf", "frequency"'),
    "a surrogate in utf-8": GOOD.replace(b'"frequency"', b'"note": "\xed\xa0\x80", "frequency"'),
    "NaN": GOOD.replace(b"434075199.23", b"NaN"),
    "Infinity": GOOD.replace(b"434075199.23", b"Infinity"),
    "-Infinity": GOOD.replace(b"434075199.23", b"-Infinity"),
    "1e999": GOOD.replace(b"434075199.23", b"1e999"),
    "-1e999": GOOD.replace(b"434075199.23", b"-1e999"),
    "1e999 as a time": GOOD.replace(b"1295103598", b"1e999"),
    "NaN as a time": GOOD.replace(b"1295103598", b"NaN"),
    "NaN in an ignored key": GOOD[:-1] + b', "more": NaN}',
    "an integer of 400 digits": GOOD.replace(
        b'"frequency"', b'"n": %b, "frequency"' % (b"9" * 400)
    ),
    "an integer of 5000 digits": GOOD.replace(
        b'"frequency"', b'"n": %b, "frequency"' % (b"9" * 5000)
    ),
    "a number that begins with zero": GOOD.replace(b"434075199.23", b"0434075199"),
    "a plus": GOOD.replace(b"434075199.23", b"+1"),
    "a lone surrogate": GOOD.replace(b"JCRo", LONE),
    "a lone surrogate in data": GOOD.replace(b'"frequency"', b'"n": "%b", "frequency"' % LONE),
    "a lone surrogate in a key": GOOD.replace(b'"frequency"', b'"%b": 1, "frequency"' % LONE),
    "a lone low surrogate": GOOD.replace(b'"frequency"', rb'"n": "\udc00", "frequency"'),
    "two high surrogates": GOOD.replace(b'"frequency"', rb'"n": "\ud800\ud800", "frequency"'),
    "a lone surrogate in an ignored key": GOOD[:-1] + b', "more": "%b"}' % LONE,
    "a lone surrogate as an ignored key": GOOD[:-1] + b', "%b": 1}' % LONE,
    "a lone surrogate in a second data": GOOD.replace(b'"string"', b'"a": [], "string"')[:-1]
    + b', "data": {"%b": []}}' % LONE,
    "a lone surrogate twice as a key": GOOD[:-1] + b', "%b": 1, "%b": 1}' % (LONE, LONE),
    "a line feed in a wrong key": GOOD.replace(b'"frequency"', rb'"a\nb": [], "frequency"'),
    "a line separator in a wrong key": GOOD.replace(b'"frequency"', rb'"a\u2028b\r": {}, "f"'),
    "nested arrays": b"[" * 90_000,
    "nested objects": b'{"a":' * 15_000,
    "nested in data": GOOD.replace(b'"JCRo', b"[" * 40_000 + b'"'),
    "nested and closed in data": GOOD.replace(b"434075199.23", b"[" * 9_000 + b"]" * 9_000),
    "nested in an ignored key": GOOD[:-1] + b', "more": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "nested as a type": GOOD.replace(b'"RECEIVED_TELEM"', b"[" * 40_000 + b"]" * 40_000),
    "a key twice": GOOD.replace(b"{", b'{"callsign": "OTHER", ', 1),
    "a key twice at the end": GOOD[:-1] + b', "callsign": "M0ZDR"}',
    "a type twice": GOOD.replace(b"{", b'{"type": "LISTENER_INFO", ', 1),
    "a forbidden type first": GOOD.replace(b"{", b'{"type": "TELEM", ', 1),
    "a forbidden type last": GOOD[:-1] + b', "type": "TELEM"}',
    "data twice": GOOD[:-1] + b', "data": {"string": ""}}',
    "a key twice in data": GOOD.replace(b'"frequency"', b'"frequency": 1, "frequency"'),
    "an unknown key twice in data": GOOD.replace(b'"frequency"', b'"n": 1, "n": 1, "frequency"'),
    "an ignored key twice": GOOD[:-1] + b', "more": 1, "more": 1}',
    "a key twice below an ignored key": GOOD[:-1] + b', "more": [{"a": 1, "a": 2}]}',
    "an escaped key twice": GOOD[:-1] + rb', "\u0063allsign": "OTHER"}',
    "an escaped key twice in data": GOOD.replace(
        b'"frequency"', rb'"frequenc\u0079": 1, "frequency"'
    ),
    "an escaped unknown key twice": GOOD.replace(
        b'"frequency"', rb'"n": 1, "\u006e": 1, "frequency"'
    ),
    "a dropped key twice": json.dumps(INFO).encode().replace(b'"name"', b'"m": 1, "m": 2, "name"'),
    "a name twice": json.dumps(INFO).encode().replace(b'"name"', b'"name": "x", "name"'),
    "an hour twice": json.dumps(WHERE).encode().replace(b'"hour"', b'"hour": 1, "hour"'),
    "an escaped hour twice": json.dumps(WHERE)
    .encode()
    .replace(b'"hour"', rb'"h\u006fur": 1, "hour"'),
    "a dropped key twice in time": json.dumps(WHERE)
    .encode()
    .replace(b'"hour"', b'"z": 1, "z": 2, "hour"'),
    "colons that hide a second key": GOOD.replace(
        b'"frequency"', b'"n": "::::", "n": "", "frequency"'
    ),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_no_clean_json_object_is_refused(site: Site, name: str) -> None:
    assert re.match(r"[^:]+: .+", site.refused(NOT_JSON[name]))


NOT_ONE_LINE = {"nothing", "spaces", "utf-16", "utf-32", "a raw newline in a string"}
#: What is no message, and yet a good batch.
GOOD_AS_LINES = {"an array"}


@pytest.mark.parametrize("name", [name for name in NOT_JSON if name not in NOT_ONE_LINE])
def test_it_is_refused_in_a_batch_as_well(site: Site, name: str) -> None:
    before = site.written()
    bodies = [b"[%b]" % NOT_JSON[name]]
    if name not in GOOD_AS_LINES:
        bodies.append(NOT_JSON[name])
    for body in bodies:
        reply = site.post(body, "/messages")
        assert reply.status == 400, reply
        if reply.headers["content-type"].startswith("application/json"):
            assert reply.json()["accepted"] == 0
            assert all(list(result) == ["error"] for result in reply.json()["results"])
            assert all(result["error"].isprintable() for result in reply.json()["results"])
        else:
            line(reply)
    assert site.written() == before


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
@example(body=NOT_JSON["a lone surrogate in a second data"])
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_body_has_a_documented_answer_and_a_refused_one_changes_nothing(
    site: Site, body: bytes
) -> None:
    before = site.written()
    reply = site.gateway.scgi("POST", "/message", body)
    assert reply.status in (200, 400), (body, reply)
    if reply.status == 400:
        line(reply)
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
        line(reply)
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


# -- POST /messages

ONE, TWO, THREE = ({**TELEM, "callsign": f"batch{n}", "time_created": n} for n in (1, 2, 3))
BROKEN = {**TELEM, "callsign": "not good"}


def as_array(trees: list[Any]) -> bytes:
    return json.dumps(trees, indent=2).encode()


def as_lines(trees: list[Any]) -> bytes:
    return b"".join(json.dumps(tree).encode() + b"\n" for tree in trees)


def as_windows_lines(trees: list[Any]) -> bytes:
    return b"\r\n\r\n".join(json.dumps(tree).encode() for tree in trees)


FORMS = pytest.mark.parametrize("form", [as_array, as_lines, as_windows_lines])


@FORMS
def test_a_good_batch_is_200_with_the_archived_ids_in_order(site: Site, form: Any) -> None:
    reply = site.post(form([ONE, TWO, THREE, ONE]), "/messages")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    answer = reply.json()
    assert set(answer) == {"accepted", "results"}
    assert answer["accepted"] == 4
    assert all(list(result) == ["id"] for result in answer["results"])
    ids = [result["id"] for result in answer["results"]]
    assert ids[0] == ids[3]
    for number in (1, 2, 3):
        assert [one["_id"] for one in site.archived(f"BATCH{number}")] == [ids[number - 1]]


@FORMS
def test_a_batch_with_some_refused_is_207_and_the_others_are_durable(site: Site, form: Any) -> None:
    mine = [{**TELEM, "callsign": f"some-{form.__name__}", "time_created": n} for n in (1, 2)]
    reply = site.post(form([BROKEN, mine[0], {}, 7, mine[1], "x"]), "/messages")
    assert reply.status == 207
    results = reply.json()["results"]
    assert reply.json()["accepted"] == 2
    assert [list(result) for result in results] == [
        ["error"],
        ["id"],
        ["error"],
        ["error"],
        ["id"],
        ["error"],
    ]
    assert results[0]["error"].startswith("callsign: ")
    found = [one["_id"] for one in site.archived(f"SOME-{form.__name__}".upper())]
    assert sorted(found) == sorted([results[1]["id"], results[4]["id"]])


@FORMS
def test_a_batch_with_all_refused_is_400(site: Site, form: Any) -> None:
    before = site.written()
    reply = site.post(form([BROKEN, {}]), "/messages")
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["accepted"] == 0
    assert len(reply.json()["results"]) == 2
    assert site.written() == before


def test_a_batch_of_one_object_is_a_batch(site: Site) -> None:
    for tree in ({**TELEM, "callsign": "alone"},):
        for body in (json.dumps(tree).encode(), b" [ %b ] " % json.dumps(tree).encode()):
            reply = site.post(body, "/messages")
            assert (reply.status, reply.json()["accepted"]) == (200, 1)


def test_an_empty_array_is_a_batch_of_none(site: Site) -> None:
    reply = site.post(b"[]", "/messages")
    assert (reply.status, reply.json()) == (200, {"accepted": 0, "results": []})


@pytest.mark.parametrize("body", [b"", b" \r\n ", b"[", b"[1,]", b"[] []", b"]", b"[{}", b"[,]"])
def test_a_batch_that_can_not_be_read_is_400(site: Site, body: bytes) -> None:
    before = site.written()
    assert site.post(body, "/messages").status == 400
    assert site.written() == before


def test_one_line_that_is_not_json_spoils_no_other_line(site: Site) -> None:
    lines = as_lines([{**TELEM, "callsign": "lines", "time_created": n} for n in (1, 2)])
    first, second = lines.splitlines()
    reply = site.post(b"\n".join([first, b"{", b"\xff", second]), "/messages")
    assert reply.status == 207
    assert [next(iter(one)) for one in reply.json()["results"]] == ["id", "error", "error", "id"]
    assert len(site.archived("LINES")) == 2


def test_a_large_batch_is_taken_whole(site: Site) -> None:
    trees = [
        {"callsign": "large", "type": "LISTENER_INFO", "time_created": n, "time_uploaded": n}
        | {"data": {}}
        for n in range(900)
    ]
    body = as_lines(trees)
    assert 65536 < len(body) < MAX_BODY
    reply = site.post(body, "/messages")
    assert (reply.status, reply.json()["accepted"]) == (200, 900)
    ids = [result["id"] for result in reply.json()["results"]]
    assert sorted(one["_id"] for one in site.archived("LARGE")) == ids


# -- paths and methods


@pytest.mark.parametrize(
    "path", ["/nothing", "/messagex", "/Message", "/message/more", "/messages/1", "/index.html"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_an_unknown_path_is_404_and_names_the_actions(site: Site, path: str, method: str) -> None:
    reply = site.front.request(method, path, GOOD if method in ("POST", "PUT") else None)
    assert reply.status == 404
    if method != "HEAD":
        assert "/message" in line(reply)
        assert "/messages" in line(reply)


def test_only_the_whitelisted_actions_are_named(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    front = nginx(habitat({"gateway": {"actions": ["messages"]}}))
    reply = front.request("POST", "/message", GOOD)
    assert reply.status == 404
    assert line(reply).endswith("/messages")
    assert "/message\n" not in front.request("GET", "/").text
    assert front.request("POST", "/messages", GOOD).status == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/message", {"POST"}),
        ("/messages", {"POST"}),
        ("/", {"GET", "HEAD"}),
        ("/status", {"GET", "HEAD"}),
        ("/metrics", {"GET", "HEAD"}),
        ("/healthz", {"GET", "HEAD"}),
        ("/readyz", {"GET", "HEAD"}),
    ],
)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"]
)
def test_another_method_is_405_with_allow(
    site: Site, path: str, allowed: set[str], method: str
) -> None:
    before = site.written()
    body = GOOD if method in ("POST", "PUT", "PATCH") else None
    reply = site.front.request(method, path, None if method in allowed else body)
    if method in allowed:
        assert reply.status in (200, 400)
        return
    assert reply.status == 405
    assert set(reply.headers["allow"].split(", ")) == allowed
    if method != "HEAD":
        assert method in line(reply)
    assert site.written() == before


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/healthz", "/readyz"])
def test_head_is_get_without_the_body(site: Site, path: str) -> None:
    got = site.front.request("GET", path)
    head = site.front.request("HEAD", path)
    assert (got.status, head.status) == (200, 200)
    assert head.body == b""
    assert head.headers["content-type"] == got.headers["content-type"]


def test_a_query_string_does_not_matter(site: Site) -> None:
    assert site.post(TELEM, "/message?a=1&b=%00").status == 200


CONTENT_TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded", "x"]


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_any_content_type_will_do(site: Site, content_type: str) -> None:
    assert site.post(TELEM, headers={"Content-Type": content_type}).status == 200


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"PATH_INFO": "/message"}, 200),
        ({"PATH_INFO": "/message", "DOCUMENT_URI": "/nothing"}, 200),
        ({"PATH_INFO": "/message", "SCRIPT_NAME": "/message"}, 200),
        ({"PATH_INFO": "/nothing", "DOCUMENT_URI": "/message"}, 404),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/message"}, 200),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/message", "SCRIPT_NAME": None}, 200),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/hab/message", "SCRIPT_NAME": "/hab"}, 200),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/hab/message", "SCRIPT_NAME": "/hab/"}, 200),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/hab/message"}, 404),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/x/hab/message", "SCRIPT_NAME": "/hab"}, 404),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/hab/hab/message", "SCRIPT_NAME": "/hab"}, 404),
    ],
    ids=str,
)
def test_path_info_or_else_the_document_uri_names_the_action(
    site: Site, params: dict[str, str | None], status: int
) -> None:
    assert site.gateway.scgi("POST", "/ignored", GOOD, params=params).status == status


def test_no_path_at_all_is_the_front_page(site: Site) -> None:
    for params in ({"PATH_INFO": None}, {"PATH_INFO": ""}):
        assert "habitat_like" in site.gateway.scgi("GET", "/x", params=params).text


def test_nginx_with_its_stock_scgi_params(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = habitat()
    socket = f"scgi_pass unix:{gateway.socket_path};"
    block = (
        f"location / {{ include /etc/nginx/scgi_params; {socket} }}\n"
        "location /hab/ { include /etc/nginx/scgi_params;"
        f" scgi_param SCRIPT_NAME /hab; {socket} }}\n"
    )
    front = nginx(gateway, block=block)
    for path in ("/message", "/hab/message", "//message", "/x/../message", "/%6dessage?a=b"):
        reply = front.request("POST", path, GOOD)
        assert (reply.status, reply.body) == (200, b"OK"), path
    assert front.request("POST", "/hab/nothing", GOOD).status == 404
    assert front.request("GET", "/hab/").status == 200
    assert gateway.status()["messages"]["accepted"] == 5
    assert gateway.status()["journal"]["last_seq"] == 1


def test_the_operators_pages_are_closed_to_the_outside(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    front = nginx(habitat(), in_server="set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;")
    outside = {"X-Real-IP": "203.0.113.7"}
    for page in ("status", "metrics", "healthz", "readyz"):
        for path in (f"/{page}", f"//{page}", f"/{page}/", f"/%{ord(page[0]):x}{page[1:]}"):
            for method in ("GET", "HEAD", "POST"):
                reply = front.request(method, path, headers=outside)
                assert reply.status == 403, (method, path)
        assert front.request("GET", f"/{page}").status == 200
    assert front.request("GET", "/", headers=outside).status == 200
    assert front.request("POST", "/message", GOOD, outside).status == 200


# -- the operator's pages


def test_status_is_json_with_what_an_operator_needs(site: Site) -> None:
    reply = site.front.request("GET", "/status")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    status = reply.json()
    for key in ("version", "instance", "uptime", "requests", "backlog", "archive", "threads"):
        assert key in status, key
    assert status["state"] == "ready"
    assert status["archive"]["state"] == "ok"
    before = status["requests"]["message"]["200"]
    assert site.post(TELEM).status == 200
    assert site.front.request("GET", "/status").json()["requests"]["message"]["200"] == before + 1


def test_metrics_are_prometheus_text(site: Site) -> None:
    site.post(TELEM)
    site.post({})
    reply = site.front.request("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+|# .+')
    for text in reply.text.splitlines():
        assert sample.fullmatch(text), text
    assert re.search(r'habitat_requests_total\{action="message",status="400"\} [1-9]', reply.text)
    assert re.search(r"\nhabitat_journal_commit_seconds_count [1-9]", reply.text)


def test_the_health_pages(site: Site) -> None:
    for path in ("/healthz", "/readyz"):
        assert site.front.request("GET", path).status == 200


# -- limits


def test_a_body_over_the_limit_is_413(site: Site) -> None:
    before = site.written()
    room = MAX_BODY - len(json.dumps({**TELEM, "more": ""}))
    for padding, status in ((room, 200), (room + 1, 413), (room + 60_000, 413)):
        reply = site.post({**TELEM, "callsign": "padded", "more": "x" * (padding - 1)})
        assert reply.status == status, padding
        if status == 413:
            assert str(MAX_BODY) in line(reply)
    # Beyond the margin that nginx passes on, the answer is nginx's own.
    assert site.post({**TELEM, "more": "x" * 300_000}).status == 413
    assert site.written() == before + 1


def test_the_limit_holds_for_a_compressed_body(site: Site) -> None:
    before = site.written()
    for padding, status in ((60_000, 200), (200_000, 413), (50_000_000, 413)):
        tree = {**TELEM, "callsign": "zipped", "more": "x" * padding}
        body = gzip.compress(json.dumps(tree).encode())
        assert len(body) < MAX_BODY
        reply = site.post(body, headers={"Content-Encoding": "gzip"})
        assert reply.status == status, padding
        if status == 413:
            line(reply)
    assert site.written() == before + 1


BAD_CODINGS = {
    "gzip of nothing": ("gzip", gzip.compress(b""), 400),
    "not gzip": ("gzip", GOOD, 400),
    "empty": ("gzip", b"", 400),
    "cut off": ("gzip", gzip.compress(GOOD)[:-5], 400),
    "junk behind it": ("gzip", gzip.compress(GOOD) + b"junk", 400),
    "a wrong sum": ("gzip", gzip.compress(GOOD)[:-8] + bytes(8), 400),
    "another coding": ("br", GOOD, 415),
    "two codings": ("gzip, gzip", gzip.compress(gzip.compress(GOOD)), 415),
}


@pytest.mark.parametrize("name", BAD_CODINGS)
def test_a_body_that_can_not_be_decoded_is_refused(site: Site, name: str) -> None:
    coding, body, status = BAD_CODINGS[name]
    before = site.written()
    reply = site.post(body, headers={"Content-Encoding": coding})
    assert reply.status == status
    line(reply)
    assert site.written() == before


def test_headers_over_the_limit_are_431(site: Site) -> None:
    before = site.written()
    reply = site.post(TELEM, headers={"X-Long": "x" * MAX_HEADERS})
    assert reply.status == 431
    assert str(MAX_HEADERS) in line(reply)
    assert site.written() == before
    assert site.post(TELEM, headers={"X-Long": "x" * 1000}).status == 200


def test_a_request_that_is_no_scgi_is_400_and_logged_once(habitat: HabitatFactory) -> None:
    gateway = habitat()
    requests = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"0:,",
        b"3:a\0b,",
        b"24:CONTENT_LENGTH\0x\0SCGI\x001\0,",
        b"30:SCGI\x001\0CONTENT_LENGTH\x000\0AAAA\0\0,",
        b"99999999999:",
        b"\0" * 100,
    ]
    for request in requests:
        answer = gateway.send_raw(request, end=True)
        assert answer.startswith(b"Status: 4"), (request, answer)
    entries = [json.loads(text) for text in gateway.log.splitlines() if text[:1] == "{"]
    assert len([one for one in entries if one["message"] == "malformed requests"]) == 1
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    assert gateway.status()["journal"]["last_seq"] == 1


# -- 503


def test_a_full_backlog_is_503_with_retry_after(
    habitat: HabitatFactory, nginx: NginxFactory, couch: CouchServer, database: str
) -> None:
    uri = couch.uri(database)
    couch.stop()
    gateway = habitat({"journal": {"max_backlog": 3}, "archive": {"uri": uri}})
    front = nginx(gateway)
    for number in range(3):
        assert front.request("POST", "/message", json.dumps({**TELEM, "time_created": number}))
    for path in ("/message", "/messages"):
        reply = front.request("POST", path, GOOD)
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) > 0
        assert "backlog" in line(reply)
    ready = front.request("GET", "/readyz")
    assert ready.status == 503
    assert int(ready.headers["retry-after"]) > 0
    assert "backlog" in line(ready)
    assert front.request("GET", "/healthz").status == 200
    # What is wrong in itself is not worth another try.
    assert front.request("POST", "/message", b"{}").status == 400
    couch.start()
    eventually(lambda: front.request("GET", "/readyz").status == 200, "there is room again")
    assert front.request("POST", "/message", GOOD).status == 200
    eventually(lambda: gateway.status()["archive"]["messages"] == 4, "all is archived")
    assert len(couch.all_docs(database)) == 4


def test_no_gateway_behind_nginx_is_no_200(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = habitat()
    front = nginx(gateway)
    gateway.stop()
    assert front.request("POST", "/message", GOOD).status == 502
