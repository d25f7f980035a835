"""Messages from an archive, within a limit of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from habitat_like.archive import Archive, Query
from habitat_like.archive.base import Document

_DOCUMENT = msgspec.json.Decoder(dict[str, Any])


class Bounded:
    """Messages that match: at most ``limit``, and ``most`` bytes of JSON unless one has more.

    ``cut`` says, in the end, that there may be more. For one iteration.
    """

    def __init__(self, archive: Archive, query: Query, limit: int, most: int) -> None:
        self._lines = archive.lines(msgspec.structs.replace(query, limit=limit))
        self._limit = limit
        self._most = most
        self.cut = False

    def __iter__(self) -> Iterator[Document]:
        """Each message. Raises ArchiveError."""
        read = 0
        for number, line in enumerate(self._lines, 1):
            read += len(line)
            if read > self._most and number > 1:
                self.cut = True
                return
            self.cut = number == self._limit
            yield _DOCUMENT.decode(line)
