"""Horus Binary, versions 1 and 2: packets of 22, 16 and 32 bytes, little endian. No I/O.

The layouts are those of horusdemodlib (https://github.com/projecthorus/horusdemodlib). The last two
bytes are the CRC-16 of all before them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from habitat_like.message.facts import Position
from habitat_like.telemetry.checksums import crc16
from habitat_like.telemetry.fix import Fix, ParseError, Value, is_somewhere

#: Bytes of a packet, by its version.
V1, V2_SHORT, V2 = 22, 16, 32
LENGTHS = (V1, V2_SHORT, V2)
#: Bytes of the custom fields in a packet of version 2.
CUSTOM = 9

_V1 = struct.Struct("<BH3BffHBBbB")
_V2_SHORT = struct.Struct("<BBH3s3sHBB")
_V2 = struct.Struct("<HH3BffHBBbB9s")
_CHECKSUM = struct.Struct("<H")


class CustomFields(msgspec.Struct, frozen=True):
    """The custom fields of a payload: a format of Python's struct module, and for each value its
    name and how it is scaled, as in horusdemodlib's ``custom_field_list.json``.
    """

    struct: str
    fields: list[tuple[str, str]]


#: The custom fields of a payload that has no layout of its own.
DEFAULT_FIELDS = CustomFields(
    "<hhBHxx",
    [
        ("ascent_rate", "divide_by_100"),
        ("ext_temperature", "divide_by_10"),
        ("ext_humidity", "none"),
        ("ext_pressure", "divide_by_10"),
    ],
)

SCALES: dict[str, Callable[[float], float]] = {
    "none": lambda value: value,
    "divide_by_10": lambda value: value / 10,
    "divide_by_100": lambda value: value / 100,
    "battery_5v_byte": lambda value: round(value * 5 / 255, 4),
}


class Names(NamedTuple):
    """The operator's data about payloads: names by id, and custom fields by name."""

    ids: Mapping[int, str]
    fields: Mapping[str, CustomFields]


NO_NAMES = Names({}, {})


def is_packet(packet: bytes) -> bool:
    """Whether these bytes have the length and the checksum of a packet."""
    return len(packet) in LENGTHS and _CHECKSUM.unpack(packet[-2:])[0] == crc16(packet[:-2])


def parse(packet: bytes, names: Names = NO_NAMES) -> Fix:
    """What the packet says. Raises ParseError."""
    if len(packet) not in LENGTHS:
        raise ParseError("length", f"{len(packet)} bytes, expected {V1}, {V2_SHORT} or {V2}")
    if not is_packet(packet):
        raise ParseError("checksum", "the packet's checksum is wrong")
    body = packet[:-2]
    return {V1: _v1, V2_SHORT: _v2_short, V2: _v2}[len(packet)](body, names)


def _v1(body: bytes, names: Names) -> Fix:
    number, sequence, *rest = _V1.unpack(body)
    return _fix("horus_v1", _name(number, names), sequence, *rest)


def _v2(body: bytes, names: Names) -> Fix:
    number, sequence, *rest, custom = _V2.unpack(body)
    name = _name(number, names)
    fix = _fix("horus_v2", name, sequence, *rest)
    fix.values |= _custom(custom, names.fields.get(name, DEFAULT_FIELDS))
    return fix


def _v2_short(body: bytes, names: Names) -> Fix:
    number, sequence, time, latitude, longitude, altitude, battery, flags = _V2_SHORT.unpack(body)
    seconds = 2 * time
    fix = Fix("horus_v2", _name(number, names), sequence, _time(seconds))
    fix.position = _position(_degrees(latitude), _degrees(longitude), altitude)
    fix.values = {"battery": _battery(battery), "flags": flags}
    return fix


def _fix(
    protocol: str,
    name: str,
    sequence: int,
    hour: int,
    minute: int,
    second: int,
    latitude: float,
    longitude: float,
    altitude: int,
    speed: int,
    satellites: int,
    temperature: int,
    battery: int,
) -> Fix:
    if hour > 23 or minute > 59 or second > 59:
        raise ParseError("field", f"{hour}:{minute}:{second} is no time of day")
    fix = Fix(protocol, name, sequence, 3600 * hour + 60 * minute + second)
    # Single precision has about seven digits.
    fix.position = _position(round(latitude, 6), round(longitude, 6), altitude)
    fix.values = {
        "speed": speed,
        "satellites": satellites,
        "temperature": temperature,
        "battery": _battery(battery),
    }
    return fix


def _custom(data: bytes, fields: CustomFields) -> dict[str, Value]:
    try:
        given = struct.unpack_from(fields.struct, data)
    except struct.error as error:
        raise ParseError("custom fields", f"{fields.struct!r}: {error}") from None
    found: dict[str, Value] = {}
    for (name, scale), value in zip(fields.fields, given, strict=False):
        if not isinstance(value, int | float) or scale not in SCALES:
            raise ParseError("custom fields", f"{name}: {scale!r} can't be read")
        scaled = SCALES[scale](value)
        if math.isfinite(scaled):
            found[name] = scaled
    return found


def _name(number: int, names: Names) -> str:
    """The payload's name, or its number if it is not listed."""
    return names.ids.get(number, str(number))


def _position(latitude: float, longitude: float, altitude: int) -> Position | None:
    """Where it is, to the precision of 24 or 32 bits; None if it does not know."""
    if not (abs(latitude) <= 90 and abs(longitude) <= 180) or not is_somewhere(latitude, longitude):
        return None
    return Position(round(latitude, 7), round(longitude, 7), altitude)


def _degrees(data: bytes) -> float:
    """The upper three bytes of a signed number of 1e-7 degrees."""
    return int.from_bytes(b"\0" + data, "little", signed=True) / 1e7


def _time(seconds: int) -> int:
    if seconds >= 86400:
        raise ParseError("field", f"{seconds} s is no time of day")
    return seconds


def _battery(byte: int) -> float:
    """Volts: 255 is 5 V."""
    return round(byte * 5 / 255, 4)
