"""Horus Binary packets, versions 1 and 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.telemetry import horus
from habitat_like.telemetry.checksums import crc16
from habitat_like.telemetry.coordinates import show_time
from habitat_like.telemetry.fix import ParseError
from habitat_like.telemetry.horus import CustomFields, Names

VECTORS = [
    one
    for one in json.loads(Path(__file__).with_name("vectors.json").read_text())["horus_binary"]
    if not one["format"].startswith("v3")
]
NAMES = {
    "speed": "speed",
    "sats": "satellites",
    "temp": "temperature",
    "batt_V": "battery",
    "flags": "flags",
    "ascent_m_s": "ascent_rate",
    "ext_temp": "ext_temperature",
    "humidity": "ext_humidity",
    "pressure_hPa": "ext_pressure",
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: str(one["format"]))
def test_packets_of_the_field(vector: dict[str, object]) -> None:
    fix = horus.parse(bytes.fromhex(str(vector["hex"])))
    assert (fix.payload, fix.sequence) == (str(vector["id"]), vector["seq"])
    assert fix.time is not None
    assert show_time(fix.time) == vector["time"]
    place = (fix.position.latitude, fix.position.longitude) if fix.position else (0.0, 0.0)
    assert place == (vector["lat"], vector["lon"])
    wanted = {NAMES[name]: value for name, value in vector.items() if name in NAMES}
    assert fix.values == pytest.approx(wanted)


def test_names_and_custom_fields_are_an_operator_s() -> None:
    packet = bytes.fromhex(str(VECTORS[2]["hex"]))
    fields = CustomFields("<hh", [("a", "none"), ("b", "divide_by_10")])
    fix = horus.parse(packet, Names({31415: "BALLOON"}, {"BALLOON": fields}))
    assert fix.payload == "BALLOON"
    assert (fix.values["a"], fix.values["b"]) == (0, 22.1)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_fix_or_a_reason(body: bytes) -> None:
    for packet in (body, body + crc16(body).to_bytes(2, "little")):
        try:
            horus.parse(packet)
        except ParseError as error:
            assert error.kind in ("length", "checksum", "field", "custom fields")  # noqa: PT017
