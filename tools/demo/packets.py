"""What payloads send: UKHAS sentences, and packets of Horus Binary version 2. No I/O."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from habitat_like.telemetry.checksums import crc16, crc16_ccitt
from tools.demo.air import pressure, temperature
from tools.demo.flight import BEFORE, Fix, Flight

#: K at 0 °C.
FREEZING = 273.15
#: The layout of telemetry/horus.py, with the usual custom fields.
_HORUS = struct.Struct("<HH3BffHBBbBhhBHxx")
_CHECKSUM = struct.Struct("<H")


class Packet(NamedTuple):
    """What a payload sends at a UNIX time: its number, its fix, and what its sensors say.

    °C, hPa and V.
    """

    flight: Flight
    number: int
    time: float
    fix: Fix
    satellites: int
    temperature: float
    pressure: float
    battery: float

    @property
    def sentence(self) -> bytes:
        """As a UKHAS sentence; given/payloads.yml tells its fields."""
        place = self.fix.place
        clock = time.strftime("%H:%M:%S", time.gmtime(self.time))
        text = (
            f"{self.flight.name},{self.number},{clock},{place.latitude:.5f},{place.longitude:.5f},"
            f"{place.altitude:.0f},{self.satellites},{self.temperature:.1f},{self.pressure:.1f},"
            f"{self.battery:.2f}"
        )
        return f"$${text}*{crc16_ccitt(text.encode())}\n".encode()

    def horus(self, identifier: int) -> bytes:
        """As Horus Binary, from the payload with this number in given/payload_ids.txt."""
        place = self.fix.place
        clock = time.gmtime(self.time)
        body = _HORUS.pack(
            identifier,
            self.number,
            clock.tm_hour,
            clock.tm_min,
            clock.tm_sec,
            place.latitude,
            place.longitude,
            round(place.altitude),
            min(round(self.fix.speed * 3.6), 255),
            self.satellites,
            min(round(self.temperature) + 25, 127),  # it is warmer inside the box
            round(self.battery / 5 * 255),
            round(self.fix.rate * 100),
            round(self.temperature * 10),
            round(max(5.0, 75 - place.altitude / 200)),
            round(self.pressure * 10),
        )
        return body + _CHECKSUM.pack(crc16(body))


def packets(flight: Flight, since: float, until: float) -> Iterator[Packet]:
    """What a payload sends after ``since``, up to ``until``: the same whenever it is asked for."""
    begin, interval = flight.launch - BEFORE, flight.radio.interval
    number = max(int((since - begin) // interval) + 1, 0)
    while (at := begin + number * interval) <= until and flight.is_on(at):
        yield packet(flight, number, at)
        number += 1


def packet(flight: Flight, number: int, at: float) -> Packet:
    """The packet with this number, sent at this UNIX time."""
    chance = random.Random(f"{flight.seed} {number}")
    fix = flight.at(at)
    altitude = fix.place.altitude
    return Packet(
        flight,
        number,
        at,
        fix,
        chance.randint(8, 12),
        temperature(altitude) - FREEZING + chance.gauss(0, 0.3),
        pressure(altitude) / 100,
        4.1 - (at - flight.launch) / 36_000 + chance.gauss(0, 0.01),
    )
