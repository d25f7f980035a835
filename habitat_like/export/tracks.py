"""Tracks: the positions of each payload, one after the other. What KML and GPX have in common.

Both want a track in one piece, and an archive has messages by time: so positions are put aside on
disk. A station's own positions, which have no payload, are a track with its callsign.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from habitat_like.archive.base import Document
from habitat_like.export import flat
from habitat_like.export.flat import Row
from habitat_like.export.form import Part
from habitat_like.export.selection import Telling
from habitat_like.export.source import Source
from habitat_like.export.spool import Extent, Spool

#: Seconds without a position that end a flight.
GAP = 6 * 3600
#: Metres beyond which an altitude is no altitude.
HIGHEST = 1e9

# https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Point(msgspec.Struct, array_like=True, gc=False):
    """One position: degrees, metres if known, UNIX seconds if known, and the message's row."""

    longitude: float
    latitude: float
    altitude: float | None
    time: float | None
    row: Row

    @property
    def spot(self) -> tuple[float, float, float | None, float | None]:
        """Where and when: several receivers of a packet tell the same."""
        return self.longitude, self.latitude, self.altitude, self.time


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Point).decode


class Tracks:
    """The tracks of a source, put aside in ``spool``."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def read(self, source: Source) -> Generator[Part, None, None]:
        """Read all messages; the parts have no bytes. Raises ArchiveError."""
        for documents in source.documents():
            rows = []
            for document in documents:
                found = _point(document, source.facts)
                if found is None:
                    source.leave_out("a position")
                    continue
                name, point = found
                rows.append((name, point.time, point.altitude, _encode(point)))
            self._spool.add(rows)
            yield Part(b"", len(rows), source.at)

    def each(self) -> Iterator[tuple[str, Extent]]:
        """Each track's name and extent, in alphabetical order. Raises ArchiveError."""
        return self._spool.parts()

    def points(self, name: str) -> Iterator[list[Point]]:
        """A track's points by time, in batches: no spot twice in a row. Raises ArchiveError."""
        last = None
        for batch in self._spool.part(name):
            points = []
            for data in batch:
                point = _decode(data)
                if point.spot != last:
                    points.append(point)
                last = point.spot
            yield points


def parts_flight(before: Point, after: Point) -> bool:
    """Whether one flight ended between two points of a track."""
    return (after.time or 0) - (before.time or 0) > GAP


def text(value: str) -> str:
    """``value`` as text for XML; a character that XML can't have is a replacement character."""
    return escape(_NO_XML.sub("\ufffd", value))


def number(value: float, digits: int) -> str:
    """A number without an exponent, as XML Schema's decimal wants it."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def _point(document: Document, facts: Telling) -> tuple[str, Point] | None:
    row = flat.row(document, facts)
    latitude, longitude = row.get("latitude"), row.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    altitude: Any = row.get("altitude")
    time: Any = row.get("time")
    if altitude is not None and not abs(altitude) < HIGHEST:
        altitude = None
    if flat.moment(time) is None:
        time = None
    return str(row.get("payload") or row.get("callsign") or "?"), Point(
        longitude, latitude, altitude, time, row
    )
