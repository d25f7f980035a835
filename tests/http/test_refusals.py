"""POST /message as a station sees it: what is refused, and that it changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.messages import GOOD, INFO, TELEM, WHERE
from tests.support.reply import one_line
from tests.support.site import Site


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
            one_line(reply)
    assert site.written() == before


def test_a_key_that_stands_twice_among_very_many_is_found(site: Site) -> None:
    keys = b"".join(b'"k%d":1,' % number for number in range(900))
    body = GOOD.replace(b'"frequency"', keys + b'"last": 1, "last": 2, "frequency"')
    assert "'last'" in site.refused(body)
