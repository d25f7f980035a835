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
from habitat_like.networks.columns import Columns
from habitat_like.networks.osmand import OsmAnd
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


@given(FIELDS, FIELDS)
@example({"a": "1,2", "b": ""}, {"a": "1", "b": "2"})
@example({"a": "1" * 5000}, {"a": "0." + "1" * 50})
def test_readings_are_those_that_are_read_one_by_one(
    first: dict[str, str], second: dict[str, str]
) -> None:
    columns = Columns(first)
    second = {name: second.get(name, text) for name, text in first.items()}
    columns.read(first)
    for fields in (first, second, first, second):
        found = columns.read(fields)
        if found is not None:
            expected = one_by_one(fields)
            # Also 1 and 1.0 are not the same.
            encode = msgspec.json.Encoder(order="sorted").encode
            assert encode(found) == encode(expected)


@given(FIELDS)
def test_the_same_is_read_together_from_the_second_time_on(fields: dict[str, str]) -> None:
    columns = Columns(fields)
    columns.read(fields)
    if sum(map(len, fields.values())) < 1000:
        assert columns.read(fields) is not None


@pytest.mark.parametrize("name", ["password", "x" * 129])
def test_names_that_need_a_look_are_left_to_those_who_look(name: str) -> None:
    assert Columns(["tempf", name]).read({"tempf": "1", name: "2"}) is None


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
