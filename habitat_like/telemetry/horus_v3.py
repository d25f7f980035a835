"""Horus Binary version 3: packets of 32 to 128 bytes, UPER of an ASN.1 schema. No I/O.

The first two bytes are the CRC-16 of all that follows, little endian; what follows is the message
and zeros. The message is that of horusdemodlib (https://github.com/projecthorus/horusdemodlib).
Decoding needs asn1tools, the extra ``[horus]``.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from habitat_like.message.facts import Position, Value
from habitat_like.telemetry.checksums import crc16
from habitat_like.telemetry.fix import Fix, ParseError, is_somewhere

#: Bytes of a packet.
LENGTHS = (32, 48, 64, 96, 128)
#: What a payload sends for an unknown altitude (metres) and time of day (seconds).
NO_ALTITUDE, NO_TIME = -1000, -1
#: Integers beyond it are no integers to readers that use doubles.
LARGE = 2**53

# What is on the air follows from the order of fields, their ranges, and which are optional. Names
# are ours.
_SCHEMA = """
Horus DEFINITIONS AUTOMATIC TAGS ::= BEGIN
Tenths ::= INTEGER (-1023..1023)
Millivolts ::= INTEGER (0..16383)
Text ::= IA5String (FROM ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ +/=-.")
  ^ SIZE (0..255))
Callsign ::= IA5String (FROM ("-/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
  ^ SIZE (1..15))
Name ::= IA5String (FROM ("abcdefghijklmnopqrstuvwxyz0123456789-") ^ SIZE (1..20))
Flags ::= SEQUENCE { b0 BOOLEAN, b1 BOOLEAN, b2 BOOLEAN, b3 BOOLEAN, b4 BOOLEAN, b5 BOOLEAN,
  b6 BOOLEAN, b7 BOOLEAN }
Reading ::= CHOICE { text Text, integers SEQUENCE (SIZE (1..4)) OF INTEGER,
  reals SEQUENCE (SIZE (1..4)) OF REAL, flags Flags }
Sensor ::= SEQUENCE { name Name OPTIONAL, reading Reading OPTIONAL }
Telemetry ::= SEQUENCE {
  payload Callsign,
  sequence INTEGER (0..65535),
  time INTEGER (-1..86400),
  latitude INTEGER (-9000000..9000000),
  longitude INTEGER (-18000000..18000000),
  altitude INTEGER (-1000..50000),
  sensors SEQUENCE (SIZE (1..4)) OF Sensor OPTIONAL,
  speed INTEGER (0..512) OPTIONAL,
  satellites INTEGER (0..31) OPTIONAL,
  ascent INTEGER (-32767..32767) OPTIONAL,
  pressure INTEGER (0..12000) OPTIONAL,
  temperatures SEQUENCE { internal Tenths OPTIONAL, external Tenths OPTIONAL,
    custom1 Tenths OPTIONAL, custom2 Tenths OPTIONAL } OPTIONAL,
  humidity INTEGER (0..100) OPTIONAL,
  voltages SEQUENCE { battery Millivolts OPTIONAL, solar Millivolts OPTIONAL,
    custom1 Millivolts OPTIONAL, custom2 Millivolts OPTIONAL } OPTIONAL,
  counts SEQUENCE (SIZE (1..8)) OF INTEGER OPTIONAL,
  gnss ENUMERATED { psmNotActive (0), enabled (1), acquisition (2), tracking (3), optimised (4),
    inactive (5) } OPTIONAL,
  custom OCTET STRING (SIZE (0..255)) OPTIONAL,
  ...,
  via ENUMERATED { sondehub (0), nohub (1), unknown2 (2), unknown3 (3), unknown4 (4),
    unknown5 (5), unknown6 (6), unknown7 (7) } OPTIONAL
}
END
"""
#: How the readings of sensors that every payload may have are named in a fix.
_TEMPERATURES = {
    "internal": "temperature",
    "external": "ext_temperature",
    "custom1": "temperature_custom_1",
    "custom2": "temperature_custom_2",
}
_VOLTAGES = {
    "battery": "battery",
    "solar": "solar_voltage",
    "custom1": "custom1_voltage",
    "custom2": "custom2_voltage",
}


def is_packet(packet: bytes) -> bool:
    """Whether these bytes have the length and the checksum of a packet."""
    if len(packet) not in LENGTHS:
        return False
    return int.from_bytes(packet[:2], "little") == crc16(packet[2:])


def parse(packet: bytes) -> Fix:
    """What the packet says. Raises ParseError."""
    if not is_packet(packet):
        raise ParseError("checksum", "the packet's checksum is wrong")
    try:
        message = schema().decode("Telemetry", packet[2:], check_constraints=True)
    except ImportError:
        raise ParseError(
            "horus v3", "Horus Binary v3 needs asn1tools: pip install 'habitat_like[horus]'"
        ) from None
    except Exception as error:
        # The library raises much besides its own errors for what is no message.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ParseError("field", f"no message of Horus Binary v3: {reason}") from None
    return _fix(message)


@functools.cache
def schema() -> Any:
    """The schema, compiled at first use, which takes a tenth of a second. Raises ImportError."""
    import asn1tools  # noqa: PLC0415 (an extra)

    return asn1tools.compile_string(_SCHEMA, "uper")


def _fix(message: dict[str, Any]) -> Fix:
    fix = Fix("horus_v3", message["payload"], message["sequence"])
    if message["time"] != NO_TIME:
        fix.time = message["time"] % 86400
    latitude, longitude = message["latitude"] / 1e5, message["longitude"] / 1e5
    if is_somewhere(latitude, longitude):
        altitude = message["altitude"]
        fix.position = Position(latitude, longitude, None if altitude == NO_ALTITUDE else altitude)
    fix.values = _values(message)
    return fix


def _values(message: dict[str, Any]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name in ("speed", "satellites"):
        if name in message:
            found[name] = message[name]
    for name, wanted, factor in (
        ("ascent", "ascent_rate", 100),
        ("pressure", "ext_pressure", 10),
        ("humidity", "ext_humidity", 1),
    ):
        if name in message:
            found[wanted] = message[name] / factor if factor > 1 else message[name]
    for names, factor, readings in (
        (_TEMPERATURES, 10, message.get("temperatures", {})),
        (_VOLTAGES, 1000, message.get("voltages", {})),
    ):
        found |= {names[name]: value / factor for name, value in readings.items()}
    for at, count in enumerate(message.get("counts", ())):
        _add(found, f"count_{at}", count)
    if "gnss" in message:
        found["gnss_power_save_state"] = message["gnss"]
    for at, sensor in enumerate(message.get("sensors", ())):
        _add_sensor(found, at, sensor)
    if "custom" in message:
        found["custom_data"] = message["custom"].hex()
    if message.get("via"):
        found["via"] = message["via"]
    return found


def _add_sensor(found: dict[str, Value], at: int, sensor: dict[str, Any]) -> None:
    """An extra sensor's readings, named as horusdemodlib uploads them."""
    if "reading" not in sensor:
        return
    name = f"{sensor.get('name', 'unknown')}_{at}"
    kind, reading = sensor["reading"]
    if kind == "text":
        found[name] = reading
    elif kind == "flags":
        found |= {f"{name}_{flag}": value for flag, value in reading.items()}
    else:
        for number, value in enumerate(reading):
            _add(found, f"{name}_{number}", value)


def _add(found: dict[str, Value], name: str, value: float) -> None:
    """A number, if it can be one in JSON."""
    if isinstance(value, int) and abs(value) >= LARGE:
        value = float(value) if abs(value) < 2**1000 else math.inf
    if math.isfinite(value):
        found[name] = value
