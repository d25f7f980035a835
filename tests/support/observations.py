"""Archived documents of a flight and of stations, for exports, views and the Python interface."""

from __future__ import annotations

import base64
from typing import Any

START = 1_700_000_000


def document(
    number: int, type: str, callsign: str, data: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """An archived document, created ``number`` seconds after ``START``."""
    created = START + number
    return {
        "_id": f"{created:010d}-{number:024x}",
        "type": type,
        "callsign": callsign,
        "ip": "203.0.113.7",
        "time_created": created,
        "time_uploaded": created + 5,
        "data": data,
        "gateway": "a1",
        **more,
    }


def fix(number: int, payload: str = "HAB-1", **more: Any) -> dict[str, Any]:
    """TELEM: a balloon that goes up five metres a second and drifts to the east."""
    place = {"latitude": 51.5 + number / 1e4, "longitude": -0.1 + number / 1e4}
    data = {
        "protocol": "ukhas",
        "payload": payload,
        "sequence": number,
        "time": "12:00:00",
        "position": {**place, "altitude": 5 * number},
        "values": {"temperature": 20 - number / 10, "mode": "up"},
    }
    return document(number, "TELEM", payload, data, ip=None, **more)


def received(number: int, packet: bytes = b"$$HAB-1,1*ABCD\n", **data: Any) -> dict[str, Any]:
    """RECEIVED_TELEM: what a receiver heard."""
    string = base64.b64encode(packet).decode()
    return document(number, "RECEIVED_TELEM", "M0ZDR", {"string": string, **data})


def weather(number: int, **more: Any) -> dict[str, Any]:
    """WEATHER: a station on the ground, without a payload."""
    data = {
        "network": "weather",
        "position": {"latitude": 51.98, "longitude": 5.11},
        "values": {"tempf": 41.5, "humidity": 88},
        "missing": ["soilmoisture1"],
    }
    return document(number, "WEATHER", "GARDEN", data, **more)


def listener(number: int) -> dict[str, Any]:
    """LISTENER_TELEM: where a receiver is."""
    time = {"hour": 22, "minute": 13, "second": 20}
    place = {"latitude": 52.0, "longitude": 0.25, "altitude": 30.0}
    return document(number, "LISTENER_TELEM", "M0ZDR", {**place, "time": time})


def flight() -> list[dict[str, Any]]:
    """A flight of two balloons, with all around it, in order."""
    made = [received(0, frequency=434075199.23), listener(1), weather(2)]
    made += [fix(number) for number in range(3, 60, 2)]
    made += [fix(number, "HAB-2") for number in range(60, 80, 2)]
    return made
