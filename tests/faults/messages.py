"""Numbered messages: what a station sends for a number, and which number a document is for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from habitat_like.times import MAX_TIME

START = 1295103598
#: How much later than it was created a message is uploaded, in seconds, by the station's clock.
DELAY = 5
#: How many callsigns there are.
STATIONS = 997


def usual_clock(number: int) -> tuple[int, int]:
    """A station's ``time_created`` and ``time_uploaded`` for a message."""
    created = START + number // 100
    return created, created + DELAY


class Messages:
    """All messages of a run, by number: three types, each number another message.

    ``marked`` puts the number where the shim finds it in a request. ``clock`` gives the station's
    two times of a message. ``chorus``: STATIONS receivers in a row send one and the same packet.
    """

    def __init__(
        self,
        *,
        marked: bool = False,
        clock: Callable[[int], tuple[int, int]] = usual_clock,
        chorus: bool = False,
    ) -> None:
        self._marked = marked
        self._chorus = chorus
        self._clock = clock

    def message(self, number: int) -> dict[str, Any]:
        """What the station sends, as a tree."""
        created, uploaded = self._clock(number)
        kind, data = _packet(number // STATIONS) if self._chorus else _data(number)
        message = {
            "callsign": f"st{number % STATIONS}",
            "type": kind,
            "time_created": created,
            "time_uploaded": uploaded,
            "data": data,
        }
        if self._marked:
            message["mark"] = f"FAULTS:{number:016x}"
        return message

    def body(self, number: int) -> bytes:
        """What the station sends."""
        return json.dumps(self.message(number)).encode()

    def bad(self, number: int) -> bytes:
        """A message with the same number that has to be refused."""
        message = self.message(number)
        fault = number % 5
        if fault == 0:
            message["callsign"] = "no spaces"
        elif fault == 1:
            message["type"] = "TELEM"
        elif fault == 2:
            message["time_created"] = -1
        elif fault == 3:
            message["data"] = [message["data"]]
        else:
            del message["time_uploaded"]
        return json.dumps(message).encode()

    def differs(self, number: int, document: dict[str, Any]) -> str | None:
        """What of the archived document isn't as it was sent; None if all is."""
        message = self.message(number)
        created, uploaded = message["time_created"], message["time_uploaded"]
        expected = {
            "type": message["type"],
            "callsign": message["callsign"].upper(),
            "data": message["data"],
            "gateway": "test",
            "time_created": min(max(created + document["time_uploaded"] - uploaded, 0), MAX_TIME),
        }
        for key, value in expected.items():
            if document.get(key) != value:
                return f"{key} is {document.get(key)!r}, not {value!r}"
        if not document["_id"].startswith(f"{created:010d}-"):
            return f"_id is {document['_id']!r}"
        return None


def number_of(document: dict[str, Any]) -> int:
    """The number of the message that a document was made of, -1 if it is none of ours."""
    data = document.get("data", {})
    if not str(document.get("callsign")).startswith("ST"):
        return -1
    try:
        match document.get("type"):
            case "RECEIVED_TELEM":
                if "number" in data:
                    return int(data["number"])
                group = int(base64.b64decode(data["string"]).rpartition(b",")[2])
                return group * STATIONS + int(document["callsign"][2:])
            case "LISTENER_INFO":
                return int(data["name"])
            case "LISTENER_TELEM":
                return int(data["altitude"])
    except (KeyError, ValueError, TypeError):
        pass
    return -1


def _packet(number: int) -> tuple[str, dict[str, Any]]:
    """A packet without anything that tells its receivers apart."""
    return "RECEIVED_TELEM", {"string": base64.b64encode(b"$$chorus,%d" % number).decode()}


def _data(number: int) -> tuple[str, dict[str, Any]]:
    kind = number % 10
    if kind == 7:
        return "LISTENER_INFO", {"name": str(number), "radio": "ünïcode \U0001f4e1"}
    if kind == 8:
        time = {"hour": number % 24, "minute": number % 60, "second": number % 61}
        place = {"latitude": number % 90, "longitude": -(number % 180)}
        return "LISTENER_TELEM", {**place, "altitude": number, "time": time}
    packet = base64.b64encode(b"$$packet,%d" % number).decode()
    return "RECEIVED_TELEM", {"string": packet, "number": number}
