"""The documents of one second, where they are more than a page.

An index sorts by time, and those of one time by id; but to begin behind an id is nothing that can
be asked of it. So the ids of that second are read, a piece at a time, and the documents by their
ids: each document once, however many pages they make.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from habitat_like.archive.base import Query

#: Ids in one piece: about a megabyte.
IDS = 20_000


class Second:
    """The ids of what ``query`` finds at ``time``, in the query's order.

    ``read`` gives as many ids as its second argument, after so many as its first. For one thread.
    """

    def __init__(self, query: Query, time: float, read: Callable[[int, int], list[str]]) -> None:
        self._about = _about(query, time)
        self._read = read
        self._is_descending = query.order == "desc"
        # A piece in ascending order, how many ids lie before its end, and if there can be more.
        self._ids: list[str] = []
        self._passed = 0
        self._is_last = False

    def is_about(self, query: Query, time: float) -> bool:
        """Whether these are the ids of that ``query`` and ``time``."""
        return self._about == _about(query, time)

    def behind(self, identifier: str, count: int) -> list[str]:
        """Up to ``count`` ids behind ``identifier``, none where it is behind the last.

        Asked for in the query's order: what lies before is forgotten, a piece at a time.
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
            # Also behind a piece that was not full: more may have come meanwhile.
            piece = self._read(self._passed, IDS)
            self._passed += len(piece)
            self._is_last = not piece
            self._ids = sorted(piece)


def _about(query: Query, time: float) -> tuple[object, ...]:
    return query.callsign, query.type, query.order, time
