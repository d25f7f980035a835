"""The common rules of values, times, forms and JSON: what stations write, and whatever else."""

from __future__ import annotations

import datetime
import json
import math
import urllib.parse

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from habitat_like.message.facts import Position
from habitat_like.networks import forms, lenient, moments, values

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


# -- numbers


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("41.54", 41.54),
        ("088", 88),
        ("-7", -7),
        (" 5 ", 5),
        ("+3", 3),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("5,11", 5.11),
        ("-59 dBm", -59),
        ("-59dBm", -59),
        ("88,5 %", 88.5),
        ("12.3 V", 12.3),
        ("21.5°C", 21.5),
        (4.5, 4.5),
        (0, 0),
        (True, True),
        ("1,234.5", "1,234.5"),
        ("1,2,3", "1,2,3"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("868M", "868M"),
        ("5m", "5m"),
        ("٣", "٣"),
        (" on ", "on"),
        ("%BATT", "%BATT"),
        ("300234010000000", 300234010000000),
        (f"0.{'1' * 60}", float(f"0.{'1' * 60}")),
        (f"0.{'1' * 5000}", f"0.{'1' * 5000}"),
        ("1" * 60, "1" * 60),
    ],
)
def test_a_number_in_any_form_is_a_number(sent: object, expected: object) -> None:
    found = values.scalar(sent)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "sent",
    [
        *("nan", "NaN", "-nan", "inf", "-inf", "Infinity", "-9999", "-9999.0", "-9999,00", "--"),
        *("N/A", "1e999", "null", "-9999 hPa", "", " "),
        *(-9999, -9999.0, math.nan, math.inf, None, 10**400, [1]),
    ],
)
def test_what_stands_for_no_reading_is_none(sent: object) -> None:
    assert values.scalar(sent) is None


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda one: one != -9999))
def test_every_number_reads_back_from_its_text(one: float) -> None:
    assert values.scalar(repr(one)) == one


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans())
def test_any_value_is_a_scalar_that_json_can_carry_or_none(value: object) -> None:
    found = values.scalar(value)
    if found is not None:
        assert not isinstance(found, float) or math.isfinite(found)
        assert isinstance(found, str) or -(2.0**64) <= found <= 2.0**64 or isinstance(found, float)


@given(st.dictionaries(st.text(max_size=200), ANY_JSON, max_size=8))
def test_readings_are_flat_and_bounded_whatever_comes(pairs: dict[str, object]) -> None:
    readings = values.Readings()
    readings.add_all(pairs)
    assert len(readings.values) + len(readings.missing) <= values.MAX_VALUES
    assert not set(readings.values) & set(readings.missing)
    for key, value in readings.values.items():
        assert len(key) <= values.MAX_NAME
        assert isinstance(value, str | int | float)


def test_objects_and_lists_are_taken_apart_by_name() -> None:
    readings = values.Readings()
    readings.add("object", {"air": {"temp": "4,8", "hum": None}, "list": [1, "x"]})
    assert readings.values == {"object.air.temp": 4.8, "object.list.0": 1, "object.list.1": "x"}
    assert readings.missing == ["object.air.hum"]


def test_secrets_are_left_out_wherever_they_are() -> None:
    readings = values.Readings()
    readings.add_all({"PASSKEY": "1", "a": {"password": "2", "b": [{"token": "3", "c": 4}]}})
    assert readings.values == {"a.b.0.c": 4}
    assert readings.missing == []


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"imei":"1","JWT":"eyJ.a.b","x":1', b'{"imei":"1","JWT":...,"x":1'),
        (b'{"a":{"password" : "p\\"q", "b":2', b'{"a":{"password" : ..., "b":2'),
        (b'{"JWT":"eyJ', b'{"JWT":...'),
        (b"PASSKEY=abc&x=1", b"PASSKEY=...&x=1"),
        (b"x=1&api_key=abc", b"x=1&api_key=..."),
        (b'{"mytoken": 1', b'{"mytoken": 1'),
        (b"x" * 10000, b"x" * values.MAX_RAW),
    ],
)
def test_what_is_kept_of_an_unreadable_body_has_no_secret(body: bytes, kept: bytes) -> None:
    assert values.unread(body) == kept


@given(st.binary())
def test_any_body_is_kept_in_part(body: bytes) -> None:
    assert len(values.unread(body)) <= 2 * values.MAX_RAW


def test_too_many_and_too_deep_is_left_out_with_a_mark() -> None:
    readings = values.Readings()
    deep: object = 1
    for _ in range(values.MAX_DEPTH + 1):
        deep = [deep]
    readings.add("deep", deep)
    readings.add("many", list(range(values.MAX_VALUES + 1)))
    assert len(readings.values) == values.MAX_VALUES
    assert readings.marks == ["nested too deeply", f"more than {values.MAX_VALUES} values"]


# -- positions


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(91, 5), (51, 181), ("x", 5), (math.nan, 1)],
)
def test_no_place_is_a_mark(latitude: object, longitude: object) -> None:
    readings = values.Readings()
    assert readings.position(latitude, longitude, 5) is None
    assert readings.marks == ["position"]


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(0, 0), ("0.0", "0"), (-200, -200), (None, None)]
)
def test_no_fix_is_a_mark_only_where_a_place_is_needed(latitude: object, longitude: object) -> None:
    readings = values.Readings()
    assert readings.position(latitude, longitude, 5) is None
    assert (readings.marks, readings.missing) == ([], ["position"])
    readings = values.Readings()
    assert readings.position(latitude, longitude, 5, is_needed=True) is None
    assert readings.marks == ["position"]


def test_a_place_is_read_in_any_form() -> None:
    assert values.place("51,98", " 5.11 ", "12 m") == Position(51.98, 5.11, 12.0)
    assert values.place(0, 5.11) == Position(0.0, 5.11, None)
    assert values.place(51.98, 5.11, "-1e9") == Position(51.98, 5.11, None)


# -- bytes


@given(st.binary(max_size=40))
def test_bytes_read_back_from_hex_and_base64(data: bytes) -> None:
    assert values.unhex(data.hex()) == data
    assert values.unbase64(values.to_base64(data)) == data
    assert values.unbase64(values.to_base64(data).rstrip("=")) == data


@given(st.text(max_size=40))
def test_any_text_is_hex_and_base64_or_none(text: str) -> None:
    assert values.unhex(text) is None or len(values.unhex(text) or b"") * 2 == len(text)
    values.unbase64(text)


def test_a_digit_short_is_no_hex() -> None:
    assert values.unhex("48656c6c6") is None
    assert values.unhex("4 8") is None


# -- times

NOON = 1795169730.0  # 2026-11-20 10:15:30 UTC


@pytest.mark.parametrize(
    "sent",
    [
        "2026-11-20T10:15:30Z",
        "2026-11-20T10:15:30",
        "2026-11-20 10:15:30",
        "2026-11-20 10: 15: 30",
        "2026-11-20T11:15:30+01:00",
        "2026-11-20T11:15:30 01:00",
        "2026-11-20T05:15:30-0500",
        "2026-11-20 10:15:30 UTC",
        "2026-11-20T10:15:30.000000000+00:00",
        "26-11-20 10:15:30",
    ],
)
def test_a_time_is_read_in_each_of_its_forms(sent: str) -> None:
    assert moments.iso(sent) == NOON


@pytest.mark.parametrize(
    "sent",
    [
        *("", "now", "2026-02-30T00:00:00", "2026-11-20T24:15:30", "20.11.2026 10:15:30"),
        *("2026-11-20 1", "0000-01-01", "9" * 500, "2026-11-20T10:15:30+99:00", "٢٠٢٦-11-20"),
    ],
)
def test_what_is_no_time_is_none(sent: str) -> None:
    assert moments.iso(sent) is None


@given(st.datetimes(min_value=datetime.datetime(1, 1, 3), timezones=st.just(datetime.UTC)))
def test_every_datetime_reads_back_from_its_text(moment: datetime.datetime) -> None:
    assert moments.iso(moment.isoformat()) == pytest.approx(moment.timestamp(), abs=1e-4)


@given(st.from_regex(r"[0-9]{4}-[0-9W]{2}-[0-9-]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}", fullmatch=True))
@example("2016-12-31 23:59:60")
@example("2026-02-29 00:00:00")
@example("2026-W47-5T10:15:30")
def test_a_time_in_its_usual_form_is_read_as_one_with_a_zone_is(text: str) -> None:
    assert moments.iso(text) == moments.iso(f"{text}Z")


@given(st.text(max_size=70) | ANY_JSON)
def test_any_text_is_a_time_or_none(text: object) -> None:
    moments.moment(text)
    if isinstance(text, str):
        moments.iso(text)
        moments.http_date(text)


@pytest.mark.parametrize(
    "sent", [NOON, NOON * 1e3, NOON * 1e6, NOON * 1e9, str(int(NOON)), f"{NOON:.0f}000"]
)
def test_unix_time_is_read_in_any_unit(sent: object) -> None:
    assert moments.unix(sent) == pytest.approx(NOON)
    assert moments.moment(sent) == pytest.approx(NOON)


@pytest.mark.parametrize("sent", [-1, "x", None, 1e30, math.nan, True, "-9999"])
def test_what_is_no_unix_time_is_none(sent: object) -> None:
    assert moments.unix(sent) is None


def test_a_date_header_is_read_in_its_own_form_only() -> None:
    assert moments.http_date("Fri, 20 Nov 2026 10:15:30 GMT") == NOON
    assert moments.http_date("2026-11-20T10:15:30Z") is None
    assert moments.http_date("Fri, 40 Nov 2026 10:15:30 GMT") is None
    assert moments.http_date("") is None


# -- queries and forms


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("&a=1&&b", {"a": "1", "b": ""}),
        ("?&a=1", {"a": "1"}),
        ("a=1&a=2", {"a": "2"}),
        ("a=My+Station+v1%2B", {"a": "My Station v1+"}),
        ("a=%BATT&b=100%", {"a": "\u00baTT", "b": "100%"}),
        ("a=%ZZ&b=%", {"a": "%ZZ", "b": "%"}),
        ("a=Zo%C3%AB&b=Zo%EB", {"a": "Zoë", "b": "Zoë"}),
        ("a=Zo\xc3\xab", {"a": "Zoë"}),
        ("a=x=y", {"a": "x=y"}),
        ("=1", {}),
        ("", {}),
    ],
)
def test_a_query_is_read_with_patience(query: str, expected: dict[str, str]) -> None:
    assert forms.parse(query.encode("latin-1")) == expected


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=9))
def test_a_form_reads_back(fields: dict[str, str]) -> None:
    assert forms.parse(urllib.parse.urlencode(fields).encode()) == fields


@given(st.binary(), st.text(max_size=40))
def test_any_body_is_a_form(body: bytes, content_type: str) -> None:
    forms.multipart(body, content_type)
    forms.multipart(body, "multipart/form-data; boundary=--")
    msgspec.json.encode(forms.parse(body))


def test_fields_are_bounded() -> None:
    query = "&".join(f"f{number}=1" for number in range(5000))
    assert len(forms.parse(query.encode())) == forms.MAX_FIELDS


def test_a_multipart_form_is_read() -> None:
    body = (
        b'--x1\r\nContent-Disposition: form-data; name="callsign"\r\n\r\nN0CALL\r\n'
        b'--x1\r\nContent-Disposition: form-data; name="packet"\r\n\r\n5566\r\n--x1--\r\n'
    )
    fields = forms.multipart(body, 'multipart/form-data; boundary="x1"')
    assert fields == {"callsign": "N0CALL", "packet": "5566"}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/data/report/stationtype=X&PASSKEY=1", "stationtype=X&PASSKEY=1"),
        ("/data/report&PASSKEY=1&a=b/c", "PASSKEY=1&a=b/c"),
        ("/weatherstation/updateweatherstation.phpID=I1&a=2", "ID=I1&a=2"),
        ("/data/report/?&PASSKEY=1", "&PASSKEY=1"),
        ("/data/report/", ""),
        ("", ""),
    ],
)
def test_a_query_stuck_to_its_path_is_found(target: str, expected: str) -> None:
    assert forms.query_of(target) == expected


# -- JSON


@given(ANY_JSON)
def test_json_reads_as_itself(tree: object) -> None:
    read = lenient.parse(json.dumps(tree).encode())
    plain = msgspec.json.decode(json.dumps(_finite(tree)).encode())
    assert msgspec.json.encode(read) == msgspec.json.encode(plain)


def _finite(tree: object) -> object:
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    if isinstance(tree, list):
        return [_finite(one) for one in tree]
    if isinstance(tree, dict):
        return {key: _finite(one) for key, one in tree.items()}
    return tree


@pytest.mark.parametrize("token", ["nan", "inf", "-inf", "NaN", "-Infinity", "INF", "-nan", "ovf"])
def test_bare_tokens_for_no_number_are_none(token: str) -> None:
    body = f'{{"a": {token}, "b": "nan, {token}", "c": [{token}], "nan": 1}}'
    assert lenient.parse(body.encode()) == {
        "a": None,
        "b": f"nan, {token}",
        "c": [None],
        "nan": 1,
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "Zo\xeb"}', {"a": "Zo\u00eb"}),
        (b'{"a": "x\ty"}', {"a": "x\ty"}),
        (b'{"a": "\\ud800"}', {"a": "?"}),
        (b'{"a": 1e999}', {"a": None}),
        (b'{"a": ' + b"1" * 5000 + b"}", {"a": None}),
        (b'{"a": 1}\0', {"a": 1}),
    ],
)
def test_what_is_nearly_json_is_read(body: bytes, expected: object) -> None:
    assert lenient.parse(body) == expected


@pytest.mark.parametrize(
    "body", [b"", b"  ", b'[{"sats":,"a":1}]', b"{", b"[" * 100000, b'{"a": nano}', b"\x1f\x8b\x08"]
)
def test_what_is_no_json_is_told_in_one_line(body: bytes) -> None:
    with pytest.raises(lenient.NotJson, match=r"^body: [^\n]*$"):
        lenient.parse(body)


def test_quotes_without_an_end_cost_linear_time() -> None:
    with pytest.raises(lenient.NotJson):
        lenient.parse(b'"' + b'\\"' * 500_000)


@given(st.binary() | st.text(alphabet='{}[]",:\\ud8naif0-1e. \n').map(str.encode))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    try:
        tree = lenient.parse(body)
    except lenient.NotJson:
        return
    msgspec.json.encode(tree)
