"""Receptions put together to packets: the same bytes, heard by several stations. No I/O.

Receptions of the same bytes are one packet as long as no more than ``GAP`` seconds lie between one
and the next: a beacon that says the same every few minutes sends a new packet each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from habitat_like.archive.base import Document
from habitat_like.console.filters import Place
from habitat_like.console.payloads import cut, packet_of, summarize

#: Seconds between two receptions of a packet at most.
GAP = 60


class Packet(msgspec.Struct):
    """What was heard once or more often. ``receptions`` are as ``brief`` makes them, newest first.

    ``whole`` says that there are no more of them than these.
    """

    receptions: list[Document]
    whole: bool = True

    @property
    def first(self) -> float:
        """When it was first heard, UNIX seconds."""
        return _time(self.receptions[-1])

    def stations(self) -> list[str]:
        """Who heard it, in the order of hearing, each once."""
        heard = (str(one.get("callsign", "")) for one in reversed(self.receptions))
        return list(dict.fromkeys(heard))


class Page(msgspec.Struct):
    """Packets, the one that was heard last first, and the place that the next page starts behind.

    ``next`` is None where there is nothing more.
    """

    packets: list[Packet]
    next: Place | None


class Grouping:
    """Puts messages together that are given newest first, until ``size`` packets are whole.

    ``newer`` are the messages of the last ``GAP`` seconds before the page: what is received of
    their packets belongs to an earlier page.
    """

    def __init__(self, size: int, newer: Iterable[Document] = ()) -> None:
        self._size = size
        self._packets: list[Packet] = []
        self._open: dict[bytes, Packet] = {}
        # The last time that a packet of an earlier page was heard, as far as it is known.
        self._earlier: dict[bytes, float] = {}
        for document in newer:
            key = _key(document)
            self._earlier[key] = min(_time(document), self._earlier.get(key, _time(document)))
        self._last: Place | None = None
        self._cut: Place | None = None

    def take(self, document: Document) -> bool:
        """Take the next message; False once no further one can matter."""
        now, key = _time(document), _key(document)
        packet = self._open.get(key)
        if packet is not None and packet.first - now <= GAP:
            packet.receptions.append(brief(document))
        elif key in self._earlier and self._earlier[key] - now <= GAP:
            self._earlier[key] = now
        elif self._cut is None and len(self._packets) < self._size:
            self._open[key] = packet = Packet([brief(document)])
            self._packets.append(packet)
        elif self._cut is None:
            # It is the first of the next page.
            self._cut = self._last
        self._last = now, document["_id"]
        return self._cut is None or any(one.first - now <= GAP for one in self._packets)

    def page(self, *, more: bool) -> Page:
        """The packets; ``more`` says that there are messages which were not taken."""
        if self._last is not None and more:
            for packet in self._packets:
                packet.whole = packet.first - self._last[0] > GAP
        return Page(self._packets, self._cut or (self._last if more else None))


def chain(document: Document, newer: Iterable[Document], older: Iterable[Document]) -> Packet:
    """The packet that ``document`` is a reception of.

    ``newer`` are the messages from its time on, oldest first, ``older`` those up to its time,
    newest first; each may contain it. ``whole`` stays True: how much was read the caller knows.
    """
    key = _key(document)
    found = {document["_id"]: brief(document)}
    for others in (newer, older):
        last = _time(document)
        for other in others:
            if abs(_time(other) - last) > GAP:
                break
            if _key(other) == key:
                found[other["_id"]] = brief(other)
                last = _time(other)
    receptions = sorted(found.values(), key=lambda one: (_time(one), one["_id"]), reverse=True)
    return Packet(receptions)


def brief(document: Document) -> Document:
    """What is shown of a reception, which is little, however large its message is."""
    packet = packet_of(document)
    data = document.get("data")
    data = data if isinstance(data, dict) else {}
    told = {name: data.get(name) for name in ("frequency", "snr")}
    return {
        "_id": document["_id"],
        "time_created": document["time_created"],
        "callsign": document.get("callsign"),
        **{name: cut(one) if isinstance(one, str) else one for name, one in told.items()},
        "bytes": None if packet is None else len(packet),
        "summary": summarize(document),
    }


def _key(document: Document) -> bytes:
    """What is equal for receptions of the same packet."""
    packet = packet_of(document)
    if packet is None:
        data = document.get("data")
        text = str(data.get("string")) if isinstance(data, dict) else ""
        return b"broken" + _digest(text.encode(errors="replace"))
    return _digest(packet)


def _digest(packet: bytes) -> bytes:
    return hashlib.blake2b(packet, digest_size=16).digest()


def _time(document: Document) -> float:
    moment: float = document["time_created"]
    return moment
