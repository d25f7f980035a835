"""Sweep: reads an archive's messages in slices, as far as time allows, and goes on later."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import msgspec

from habitat_like.archive import Archive, Query
from habitat_like.archive.base import Document
from habitat_like.console.bounded import Bounded

#: Seconds that a slice should take; messages that the first one has, and any at least and at most.
SLICE, FIRST, LEAST, MOST = 0.03, 50, 10, 500
#: Bytes of the messages of a slice, unless one alone has more.
SLICE_BYTES = 1024 * 1024
#: Messages of a query of which none is of use, after which it is given up.
USELESS = 500


class _Source(msgspec.Struct):
    """A query, and how far it is read: ``reached`` is the time of the last document."""

    query: Query
    reached: float
    is_done: bool = False
    read: int = 0
    useful: int = 0
    is_useless: bool = False


class Sweep:
    """The messages that match any of several queries, all of one order.

    The query that is farthest behind is read on, so that all of them come to about the same time.
    For one thread at a time.
    """

    def __init__(self, queries: Iterable[Query]) -> None:
        self._sources = [_Source(query, _start(query)) for query in queries]
        self._is_down = any(one.query.order == "desc" for one in self._sources)
        self._size = FIRST

    @property
    def is_done(self) -> bool:
        """Whether all is read."""
        return all(source.is_done for source in self._sources)

    @property
    def reached(self) -> float:
        """The UNIX time up to which (or down to which) everything is read."""
        left = [source.reached for source in self._sources if not source.is_done]
        if not left:
            return -math.inf if self._is_down else math.inf
        return max(left) if self._is_down else min(left)

    def stop(self) -> None:
        """Read no more."""
        for source in self._sources:
            source.is_done = True

    def go_on(self, until: int | None = None) -> None:
        """Read what has come since, of queries that are in ascending order; up to ``until``."""
        for source in self._sources:
            if not source.is_useless:
                source.is_done = False
                if until is not None:
                    source.query = msgspec.structs.replace(source.query, until=until)

    def read(self, archive: Archive) -> Slice:
        """The next documents. Raises ArchiveError."""
        left = [source for source in self._sources if not source.is_done]
        if not left:
            return Slice([], None)
        choose = max if self._is_down else min
        source = choose(left, key=lambda one: one.reached)
        begin = time.monotonic()
        bounded = Bounded(archive, source.query, self._size, SLICE_BYTES)
        documents = list(bounded)
        fits = self._size * SLICE / max(time.monotonic() - begin, 1e-4)
        self._size = int(min(max(min(fits, 2 * self._size), LEAST), MOST))
        source.read += len(documents)
        source.is_done = not bounded.cut
        if documents:
            last = documents[-1]
            source.reached = last["time_created"]
            after = last["time_created"], last["_id"]
            source.query = msgspec.structs.replace(source.query, after=after)
        return Slice(documents, source)


class Slice:
    """Documents of one query; who takes them says how many were of use."""

    def __init__(self, documents: list[Document], source: _Source | None) -> None:
        self.documents = documents
        self._source = source

    def were_useful(self, count: int) -> None:
        """Give the query up if it goes on to have nothing of use: a type that tells no place."""
        if self._source is not None:
            self._source.useful += count
            if not self._source.useful and self._source.read >= USELESS:
                self._source.is_done = self._source.is_useless = True


def _start(query: Query) -> float:
    return query.until if query.order == "desc" else query.since
