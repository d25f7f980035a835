"""Selections: which messages are wanted, beyond what an archive's index can find. No I/O."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from habitat_like.archive.base import Archive, Document, Query
from habitat_like.message.facts import Facts, Position, data_of
from habitat_like.message.types import Registry

#: What an archived document says; see ``Registry.facts``.
Telling = Callable[[Mapping[str, Any]], Facts]

#: Knows the built-in types.
BUILT_IN: Telling = Registry().facts


class Box(msgspec.Struct, frozen=True):
    """A box of coordinates, in degrees. If ``west`` is east of ``east``, it spans 180 degrees."""

    west: float
    south: float
    east: float
    north: float

    def __str__(self) -> str:
        """The box as ``parse_box`` reads it."""
        return ",".join(f"{edge:.10g}" for edge in msgspec.structs.astuple(self))

    def holds(self, place: Position) -> bool:
        """Whether the place is in it; its edges are."""
        if not self.south <= place.latitude <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= place.longitude <= self.east
        return place.longitude >= self.west or place.longitude <= self.east


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Messages about a payload, of a network, or with a position in a box.

    Case doesn't matter in ``payload`` and ``network``. None selects all.
    """

    payload: str | None = None
    network: str | None = None
    box: Box | None = None

    def __bool__(self) -> bool:
        """Whether there is any condition."""
        return self != _ALL

    def keeps(self, document: Document, facts: Telling) -> bool:
        """Whether the document is one of them."""
        if self.network is not None and self.network.lower() != _lower(network_of(document)):
            return False
        if self.payload is None and self.box is None:
            return True
        said = facts(document)
        if self.payload is not None and self.payload.lower() != _lower(said.payload):
            return False
        return self.box is None or (said.position is not None and self.box.holds(said.position))


_ALL = Selection()


def network_of(document: Mapping[str, Any]) -> str | None:
    """The network over which an observation came, None for other messages."""
    name = data_of(document).get("network")
    return name if isinstance(name, str) else None


def selected(
    archive: Archive, query: Query, selection: Selection, facts: Telling = BUILT_IN
) -> Iterator[Document]:
    """The documents that match both, at most ``query.limit``, streamed. Raises ArchiveError."""
    if not selection:
        return archive.query(query)
    found = archive.query(msgspec.structs.replace(query, limit=None))
    return itertools.islice((one for one in found if selection.keeps(one, facts)), query.limit)


def parse_box(text: str) -> Box:
    """A box as people write it: west,south,east,north. Raises ValueError with a line for them."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text[:64]!r} is not west,south,east,north in degrees") from None
    if not all(map(math.isfinite, (west, south, east, north))):
        raise ValueError(f"{text[:64]!r} is not west,south,east,north in degrees")
    if max(abs(west), abs(east)) > 180 or max(abs(south), abs(north)) > 90:
        raise ValueError("longitudes (first and third) are -180 to 180, latitudes -90 to 90")
    if south > north:
        raise ValueError("south (second) is north of north (fourth): nothing can be in this box")
    return Box(west, south, east, north)


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()
