"""Messages: what a station may send, what is refused and why, ids and documents."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.message.message import InvalidMessage, Listener, Message, from_document, type_of
from habitat_like.message.types import MessageType, Registry, load_types
from tests.support.messages import TELEM, WHERE

NOW = 1295103714
REGISTRY = Registry()


def parse(tree: Any, ip: str | None = "203.0.113.7") -> Message:
    return REGISTRY.parse(json.dumps(tree).encode(), ip, NOW)


def document(message: Message) -> dict[str, Any]:
    identifier, text = message.document(b'"a1"')
    tree: dict[str, Any] = json.loads(text)
    assert tree["_id"] == identifier
    return tree


def refusal(body: Any) -> str:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidMessage) as caught:
        REGISTRY.parse(text, None, NOW)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_document_is_as_designed() -> None:
    tree = document(parse(TELEM))
    assert tree.pop("_id").startswith("1295103598-")
    assert tree == {
        "type": "RECEIVED_TELEM",
        "callsign": "M0ZDR",
        "ip": "203.0.113.7",
        "time_created": 1295103605,
        "time_uploaded": NOW,
        "data": TELEM["data"],
        "gateway": "a1",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"time_uploaded": 1295109999},
        {"callsign": "m0zdr"},
        {"time_created": "1295103598"},
        {"time_created": 1295103598.9},
        {"note": "ignored"},
        {"data": dict(reversed(TELEM["data"].items()))},
    ],
)
def test_a_retry_has_the_same_id(changes: dict[str, Any]) -> None:
    assert parse({**TELEM, **changes}).id == parse(TELEM).id


@pytest.mark.parametrize(
    "changes",
    [
        {"callsign": "M0ZDS"},
        {"time_created": 1295103599},
        {"data": {**TELEM["data"], "string": "JCRp"}},
        {"type": "LISTENER_INFO"},
    ],
)
def test_another_message_has_another_id(changes: dict[str, Any]) -> None:
    assert parse({**TELEM, **changes}).id != parse(TELEM).id


@given(st.integers(0, 9_999_999_999), st.integers(0, 9_999_999_999))
def test_a_stations_clock_is_corrected_by_its_difference(created: int, uploaded: int) -> None:
    message = parse({**TELEM, "time_created": created, "time_uploaded": uploaded})
    corrected = created + NOW - uploaded
    assert message.time_created == min(max(corrected, 0), 9_999_999_999)
    assert message.id.startswith(f"{created:010d}-")


@pytest.mark.parametrize("key", ["callsign", "type", "time_created", "time_uploaded", "data"])
def test_every_key_is_required(key: str) -> None:
    tree = {name: value for name, value in TELEM.items() if name != key}
    assert refusal(tree) == f"{key}: required field is missing"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("callsign", ""),
        ("callsign", "A" * 65),
        ("callsign", "M0 ZDR"),
        ("callsign", "M0ZDR\n"),
        ("callsign", "Ä"),
        ("callsign", 5),
        ("type", "telem"),
        ("type", None),
        ("time_created", -1),
        ("time_created", 10_000_000_000),
        ("time_created", "12.5"),
        ("time_created", " 12"),
        ("time_created", "١٢"),
        ("time_created", True),
        ("time_created", None),
        ("time_created", []),
        ("time_uploaded", 1e300),
        ("time_uploaded", "-1"),
        ("data", None),
        ("data", []),
        ("data", "x"),
    ],
)
def test_a_wrong_field_is_named(key: str, value: Any) -> None:
    assert refusal({**TELEM, key: value}).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("field", "data"),
    [
        ("data.string", {}),
        ("data.string", {"string": 5}),
        ("data.string", {"string": "JCRo="}),
        ("data.string", {"string": "JCRo===="}),
        ("data.string", {"string": "JC Ro"}),
        ("data.string", {"string": "JCRo\n"}),
        ("data.string", {"string": "JC-_"}),
        ("data.string", {"string": "ä"}),
        ("data.frequency", {"string": "JCRo", "frequency": -1}),
        ("data.frequency", {"string": "JCRo", "frequency": "1"}),
        ("data.frequency", {"string": "JCRo", "frequency": True}),
        ("data.frequency", {"string": "JCRo", "frequency": None}),
        ("data.snr", {"string": "JCRo", "snr": [1]}),
        ("data.snr", {"string": "JCRo", "snr": {}}),
    ],
)
def test_received_telem_is_checked(field: str, data: dict[str, Any]) -> None:
    assert refusal({**TELEM, "data": data}).startswith(f"{field}: ")


def test_received_telem_keeps_scalars_that_it_does_not_know() -> None:
    data = {
        "string": "",
        "snr": -3.5,
        "rssi": -90,
        "software": "dl-fldigi ☂",
        "ok": True,
        "x": None,
    }
    assert document(parse({**TELEM, "data": data}))["data"] == data


def test_listener_info_drops_what_it_does_not_know() -> None:
    data = {"name": "Adam", "radio": "ICOM", "shoe": 43}
    tree = document(parse({**TELEM, "type": "LISTENER_INFO", "data": data}))
    assert tree["data"] == {"name": "Adam", "radio": "ICOM"}


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("data.latitude", {"latitude": 90.01}),
        ("data.latitude", {"latitude": "52"}),
        ("data.longitude", {"longitude": -180.5}),
        ("data.altitude", {"altitude": None}),
        ("data.time", {"time": 5}),
        ("data.time.hour", {"time": {"hour": 24, "minute": 0, "second": 0}}),
        ("data.time.minute", {"time": {"hour": 0, "minute": 60, "second": 0}}),
        ("data.time.second", {"time": {"hour": 0, "minute": 0, "second": 61}}),
        ("data.time.second", {"time": {"hour": 0, "minute": 0}}),
    ],
)
def test_listener_telem_is_checked(field: str, changes: dict[str, Any]) -> None:
    leap_second = {"hour": 12, "minute": 4, "second": 60}
    where = {**WHERE, "data": {**WHERE["data"], "time": leap_second}}
    assert parse(where).type == "LISTENER_TELEM"
    assert refusal({**WHERE, "data": {**WHERE["data"], **changes}}).startswith(f"{field}: ")


def test_telem_is_the_servers_own() -> None:
    assert refusal({**TELEM, "type": "TELEM"}).startswith("type: TELEM is made by")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"{",
        b"[]",
        b"5",
        b"null",
        json.dumps(TELEM).encode() + b"x",
        json.dumps(TELEM).replace("434075199.23", "NaN").encode(),
        json.dumps(TELEM).replace("434075199.23", "-Infinity").encode(),
        json.dumps(TELEM).replace("434075199.23", "1e999").encode(),
        json.dumps(TELEM).replace("JCRo", "\\ud800").encode(),
        json.dumps(TELEM).replace("JCRo", "\udcff").encode("utf-8", "surrogateescape"),
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"," + json.dumps(TELEM).encode()[1:],
        b"[" * 500_000,
        b'{"a":' * 200_000,
    ],
)
def test_what_is_no_clean_json_is_refused(body: bytes) -> None:
    refusal(body)


@pytest.mark.parametrize(
    ("place", "twice"),
    [
        ('"callsign"', '"callsign": "OTHER", "callsign"'),
        ('"callsign"', '"\\u0063allsign": "OTHER", "callsign"'),
        ('"string"', '"string": "JCRo", "string"'),
        ('"string"', '"snr": 1, "snr": ":", "string"'),
        ('"string"', '"snr": 1, "snr": "\\u003a", "string"'),
        ('"data"', '"ignored": {"a": 1, "a": 2}, "data"'),
        ('"data"', '"note": 1, "note": 2, "data"'),
    ],
)
def test_a_key_that_stands_twice_is_refused(place: str, twice: str) -> None:
    assert "appears twice" in refusal(json.dumps(TELEM).replace(place, twice).encode())


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(st.text(), scalars, max_size=6))
def test_data_comes_out_as_it_went_in(extra: dict[str, Any]) -> None:
    data = {**extra, "string": "JCRo", "frequency": 1.5}
    body = json.dumps({**TELEM, "data": data}).encode()
    try:
        message = REGISTRY.parse(body, None, NOW)
    except InvalidMessage:
        # Only what JSON in UTF-8 can't carry is refused.
        encodable = True
        try:
            json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, UnicodeEncodeError):
            encodable = False
        assert not encodable
    else:
        assert document(message)["data"] == data


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_a_message_or_a_refusal(tree: Any) -> None:
    for candidate in (tree, {**TELEM, "data": tree}, {**TELEM, "callsign": tree}):
        try:
            parse(candidate)
        except InvalidMessage as error:
            assert ": " in str(error)  # noqa: PT017 (either outcome is right)


def test_an_address_that_is_none_is_left_out() -> None:
    assert document(parse(TELEM, None))["ip"] is None
    assert document(parse(TELEM, 'x","ip":"y'))["ip"] is None
    assert document(parse(TELEM, "2001:db8::1"))["ip"] == "2001:db8::1"


def test_a_document_reads_back_as_the_message() -> None:
    message = parse(TELEM)
    _, text = message.document(b'"a1"')
    again = from_document(text)
    assert again.document(b'"a1"') == message.document(b'"a1"')
    assert type_of(text) == "RECEIVED_TELEM"


class Weather(msgspec.Struct):
    celsius: float
    note: str | None = None

    @staticmethod
    def check(data: Weather) -> None:
        if data.celsius < -273.15:
            raise InvalidMessage("data.celsius: colder than can be")


class Flagged(msgspec.Struct):
    check: int


def test_a_field_named_check_checks_nothing() -> None:
    registry = Registry(load_types({"FLAGGED": f"{__name__}.Flagged"}))
    tree = {**TELEM, "type": "FLAGGED", "data": {"check": 1}}
    assert document(registry.parse(json.dumps(tree).encode(), None, NOW))["data"] == {"check": 1}


def test_an_operators_own_type() -> None:
    registry = Registry(load_types({"WEATHER": f"{__name__}.Weather"}))
    tree = {**TELEM, "type": "WEATHER", "data": {"celsius": 21.5}}
    message = registry.parse(json.dumps(tree).encode(), None, NOW)
    assert document(message)["data"] == {"celsius": 21.5, "note": None}
    tree["data"] = {"celsius": -300}
    with pytest.raises(InvalidMessage, match=r"data\.celsius: colder"):
        registry.parse(json.dumps(tree).encode(), None, NOW)
    twice = json.dumps({**tree, "data": {"celsius": 1}}).replace(
        '{"celsius"', '{"celsius":2,"celsius"'
    )
    with pytest.raises(InvalidMessage, match="appears twice"):
        registry.parse(twice.encode(), None, NOW)


@pytest.mark.parametrize(
    ("name", "path", "says"),
    [
        ("WEATHER", "nowhere.Weather", "No module named"),
        ("WEATHER", f"{__name__}.Nothing", "has no Nothing"),
        ("WEATHER", f"{__name__}.NOW", "not a msgspec Struct"),
        ("WEATHER", "Weather", "not a dotted path"),
    ],
)
def test_a_type_that_leads_nowhere_is_told(name: str, path: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_types({name: path})


@pytest.mark.parametrize("name", ["weather", "TELEM", "RECEIVED_TELEM", "A-B", ""])
def test_a_type_can_not_take_any_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"already exists|not a type name"):
        Registry([MessageType(name, Weather)])


def test_a_sinks_message_keeps_its_times() -> None:
    message = Message(Listener("m0zdr"), "TELEM", 100, 200, {"altitude": math.pi})
    tree = document(message)
    assert (tree["time_created"], tree["time_uploaded"]) == (100, 200)
    assert tree["callsign"] == "M0ZDR"
    with pytest.raises(ValueError, match="not a type name"):
        Message(Listener("M0ZDR"), 'TELEM","x":"', 1, 2, {})


# times that can't be right


@pytest.mark.parametrize(
    ("created", "uploaded", "day"),
    [
        (NOW + 86_401, NOW, "2011-01-16"),
        (2_000_000_000, 1_295_103_707, "2033-05-18"),
        (5_000_000_000, 4_368_845_000, "2031-01-15"),
        (9_999_999_999, 0, "2327-12-06"),
    ],
)
def test_a_message_of_what_is_to_come_is_suspicious(created: int, uploaded: int, day: str) -> None:
    tree = document(parse({**TELEM, "time_created": created, "time_uploaded": uploaded}))
    assert tree["suspicious"] == f"dated {day}, more than a day after it came in"
    assert tree["time_created"] == min(created + NOW - uploaded, 9_999_999_999)


@pytest.mark.parametrize("ahead", [-100_000_000, -1, 0, 86_400])
@pytest.mark.parametrize("clock", [100_000_000, 3_000_000_000, 9_000_000_000])
def test_a_stations_own_clock_makes_nothing_suspicious(clock: int, ahead: int) -> None:
    message = parse({**TELEM, "time_created": clock + ahead, "time_uploaded": clock})
    assert "suspicious" not in document(message)


def test_while_the_gateways_clock_is_not_set_the_stations_times_stay_and_are_marked() -> None:
    body = json.dumps(TELEM).encode()
    message = REGISTRY.parse(body, None, 100, is_set=False)
    times = message.time_created, message.time_uploaded
    assert times == (TELEM["time_created"], TELEM["time_uploaded"])
    why = "the gateway's clock was wrong (1970-01-01): the times are the station's own"
    assert message.suspicious == why
    assert message.id == parse(TELEM).id


@pytest.mark.parametrize("text", [r"\ud800", r"\udc00", r"\ud800\ud800", r"\udbffx", r"a\uDfff"])
def test_a_lone_surrogate_is_told_as_one(text: str) -> None:
    body = json.dumps({**TELEM, "more": "?"}).replace("?", text).encode()
    assert refusal(body) == "body: not valid JSON: a lone surrogate"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_another_encoding_is_told_as_one(encoding: str) -> None:
    body = json.dumps(TELEM).encode(encoding)
    assert refusal(body) == "body: not valid JSON: not UTF-8 text"
