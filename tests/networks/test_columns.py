"""Readings that are read together: what is read is what would be read one by one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from habitat_like.networks import airrohr, forms, osmand, values
from habitat_like.networks.airrohr import AirRohr
from habitat_like.networks.columns import USUAL, Columns
from habitat_like.networks.observation import BadRequest
from habitat_like.networks.osmand import OsmAnd
from habitat_like.networks.weather import Weather
from tests.networks.decode import Client

NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers().map(str)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
)
TEXTS = NUMBERS | st.text(max_size=60) | st.sampled_from(("-9999", "-9999.0", "nan", "", "088"))
TEXTS |= st.sampled_from((" 5", "1,2", "5]", "[5", "true", "1e400", "+3", ".5", "5.", "1_0", "²"))
FIELDS = st.dictionaries(st.text("abcXYZ_1", min_size=1, max_size=6), TEXTS, max_size=12)


def one_by_one(fields: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    found = {name: values.scalar(text) for name, text in sorted(fields.items())}
    missing = [name for name, value in found.items() if value is None]
    return {name: value for name, value in found.items() if value is not None}, missing


def warm(columns: Columns, fields: dict[str, str]) -> None:
    """Have the names come often enough."""
    for _ in range(USUAL):
        columns.read(fields)


@given(FIELDS, FIELDS)
@example({"a": "1,2", "b": ""}, {"a": "1", "b": "2"})
@example({"a": "1" * 5000}, {"a": "0." + "1" * 50})
@example({"a": "1", "b": "1", "c": "1"}, {"a": "INF", "b": "-inf", "c": "NaN"})
def test_readings_are_those_that_are_read_one_by_one(
    first: dict[str, str], second: dict[str, str]
) -> None:
    columns = Columns(first)
    second = {name: second.get(name, text) for name, text in first.items()}
    warm(columns, first)
    for fields in (first, second, first, second):
        quoted = msgspec.json.encode(fields)
        for found in (columns.read_json(quoted), columns.read(fields)):
            if found is not None:
                # Also 1 and 1.0 are not the same.
                encode = msgspec.json.Encoder(order="deterministic").encode
                assert encode([found.columns, found.missing]) == encode(one_by_one(fields))


@given(FIELDS)
def test_the_same_is_read_together_once_it_is_usual(fields: dict[str, str]) -> None:
    columns = Columns(fields)
    warm(columns, fields)
    assert columns.read(fields) is not None
    assert columns.read_json(msgspec.json.encode(fields)) is not None


def test_a_reading_that_is_no_number_any_more_is_read_by_itself_once_it_is_usual() -> None:
    columns = Columns(["a", "b"])
    warm(columns, {"a": "1", "b": "2"})
    odd = {"a": "1", "b": "--"}
    assert columns.read_json(msgspec.json.encode(odd)) is None
    warm(columns, odd)
    found = columns.read(odd)
    assert found is not None
    assert (msgspec.json.encode(found.columns), found.missing) == (b'{"a":1}', ["b"])


def test_what_is_no_reading_is_told_apart() -> None:
    columns = Columns(["a"], apart=["ID", "dateutc"])
    fields = {"ID": "7", "a": "1", "dateutc": "now"}
    warm(columns, fields)
    for found in (columns.read(fields), columns.read_json(msgspec.json.encode(fields))):
        assert found is not None
        assert (msgspec.json.encode(found.columns), found.apart) == (b'{"a":1}', ["7", "now"])


def test_other_names_are_left_to_others() -> None:
    columns = Columns(["a", "b"])
    warm(columns, {"a": "1", "b": "2"})
    for text in (b'{"a":"1"}', b'{"a":"1","b":"2","c":"3"}', b'{"a":"1","c":"2"}', b"{"):
        assert columns.read_json(text) is None


@pytest.mark.parametrize("name", ["password", "x" * 129, 'a"', "é", "\n"])
def test_names_that_need_a_look_are_left_to_those_who_look(name: str) -> None:
    columns = Columns(["tempf", name])
    warm(columns, {"tempf": "1", name: "2"})
    assert columns.read({"tempf": "1", name: "2"}) is None


@given(st.binary(max_size=300) | st.text('ab=&%+"\\20Aé', max_size=300).map(str.encode))
@example(b"a=1&b=2" * 40)
@example(b'a=1","b":"2&c=3' + b"&d=4" * 60)
@example(b"a=1&a=%32&b%20=%3a" + b"&c=1" * 60)
@example(b"a=%2520&b=%%3A0" + b"&c=1" * 60)
def test_a_long_form_is_read_like_a_short_one(text: bytes) -> None:
    long = text + b"&" + b"&".join(b"zz%d=1" % number for number in range(50))
    found = forms.parse(long)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms, "_quickly", lambda _: None)
        assert found == forms.parse(long)


@given(st.binary(max_size=300) | st.text('ab=&%+"\\20Aé', max_size=300).map(str.encode))
@example(b"a=1&b=2")
@example(b'a=1","b":"2')
@example(b"a=1&a=2&b=3")
@example(b"a=1&b")
@example(b"a=\x01\x7f&b=\xc3\xa9")
def test_a_form_as_json_has_the_same_fields(text: bytes) -> None:
    quoted = forms.as_json(text)
    if quoted is None:
        return
    try:
        found = msgspec.json.decode(quoted, type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    found.pop("", None)
    assert found == forms.parse(text)


# -- the networks that read so


def outcome(client: Client, *request: Any, **headers: str) -> list[dict[str, Any]]:
    return client.documents(client.request(*request, **headers))


@given(st.lists(st.tuples(st.sampled_from(("SDS_P1", "GPS_lat", "x", "")), TEXTS), max_size=5))
def test_an_air_sensor_is_read_alike_either_way(pairs: list[tuple[str, str]]) -> None:
    items = [{"value_type": name, "value": text} for name, text in pairs]
    body = {"software_version": "NRZ", "sensordatavalues": items}
    request = ("POST", "/airrohr", json.dumps(body))
    client = Client(AirRohr)
    found = outcome(client, *request, x_sensor="esp8266-1")
    for _ in range(USUAL):
        assert found == outcome(client, *request, x_sensor="esp8266-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(airrohr, "_observe_usual", lambda *_: None)
        assert found == outcome(client, *request, x_sensor="esp8266-1")


@given(
    st.dictionaries(
        st.sampled_from(("lat", "lon", "timestamp", "altitude", "speed", "batt", "location")),
        NUMBERS | st.floats(-90, 90).map(str) | st.sampled_from(("", "NaN", "5,1", "x")),
    )
)
@example({"lat": "51.9", "lon": "5", "timestamp": "1795169730123", "altitude": "1e9"})
@example({"lat": "51.9", "lon": "5", "timestamp": "1795169730", "location": "1,2"})
@example({"lat": "51.9", "lon": "5", "timestamp": "1795169730", "altitude": "high"})
def test_a_tracker_is_read_alike_either_way(fields: dict[str, str]) -> None:
    query = "&".join(f"{name}={text}" for name, text in {"id": "7", **fields}.items())
    client = Client(OsmAnd)
    found = outcome(client, "GET", f"/osmand?{query}")
    assert found == outcome(client, "GET", f"/osmand?{query}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(osmand, "_usual", lambda *_: None)
        assert found == outcome(client, "GET", f"/osmand?{query}")


WEATHER_NAMES = ("ID", "PASSWORD", "dateutc", "tempf", "humidity", "softwaretype", "mt", "sensor")
DATES = (
    "2026-11-20 10:15:00",
    "2026-11-20+10%3A15%3A00",
    "now",
    "1795169700",
    "1999-01-01 00:00:00",
)


@given(
    st.dictionaries(
        st.sampled_from(WEATHER_NAMES),
        NUMBERS
        | st.sampled_from((*DATES, "", "--", "088", "5%25", "weewx-5.3.1", " 7 ", '"', "é")),
    ),
    st.booleans(),
)
@example({"ID": "a", "dateutc": DATES[0], "tempf": "41.5", "humidity": "088"}, False)
@example({"ID": "a", "dateutc": DATES[0], "tempf": "41.5", "humidity": "--"}, True)
@example({"ID": "a", "dateutc": "now", "tempf": "41.5", "softwaretype": "x"}, True)
@example({"ID": "a", "dateutc": DATES[4], "tempf": "1"}, False)
@example({"ID": " ", "dateutc": DATES[0], "tempf": "1"}, False)
@example({"ID": "a", "dateutc": DATES[0], "mt": "5N1", "sensor": "00012"}, True)
def test_a_weather_console_is_read_alike_either_way(fields: dict[str, str], is_form: bool) -> None:
    text = "&".join(f"{name}={value}" for name, value in fields.items())
    request = ("POST", "/data/report/", text) if is_form else ("GET", f"/data/report/?{text}")
    client = Client(Weather)

    def look() -> list[Any]:
        try:
            return outcome(client, *request)
        except BadRequest as error:
            return [error.text]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Columns, "read", lambda *_: None)
        patch.setattr(Columns, "read_json", lambda *_: None)
        found = look()
    for _ in range(USUAL + 2):
        assert found == look()


def test_consoles_at_one_address_may_send_other_fields_in_turn() -> None:
    client = Client(Weather)
    texts = ("ID=a&dateutc=now&tempf=1", "ID=b&dateutc=now&tempf=2&humidity=3")
    expected = [[{"tempf": 1}], [{"tempf": 2, "humidity": 3}]]
    for _ in range(2 * USUAL):
        found = [outcome(client, "POST", "/data/report/", text) for text in texts]
        assert [[one["data"]["values"] for one in documents] for documents in found] == expected
