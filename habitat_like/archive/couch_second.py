"""The documents of one second, when they exceed a page.

An index sorts by time, then id, but can't be asked to start after an id. So the ids of that second
are read, a piece at a time, and the documents by id: each document once, however many pages there
are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from habitat_like.archive.base import Query

#: Ids in one piece: about a megabyte.
IDS = 20_000


class Second:
    """The ids of what ``query`` finds at ``time``, in the query's order.

    ``read`` takes the number of ids to skip and the number to return. For one thread.
    """

    def __init__(self, query: Query, time: float, read: Callable[[int, int], list[str]]) -> None:
        self._about = _about(query, time)
        self._read = read
        self._is_descending = query.order == "desc"
        # A piece in ascending order, how many ids precede its end, and whether there may be more.
        self._ids: list[str] = []
        self._passed = 0
        self._is_last = False

    def is_about(self, query: Query, time: float) -> bool:
        """Whether these are the ids of that ``query`` and ``time``."""
        return self._about == _about(query, time)

    def behind(self, identifier: str, count: int) -> list[str]:
        """Up to ``count`` ids after ``identifier``, none if it is past the last.

        Callers go in the query's order: earlier ids are dropped, a piece at a time.
        """
        while True:
            if self._is_descending:
                end = bisect_left(self._ids, identifier)
                found = self._ids[max(end - count, 0) : end][::-1]
            else:
                begin = bisect_right(self._ids, identifier)
                found = self._ids[begin : begin + count]
            if found or self._is_last:
                return found
            # Even after a piece that was not full: more may have come meanwhile.
            piece = self._read(self._passed, IDS)
            self._passed += len(piece)
            self._is_last = not piece
            self._ids = sorted(piece)


def _about(query: Query, time: float) -> tuple[object, ...]:
    return query.callsign, query.type, query.order, time
