"""What messages say of payloads and stations: tracks, who heard them, where stations are. No I/O.

It is as much as fits into bounded memory, whatever the messages are.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from habitat_like.archive.base import Document
from habitat_like.message.facts import Facts, Position, data_of
from habitat_like.message.message import to_callsign
from habitat_like.telemetry.track import Track

#: Points of all tracks together, of one track at most, and of one however many there are.
POINTS, POINTS_OF_ONE, POINTS_AT_LEAST = 40_000, 2000, 20
#: Payloads, stations with a place, and receivers of one payload. The least recent are forgotten.
PAYLOADS, STATIONS, RECEIVERS = 2000, 5000, 100

#: The facts of a document.
FactsOf = Callable[[Mapping[str, Any]], Facts]
#: The names of the payloads that a packet is from.
PayloadsIn = Callable[[bytes], list[str]]


class Payload(msgspec.Struct, kw_only=True):
    """A payload: its ``name`` as sent, and ``key``, the same in the letters of a callsign.

    ``networks`` are those that its messages came over, or the protocols of its packets.
    ``receivers`` have the last time that each heard it. ``version`` grows with each change.
    ``drawn`` is for whoever draws it: the track as it was last drawn, and of what.
    """

    key: str
    name: str
    track: Track
    networks: set[str] = set()
    receivers: dict[str, float] = {}
    version: int = 0
    drawn: tuple[Any, msgspec.Raw | None] | None = None


class Station(msgspec.Struct):
    """Where a station is: since a UNIX time, as far as is known."""

    time: float
    position: Position
    version: int


class Tracks:
    """What a stretch of messages says. Not thread-safe.

    ``facts`` tells what a document says, ``payloads_in`` whose packet it carries.
    """

    def __init__(self, facts: FactsOf, payloads_in: PayloadsIn) -> None:
        self._facts = facts
        self._payloads_in = payloads_in
        self.payloads: dict[str, Payload] = {}
        self.stations: OrderedDict[str, Station] = OrderedDict()
        #: Grows with each change.
        self.version = 0
        # Receivers of what is not known as a payload, or not yet.
        self._heard: OrderedDict[str, dict[str, float]] = OrderedDict()

    def take(self, document: Document) -> bool:
        """Take what a document says; False if it is about no place and no payload."""
        time, callsign = document.get("time_created"), document.get("callsign")
        if isinstance(time, bool) or not isinstance(time, int | float):
            return False
        if not isinstance(callsign, str):
            return False
        facts = self._facts(document)
        if facts.payload is None:
            if facts.position is not None:
                self.place(callsign, time, facts.position)
                return True
            return self._receive(document, callsign, time)
        key = to_callsign(facts.payload)
        if facts.position is not None:
            self._move(key, facts.payload, time, facts.position, document)
        if callsign != key:
            self._hear(key, callsign, time)
        return True

    def place(self, callsign: str, time: float, position: Position) -> None:
        """Take where a station was at a UNIX time."""
        known = self.stations.get(callsign)
        if known is not None and known.time >= time:
            return
        if known is None or known.position != position:
            self.version += 1
            self.stations[callsign] = Station(time, position, self.version)
        else:
            known.time = time
        self.stations.move_to_end(callsign)
        if len(self.stations) > STATIONS:
            self.stations.popitem(last=False)

    def forget_before(self, time: float) -> None:
        """Drop what is before a UNIX time."""
        for key, payload in list(self.payloads.items()):
            payload.track.forget_before(time)
            if not payload.track:
                del self.payloads[key]

    def _move(
        self, key: str, name: str, time: float, position: Position, document: Document
    ) -> None:
        payload = self.payloads.get(key)
        if payload is None:
            payload = self._new(key, name)
        seen = payload.track.seen
        if payload.track.add(time, position) or payload.track.seen > seen:
            self._change(payload)
        network = network_of(document)
        if network is not None and network not in payload.networks and len(payload.networks) < 16:
            payload.networks.add(network)
            self._change(payload)

    def _new(self, key: str, name: str) -> Payload:
        while len(self.payloads) >= PAYLOADS:
            oldest = min(self.payloads.values(), key=lambda one: one.track.seen)
            del self.payloads[oldest.key]
        most = max(min(POINTS // (len(self.payloads) + 1), POINTS_OF_ONE), POINTS_AT_LEAST)
        payload = Payload(key=key, name=name, track=Track(most))
        payload.receivers = self._heard.pop(key, {})
        self.payloads[key] = payload
        for other in self.payloads.values():
            other.track.most = most
            if len(other.track) > 2 * most:
                other.track.thin(most)
                self._change(other)
        return payload

    def _change(self, payload: Payload) -> None:
        self.version += 1
        payload.version = self.version

    def _receive(self, document: Document, callsign: str, time: float) -> bool:
        """Note who received a packet; False if there is none."""
        text = data_of(document).get("string")
        if not isinstance(text, str):
            return False
        try:
            packet = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return False
        names = self._payloads_in(packet)
        for name in names:
            self._hear(to_callsign(name), callsign, time)
        return bool(names)

    def _hear(self, key: str, callsign: str, time: float) -> None:
        payload = self.payloads.get(key)
        if payload is None:
            receivers = self._heard.setdefault(key, {})
            self._heard.move_to_end(key)
            if len(self._heard) > PAYLOADS:
                self._heard.popitem(last=False)
        else:
            receivers = payload.receivers
        if time <= receivers.get(callsign, -1):
            return
        receivers[callsign] = time
        if len(receivers) > RECEIVERS:
            del receivers[min(receivers, key=lambda one: receivers[one])]
        if payload is not None:
            self._change(payload)


def network_of(document: Document) -> str | None:
    """The network that a document came over; of a parsed packet, its protocol."""
    data = data_of(document)
    for name in ("network", "protocol"):
        if isinstance(found := data.get(name), str) and found:
            return found
    return None
