"""Horus Binary packets of version 3."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.message.facts import Position
from habitat_like.telemetry import horus_v3
from habitat_like.telemetry.checksums import crc16
from habitat_like.telemetry.configuration import Payloads
from habitat_like.telemetry.coordinates import show_time
from habitat_like.telemetry.fix import ParseError
from habitat_like.telemetry.horus import NO_NAMES
from habitat_like.telemetry.packets import message, read

VECTORS = [
    one
    for one in json.loads(Path(__file__).with_name("vectors.json").read_text())["horus_binary"]
    if one["format"].startswith("v3")
]
NAMES = {
    "speed": "speed",
    "sats": "satellites",
    "ascent_m_s": "ascent_rate",
    "temp": "temperature",
    "batt_V": "battery",
    "humidity": "ext_humidity",
    "pressure_hPa": "ext_pressure",
}
#: A message of a payload that knows nothing.
BARE: dict[str, Any] = {
    "payload": "HORUS-V3",
    "sequence": 0,
    "time": -1,
    "latitude": 0,
    "longitude": 0,
    "altitude": -1000,
}


def packet(**more: Any) -> bytes:
    """A packet with its checksum and its padding."""
    body: bytes = horus_v3.schema().encode("Telemetry", {**BARE, **more})
    length = next(one for one in horus_v3.LENGTHS if one >= len(body) + 2)
    body = body.ljust(length - 2, b"\0")
    return crc16(body).to_bytes(2, "little") + body


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: str(one["callsign"]))
def test_packets_of_the_field(vector: dict[str, Any]) -> None:
    fix = horus_v3.parse(bytes.fromhex(vector["hex"]))
    assert (fix.protocol, fix.payload, fix.sequence) == (
        "horus_v3",
        vector["callsign"],
        vector["seq"],
    )
    assert fix.time == vector["timeOfDay_s"]
    assert fix.position == Position(vector["lat"], vector["lon"], vector["alt"])
    wanted = {NAMES[name]: value for name, value in vector.items() if name in NAMES}
    if "temps" in vector:
        wanted["temperature"], wanted["ext_temperature"] = vector["temps"]
    assert {name: fix.values[name] for name in wanted} == wanted


def test_what_a_payload_does_not_know_is_left_out() -> None:
    fix = horus_v3.parse(packet())
    assert (fix.time, fix.position, fix.values) == (None, None, {})
    fix = horus_v3.parse(packet(latitude=5_150_000, longitude=-10_000, time=86400))
    assert fix.position == Position(51.5, -0.1, None)
    assert fix.time is not None
    assert show_time(fix.time) == "00:00:00"


def test_readings_of_every_kind_have_names_and_units() -> None:
    fix = horus_v3.parse(
        packet(
            speed=45,
            satellites=9,
            ascent=-512,
            pressure=9123,
            humidity=50,
            temperatures={"internal": -127, "external": 215, "custom1": 0, "custom2": 1},
            voltages={"battery": 3210, "solar": 5000, "custom1": 1, "custom2": 0},
            counts=[7, 2**70],
            gnss="tracking",
            custom=b"\x01\xff",
            via="nohub",
        )
    )
    assert fix.values == {
        "speed": 45,
        "satellites": 9,
        "ascent_rate": -5.12,
        "ext_pressure": 912.3,
        "ext_humidity": 50,
        "temperature": -12.7,
        "ext_temperature": 21.5,
        "temperature_custom_1": 0,
        "temperature_custom_2": 0.1,
        "battery": 3.21,
        "solar_voltage": 5,
        "custom1_voltage": 0.001,
        "custom2_voltage": 0,
        "count_0": 7,
        "count_1": 2.0**70,
        "gnss_power_save_state": "tracking",
        "custom_data": "01ff",
        "via": "nohub",
    }


def test_sensors_of_a_payload_have_the_names_that_it_sends() -> None:
    flags = {f"b{number}": number == 0 for number in range(8)}
    fix = horus_v3.parse(
        packet(
            sensors=[
                {"name": "geiger", "reading": ("integers", [12, -3])},
                {"reading": ("reals", [0.25, float("inf")])},
                {"name": "state", "reading": ("text", "up")},
                {"name": "door", "reading": ("flags", flags)},
            ]
        )
    )
    assert fix.values.pop("door_3_b0") is True
    assert [fix.values.pop(f"door_3_b{number}") for number in range(1, 8)] == [False] * 7
    assert fix.values == {"geiger_0_0": 12, "geiger_0_1": -3, "unknown_1_0": 0.25, "state_2": "up"}
    # A sensor may be named without a reading.
    assert horus_v3.parse(packet(sensors=[{"name": "geiger"}])).values == {}


def test_a_packet_becomes_one_message_whoever_hears_it() -> None:
    received = packet(time=3600, latitude=5_150_000, longitude=-10_000, altitude=100)
    (fix,), problems = read(received, Payloads([]), NO_NAMES)
    assert problems == []
    ids = {message(fix, 1295049600 + 3600 + late, 1295049600 + DAY).id for late in (0, 20, 9000)}
    assert len(ids) == 1


DAY = 86400


@pytest.mark.parametrize("spoil", [b"\0\0", b"\xff\xff"])
def test_a_wrong_checksum_is_no_packet(spoil: bytes) -> None:
    received = spoil + packet()[2:]
    with pytest.raises(ParseError) as caught:
        horus_v3.parse(received)
    assert caught.value.kind == "checksum"
    assert [one.kind for one in read(received, Payloads([]), NO_NAMES)[1]] == ["unknown"]


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asn1tools", None)
    horus_v3.schema.cache_clear()
    with pytest.raises(ParseError) as caught:
        horus_v3.parse(bytes.fromhex(VECTORS[0]["hex"]))
    assert caught.value.kind == "horus v3"
    assert str(caught.value) == (
        "Horus Binary v3 needs asn1tools: pip install 'habitat_like[horus]'"
    )


@given(st.sampled_from(horus_v3.LENGTHS), st.binary(max_size=126))
def test_any_bytes_are_a_fix_or_a_reason(length: int, body: bytes) -> None:
    body = body[: length - 2].ljust(length - 2, b"\0")
    received = crc16(body).to_bytes(2, "little") + body
    fixes, problems = read(received, Payloads([]), NO_NAMES)
    assert len(fixes) + len(problems) >= 1
    for fix in fixes:
        json.dumps(message(fix, 1295095506, 1295095506).data, allow_nan=False)
