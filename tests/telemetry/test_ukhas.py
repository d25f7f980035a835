"""UKHAS sentences: where they begin and end, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.message.facts import Position
from habitat_like.telemetry import ukhas
from habitat_like.telemetry.checksums import CHECKSUMS
from habitat_like.telemetry.configuration import Payloads, read
from habitat_like.telemetry.coordinates import degrees, fix_time, minutes, time_of_day
from habitat_like.telemetry.fix import Fix, ParseError
from habitat_like.telemetry.horus import NO_NAMES
from habitat_like.telemetry.packets import read as read_packet

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
NONE = Payloads([])
TEXT = "habitat,123,12:45:06,-35.1032,138.8568,4285,3.6,hab"
SENTENCE = f"$${TEXT}*5681\n"
FIX = Fix(
    "ukhas",
    "habitat",
    123,
    45906,
    Position(-35.1032, 138.8568, 4285),
    {"field_7": 3.6, "field_8": "hab"},
)


def fixes(packet: bytes | str, payloads: Payloads = NONE) -> list[Fix]:
    raw = packet.encode() if isinstance(packet, str) else packet
    return [ukhas.parse(readings, payloads) for readings in ukhas.find(raw)]


def refusal(packet: bytes | str, payloads: Payloads = NONE) -> str:
    with pytest.raises(ParseError) as caught:
        fixes(packet, payloads)
    return caught.value.kind


def sentence(text: str, checksum: str = "crc16-ccitt") -> str:
    return f"$${text}*{CHECKSUMS[checksum](text.encode())}\n"


def layout(*fields: dict[str, Any], **more: Any) -> Payloads:
    return read({"name": "p", "sentences": [{"callsign": "hab", "fields": list(fields), **more}]})


def field(name: str, sensor: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sensor": sensor, **more}


NUMBER = field("sentence_id", "base.ascii_int")
LATITUDE = field("latitude", "stdtelem.coordinate", format="dd.dddd")
LONGITUDE = field("longitude", "stdtelem.coordinate", format="dd.dddd")


@pytest.mark.parametrize("name", CHECKSUMS)
def test_checksums_are_those_of_the_field(name: str) -> None:
    for vector in VECTORS["ukhas_checksums"]:
        assert CHECKSUMS[name](vector["text"].encode()) == vector[name]


def test_degrees_and_minutes() -> None:
    for text, wanted in VECTORS["ukhas_ddmm"].items():
        assert minutes(text, 180) == wanted


@pytest.mark.parametrize("text", ["200.00", "-200.00", "", "1.2.3", "1e2", "nan", "--1"])
def test_what_is_no_number_of_degrees(text: str) -> None:
    with pytest.raises(ValueError, match="degrees"):
        degrees(text, 180)


@pytest.mark.parametrize(
    "text", ["+12.1234", " 001.3745", "-0", "90", "12.5 ", ".5", "5.", "12.123456789"]
)
def test_degrees_may_have_sign_blanks_and_zeros(text: str) -> None:
    assert degrees(text, 90) == float(text)


@pytest.mark.parametrize(
    "text",
    ["03599.1234", "-03599.1234", "60.0001", "-60.0001", "9000.1", "5", "3506", "", "ab", "1.2.3"],
)
def test_minutes_over_60_are_refused_whatever_the_sign(text: str) -> None:
    with pytest.raises(ValueError, match=r"minutes|degrees"):
        minutes(text, 90)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12:45:06", 45906), ("124506", 45906), ("12:45", 45900), ("1245", 45900), ("000000", 0)],
)
def test_times_of_day(text: str, seconds: int) -> None:
    assert time_of_day(text) == seconds


@pytest.mark.parametrize("text", ["24:00", "11:60", "1:12", "123", "12:4506", "12:45:60", ""])
def test_what_is_no_time_of_day(text: str) -> None:
    with pytest.raises(ValueError, match="time of day"):
        time_of_day(text)


@pytest.mark.parametrize(
    ("of_day", "received", "wanted"),
    [
        (45906, 1295095600, 1295095506),  # just now
        (86390, 1295136005, 1295135990),  # before midnight, received after it
        (5, 1295135999, 1295136005),  # after midnight, by a receiver whose clock is behind
        (45906, 1295095506 + 7 * 3600, 1295095506),  # uploaded seven hours later
        (86390, 100, 0),  # never before 1970
    ],
)
def test_the_date_is_that_of_the_reception_or_the_day_beside_it(
    of_day: int, received: int, wanted: int
) -> None:
    assert fix_time(of_day, received) == wanted


@pytest.mark.parametrize(
    "packet",
    [
        SENTENCE,
        SENTENCE.strip(),
        f"$$$$$${SENTENCE}",
        f"noise {SENTENCE} noise",
        SENTENCE.replace("*", "#"),
        SENTENCE.strip() + "AB",  # what follows may look like digits
        SENTENCE.strip() + " and more",
        SENTENCE.replace("\n", "\r\n"),
        f"$hi$ {SENTENCE}",
    ],
)
def test_a_sentence_is_found_whatever_is_around_it(packet: str) -> None:
    assert fixes(packet) == [FIX]


@pytest.mark.parametrize("around", ["$$habitat,122,12:45:0{}", "$$\n$$ $$$${}$$", "$$a*{}*00"])
def test_pieces_of_sentences_around_a_whole_one_are_no_problem(around: str) -> None:
    assert read_packet(around.format(SENTENCE).encode(), NONE, NO_NAMES) == ([FIX], [])


def test_several_sentences_in_one_packet() -> None:
    assert fixes(b"\xff\xfe" + SENTENCE.encode() * 3 + b"\x00\x80") == [FIX] * 3


def test_no_more_are_looked_at_than_a_packet_can_have() -> None:
    assert len(fixes(SENTENCE * 1000)) == ukhas.MOST


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (SENTENCE.replace("5681", "5682"), "checksum"),
        (sentence("habitat,123"), "number of fields"),
        (sentence("habitat,x,12:45:06,1,1,1"), "field"),
        (sentence("habitat,1,25:45:06,1,1,1"), "field"),
        (sentence("habitat,1,12:45:06,91,1,1"), "field"),
        (sentence("habitat,1,12:45:06,1,1,70000"), "field"),
        (sentence("a b,1,12:45:06,1,1,1"), "callsign"),
        ("$$b*00", "too short"),
        ("$$habitat,123,12:45:06", "no checksum"),
        ("$$habitat,123*56", "checksum"),
        ("$$habitat,123*5G81", "no checksum"),
    ],
)
def test_what_can_t_be_understood_says_why(packet: str, kind: str) -> None:
    assert refusal(packet) == kind


@pytest.mark.parametrize("text", [one["text"] for one in VECTORS["ukhas_checksums"]])
def test_sentences_of_the_field_by_the_default_layout(text: str) -> None:
    fields = text.split(",")
    if len(fields) < 6:
        assert refusal(sentence(text)) == "number of fields"
    elif "-3506.192" in text:
        assert refusal(sentence(text)) == "field", "degrees and minutes need a configuration"
    else:
        (fix,) = fixes(sentence(text))
        assert (fix.payload, fix.sequence) == (fields[0], int(fields[1]))
        assert [str(value) for value in fix.values.values()] == fields[6:]


def test_a_number_that_is_infinite_stays_text() -> None:
    """JSON has no other way to keep it."""
    (fix,) = fixes(sentence("X,1,00:00:00,1,2,3,1e999,-1e400,1e300"))
    assert fix.values == {"field_7": "1e999", "field_8": "-1e400", "field_9": 1e300}


def test_odd_bytes_cost_little() -> None:
    """What could be read in very many ways is read in a few."""
    for packet in (b"$$" * 100_000, b"$$a" + b"*AA" * 60_000, b"$$a,1*AA\n" * 20_000):
        readings = list(ukhas.find(packet))
        assert len(readings) <= ukhas.MOST
        assert all(len(one) <= ukhas.READINGS + 1 for one in readings)
        assert all(len(each.text) <= ukhas.LONGEST for one in readings for each in one)


def test_without_a_fix_there_is_no_position() -> None:
    (fix,) = fixes(sentence("habitat,1,00:00:00,0.0,0.0,0,0.0,hab"))
    assert fix.position is None


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_configuration_names_the_checksum(name: str) -> None:
    payloads = layout(NUMBER, checksum=name)
    assert fixes(sentence("hab,7", name), payloads)[0].sequence == 7
    wrong = sentence("hab,7", name).replace("*", "*0")
    assert refusal(wrong, payloads) == "checksum"


def test_a_configuration_names_the_fields() -> None:
    payloads = layout(
        NUMBER,
        field("time", "stdtelem.time"),
        field("latitude", "stdtelem.coordinate", format="ddmm.mm"),
        field("longitude", "stdtelem.coordinate", format="ddmm.mm"),
        field("altitude", "base.ascii_int"),
        field("temperature", "base.ascii_float", optional=True),
        field("kind", "base.constant", expect="x", optional=True),
    )
    head = "hab,123,124506,-3506.192,13851.408,4285"
    (fix,) = fixes(sentence(f"{head},3.6,x"), payloads)
    assert fix.position == Position(-35.1032, 138.8568, 4285)
    assert fix.values == {"temperature": 3.6, "kind": "x"}
    assert fixes(sentence(f"{head},,x"), payloads)[0].values == {"kind": "x"}
    assert fixes(sentence(head), payloads)[0].values == {}
    assert refusal(sentence(f"{head},nan,x"), payloads) == "field"
    assert refusal(sentence(f"{head},3.6,y"), payloads) == "field"
    assert refusal(sentence(f"{head},3.6,x,1"), payloads) == "number of fields"
    assert refusal(sentence("hab,123"), payloads) == "number of fields"


def test_the_first_layout_that_fits_is_taken() -> None:
    payloads = read(
        {
            "name": "p",
            "sentences": [
                {"callsign": "hab", "fields": [NUMBER, field("a", "base.ascii_int")]},
                {"callsign": "hab", "fields": [NUMBER]},
            ],
        }
    )
    assert fixes(sentence("hab,7"), payloads)[0].values == {}
    assert fixes(sentence("hab,7,8"), payloads)[0].values == {"a": 8}


@pytest.mark.parametrize(
    ("post", "text", "values"),
    [
        ({"filter": "common.numeric_scale", "source": "a", "factor": 0.1}, "12", {"a": 1.2}),
        (
            {
                "filter": "numeric_scale",
                "source": "a",
                "destination": "b",
                "factor": 2,
                "offset": 1,
            },
            "12",
            {"a": 12, "b": 25},
        ),
        (
            {"filter": "numeric_scale", "source": "a", "factor": 1.23456, "round": 3},
            "1",
            {"a": 1.23},
        ),
        ({"filter": "simple_map", "source": "a", "map": {"1": "on"}}, "1", {"a": "on"}),
    ],
)
def test_filters_change_values(post: dict[str, Any], text: str, values: dict[str, Any]) -> None:
    payloads = layout(field("a", "base.ascii_int"), filters={"post": [post]})
    assert fixes(sentence(f"hab,{text}"), payloads)[0].values == pytest.approx(values)


def test_filters_that_say_where_a_payload_is_not() -> None:
    for post, place in (
        ({"filter": "invalid_always"}, "1,1"),
        ({"filter": "invalid_location_zero"}, "0,0"),
        ({"filter": "invalid_gps_lock", "source": "lock", "ok": [3]}, "1,1"),
    ):
        payloads = layout(
            LATITUDE, LONGITUDE, field("lock", "base.ascii_int"), filters={"post": [post]}
        )
        assert fixes(sentence(f"hab,{place},2"), payloads)[0].position is None


def test_filters_of_the_text() -> None:
    payloads = layout(
        NUMBER,
        field("time", "stdtelem.time"),
        filters={
            "intermediate": [
                {"filter": "common.semicolons_to_commas"},
                {"filter": "common.zero_pad_times"},
            ]
        },
    )
    assert fixes(sentence("hab;1;1:2:3"), payloads)[0].time == 3723
    padded = layout(LATITUDE, LONGITUDE, filters={"post": [{"filter": "zero_pad_coordinates"}]})
    assert fixes(sentence("hab,51.2,-1.34"), padded)[0].position == Position(51.00002, -1.00034)


@given(st.binary(max_size=400))
def test_any_bytes_are_fixes_or_reasons(packet: bytes) -> None:
    for readings in ukhas.find(b"$$" + packet + b"*00\n$$" + packet):
        try:
            ukhas.parse(readings, NONE)
        except ParseError as error:
            assert error.kind  # noqa: PT017 (either outcome is right)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_any_text_with_a_right_checksum_is_a_fix_or_a_reason(text: str) -> None:
    test_any_bytes_are_fixes_or_reasons.hypothesis.inner_test(  # type: ignore[attr-defined]
        sentence(text).encode()
    )
