"""Made-up flights: what receivers and parsers archive of them."""

from __future__ import annotations

import base64
import contextlib
import math
from collections.abc import Iterator
from typing import Any

from habitat_like.archive import open_archive
from habitat_like.config.keys import ArchiveConfig
from habitat_like.telemetry.checksums import crc16_ccitt
from tests.support.archive import encode
from tests.support.console import Visitor

#: Receivers, and where they are.
RECEIVERS = {"M0ZDR": (52.2, 0.12), "2E0ABC": (51.5, -0.5), "PA3XYZ": (52.1, 4.4)}
#: Seconds: on the ground until, burst at, on the ground again at, last heard at.
LAUNCH, BURST, DOWN, END = 300, 6300, 8300, 8900
TOP = 30_000


class Archived:
    """Documents with ids of their own."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []

    def add(self, type: str, callsign: str, time: float, data: dict[str, Any], **more: Any) -> None:
        """Add a document."""
        number = len(self.documents)
        self.documents.append(
            {
                "_id": f"{int(time):010d}-{number:024x}",
                "type": type,
                "callsign": callsign,
                "ip": None,
                "time_created": int(time),
                "time_uploaded": int(time) + 2,
                "data": data,
                **more,
            }
        )

    def add_stations(self, time: float) -> None:
        """Have the receivers say where they are."""
        for callsign, (latitude, longitude) in RECEIVERS.items():
            clock = {"hour": 12, "minute": 0, "second": 0}
            place = {"latitude": latitude, "longitude": longitude, "altitude": 20, "time": clock}
            self.add("LISTENER_TELEM", callsign, time, place)

    def add_flight(
        self, name: str, begin: int, place: tuple[float, float] = (52.0, 0.0), **more: Any
    ) -> None:
        """A flight of which receivers have sentences, and a parser made TELEM."""
        for time, latitude, longitude, altitude in flown(begin, place, **more):
            number = (time - begin) // 20
            values = {"temperature": round(20 - altitude / 500, 1), "battery": 4.2}
            sentence = f"$${name},{number},{latitude:.5f},{longitude:.5f},{altitude}*ABCD\n"
            string = base64.b64encode(sentence.encode()).decode()
            for late, callsign in enumerate(RECEIVERS):
                if callsign != "PA3XYZ" or altitude > 10_000:
                    packet = {"string": string, "frequency": 434_075_000.0}
                    self.add("RECEIVED_TELEM", callsign, time + late, packet)
            position = {"latitude": latitude, "longitude": longitude, "altitude": altitude}
            data = {"protocol": "ukhas", "payload": name, "position": position, "values": values}
            self.add("TELEM", name.upper(), time, data)

    def add_sonde(
        self, name: str, begin: int, place: tuple[float, float] = (52.0, 0.0), **more: Any
    ) -> None:
        """A flight that receivers upload to SondeHub, each at its own time."""
        for time, latitude, longitude, altitude in flown(begin, place, **more):
            for late, callsign in enumerate(("M0ZDR", "PA3XYZ")):
                position = {"latitude": latitude, "longitude": longitude, "altitude": altitude}
                data = {"network": "sondehub", "payload": name, "position": position}
                self.add("SONDE_TELEM", callsign, time + 7 * late, {**data, "values": {"sats": 9}})


def flown(
    begin: int, place: tuple[float, float], *, step: int = 20, until: int = END
) -> Iterator[tuple[int, float, float, int]]:
    """Times, degrees, degrees and metres of a flight to the east."""
    for time in range(0, min(until, END) + 1, step):
        way = min(max(time, LAUNCH), DOWN) - LAUNCH
        longitude = (place[1] + way / 8000 + 180) % 360 - 180
        latitude = place[0] + way / 40_000
        yield begin + time, round(latitude, 5), round(longitude, 5), altitude_at(time)


def altitude_at(time: int) -> int:
    """Metres, so many seconds after the first packet."""
    if time <= LAUNCH:
        return 60
    if time <= BURST:
        return round(60 + (TOP - 60) * (time - LAUNCH) / (BURST - LAUNCH))
    return max(math.floor(TOP - (TOP - 40) * (time - BURST) / (DOWN - BURST)), 40)


def sentence(body: str) -> str:
    """A sentence with its checksum, as a receiver uploads it."""
    return base64.b64encode(f"$${body}*{crc16_ccitt(body.encode())}\n".encode()).decode()


def store(visitor: Visitor, documents: list[dict[str, Any]]) -> None:
    """Archive documents beside a visitor's gateway, as another gateway might."""
    config = ArchiveConfig(uri=visitor.gateway.config["archive"]["uri"])
    with contextlib.closing(open_archive(config)) as archive:
        assert archive.store(encode(documents)) == []
