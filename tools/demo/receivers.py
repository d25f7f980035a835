"""Receivers of balloons: those that upload to habitat_like, and those for SondeHub. No I/O."""

from __future__ import annotations

import base64
import math
import random
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any, NamedTuple

from tools.demo.device import Device, Upload, as_json, zipped
from tools.demo.flight import Flight, Place
from tools.demo.packets import Packet, packets

#: Which flights send between two UNIX times.
Flights = Callable[[float, float], list[Flight]]
#: Messages in one upload at most.
MOST = 400
#: Seconds between two accounts of itself, and between two positions.
INFO, POSITION = 3600.0, 600.0
#: The weakest signal that is decoded, in dB, and the share of packets that are decoded wrongly.
WEAKEST, WRONG = -3.0, 0.01


class Antenna(NamedTuple):
    """An antenna so many metres above the ground, with so much gain in dB."""

    height: float
    gain: float

    def hears(self, here: Place, payload: Place, chance: random.Random) -> float | None:
        """The signal of a payload in dB, None if nothing is received.

        Up to the radio horizon, 4.12 times the sum of the roots of both heights, in km and m (with
        4/3 of the earth's radius, ITU-R P.310); it fades with the square of the distance.
        """
        ground = here.metres_to(payload)
        above = max(payload.altitude - here.altitude + self.height, 1.0)
        if ground > 4120 * (math.sqrt(self.height) + math.sqrt(above)):
            return None
        distance = max(math.hypot(ground, above), 100.0)
        signal = 20 - 20 * math.log10(distance / 10_000) + self.gain + chance.gauss(0, 1.5)
        return round(min(signal, 30.0), 1) if signal > WEAKEST else None


class Receiver(Device):
    """A receiver that uploads sentences to ``/message``, several at once to ``/messages``.

    ``where`` tells its place at a time. ``ahead`` are the seconds that its clock is ahead. Until
    the time ``mends`` its owner gives the frequency in MHz in place of Hz.
    """

    def __init__(
        self,
        callsign: str,
        where: Callable[[float], Place],
        about: dict[str, str],
        antenna: Antenna,
        flights: Flights,
        begin: float,
        seed: int,
        *,
        position: float = POSITION,
        ahead: int = 0,
        mends: float = 0.0,
    ) -> None:
        super().__init__(begin, seed)
        self.callsign = callsign
        self.where = where
        self.about = about
        self.antenna = antenna
        self.flights = flights
        self.position = position
        self.ahead = ahead
        self.mends = mends
        #: Seconds from a packet to its upload.
        self.delay = round(self.chance(callsign, "delay").uniform(0.5, 3.5), 1)

    def uploads(self, since: float, until: float) -> Iterator[Upload]:
        """Its messages: one by itself, more of them as lines of JSON."""
        messages = [*self._about(since, until), *self._received(since, until)]
        for one in messages:
            one["time_uploaded"] = int(until) + self.ahead
        if len(messages) == 1:
            yield Upload("POST", "/message", as_json(messages[0]), _JSON)
            return
        for some in _batches(messages):
            body = b"\n".join(map(as_json, some))
            yield zipped("POST", "/messages", body, {"Content-Type": "application/x-ndjson"})

    def _message(self, kind: str, moment: float, data: dict[str, Any]) -> dict[str, Any]:
        created = int(moment) + self.ahead
        return {"callsign": self.callsign, "type": kind, "time_created": created, "data": data}

    def _about(self, since: float, until: float) -> Iterator[dict[str, Any]]:
        for moment in self.moments(INFO, since, until):
            yield self._message("LISTENER_INFO", moment, self.about)
        for moment in self.moments(self.position, since, until):
            place, clock = self.where(moment), time.gmtime(moment)
            data = {
                "latitude": round(place.latitude, 5),
                "longitude": round(place.longitude, 5),
                "altitude": round(place.altitude),
                "time": {
                    "hour": clock.tm_hour,
                    "minute": clock.tm_min,
                    "second": clock.tm_sec,
                },
            }
            yield self._message("LISTENER_TELEM", moment, data)

    def _received(self, since: float, until: float) -> Iterator[dict[str, Any]]:
        since, until = since - self.delay, until - self.delay
        for flight in self.flights(since, until):
            for packet in packets(flight, since, until):
                if (data := self._hear(packet)) is not None:
                    yield self._message("RECEIVED_TELEM", packet.time + self.delay, data)

    def _hear(self, packet: Packet) -> dict[str, Any] | None:
        chance = self.chance(self.callsign, packet.flight.seed, packet.number)
        here = self.where(packet.time)
        signal = self.antenna.hears(here, packet.fix.place, chance)
        if signal is None:
            return None
        frequency = packet.flight.radio.frequency + chance.gauss(0, 150)
        frequency = round(frequency / 1e6, 6) if packet.time < self.mends else round(frequency)
        string = base64.b64encode(_garble(packet.sentence, chance)).decode()
        return {"string": string, "frequency": frequency, "snr": signal}


class SondeHubReceiver(Device):
    """A receiver of Horus Binary that uploads to SondeHub's API, as horusdemodlib does.

    ``identifiers`` are the payloads' numbers by their names.
    """

    def __init__(
        self,
        callsign: str,
        place: Place,
        antenna: Antenna,
        flights: Flights,
        begin: float,
        seed: int,
        *,
        identifiers: dict[str, int],
    ) -> None:
        super().__init__(begin, seed)
        self.callsign = callsign
        self.place = place
        self.antenna = antenna
        self.flights = flights
        self.identifiers = identifiers

    def uploads(self, since: float, until: float) -> Iterator[Upload]:
        """Batches of packets; where it is, each hour."""
        headers = {**_JSON, "Date": formatdate(until, usegmt=True)}
        if any(self.moments(INFO, since, until)):
            station = {**self._self(), "uploader_radio": "RTL-SDR", "mobile": False}
            yield Upload("PUT", "/amateur/listeners", as_json(station), headers)
        items = [
            item
            for flight in self.flights(since, until)
            for packet in packets(flight, since - 1, until - 1)
            if (item := self._hear(packet)) is not None
        ]
        for some in _batches(items):
            yield zipped("PUT", "/amateur/telemetry", as_json(some), headers)

    def _self(self) -> dict[str, Any]:
        return {
            "software_name": "horusdemodlib",
            "software_version": "0.6.1",
            "uploader_callsign": self.callsign,
            "uploader_position": list(self.place),
            "uploader_antenna": "1/4 wave",
        }

    def _hear(self, packet: Packet) -> dict[str, Any] | None:
        chance = self.chance(self.callsign, packet.flight.seed, packet.number)
        place, name = packet.fix.place, packet.flight.name
        signal = self.antenna.hears(self.place, place, chance)
        if signal is None:
            return None
        return {
            **self._self(),
            "payload_callsign": name,
            "datetime": _iso(packet.time),
            "time_received": _iso(packet.time + 1),
            "lat": round(place.latitude, 5),
            "lon": round(place.longitude, 5),
            "alt": round(place.altitude),
            "frame": packet.number,
            "sats": packet.satellites,
            "batt": round(packet.battery, 2),
            "temp": round(packet.temperature, 1),
            "pressure": round(packet.pressure, 1),
            "vel_v": round(packet.fix.rate, 1),
            "vel_h": round(packet.fix.speed, 1),
            "snr": signal,
            "frequency": round((packet.flight.radio.frequency + chance.gauss(0, 150)) / 1e6, 4),
            "modulation": "Horus Binary v2",
            "raw": packet.horus(self.identifiers[name]).hex(),
        }


_JSON = {"Content-Type": "application/json"}


def _batches(messages: list[Any]) -> Iterator[list[Any]]:
    for at in range(0, len(messages), MOST):
        yield messages[at : at + MOST]


def _garble(sentence: bytes, chance: random.Random) -> bytes:
    """A sentence as it was decoded: now and then a letter is wrong."""
    if chance.random() > WRONG:
        return sentence
    at = chance.randrange(12, len(sentence) - 6)
    return sentence[:at] + bytes([chance.randrange(0x30, 0x3A)]) + sentence[at + 1 :]


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
