"""Source: the messages of an export, read in small batches, and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from habitat_like.archive.base import Document, Query
from habitat_like.export.selection import BUILT_IN, Selection, Telling

#: A batch has at most this many messages: uploads never wait long for its making.
BATCH = 100
#: Bytes of messages that end a batch.
BATCH_BYTES = 64 * 1024


class Readable(Protocol):
    """The part of an ``Archive`` that an export needs."""

    def lines(self, query: Query) -> Iterator[bytes]:
        """See ``Archive.lines``."""


class Source:
    """The messages in ``archive`` that match ``query`` and ``selection``.

    ``at`` is the ``time_created`` of the last one that was read, None before the first. Each batch
    covers up to ``BATCH`` messages read, and has those that match: so it may be empty, and whoever
    iterates gets a turn however few match. A writer adds the messages that it can't show to
    ``left_out``, by a reason that completes "100 without …". For one thread; streams.
    """

    def __init__(
        self,
        archive: Readable,
        query: Query,
        selection: Selection | None = None,
        facts: Telling = BUILT_IN,
    ) -> None:
        """Nothing is read yet."""
        self._archive = archive
        self._selection = selection or Selection()
        self.query = query
        self.facts = facts
        self.at: float | None = None
        self.left_out: dict[str, int] = {}

    def lines(self) -> Iterator[list[bytes]]:
        """Each document as a line of JSON, without the line's end. Raises ArchiveError."""
        for batch in self._batches():
            yield (
                [line for line in batch if self._keeps(decode(line))] if self._selection else batch
            )

    def documents(self) -> Iterator[list[Document]]:
        """Each document. Raises ArchiveError."""
        return map(self._decoded, self._batches())

    def leave_out(self, reason: str) -> None:
        """Count a message that can't be shown."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def _decoded(self, batch: list[bytes]) -> list[Document]:
        found = map(decode, batch)
        return list(filter(self._keeps, found) if self._selection else found)

    def _keeps(self, document: Document) -> bool:
        return self._selection.keeps(document, self.facts)

    def _batches(self) -> Iterator[list[bytes]]:
        batch: list[bytes] = []
        size = 0
        for line in self._archive.lines(self.query):
            batch.append(line)
            size += len(line)
            if len(batch) == BATCH or size >= BATCH_BYTES:
                self.at = _time_of(line)
                yield batch
                batch, size = [], 0
        if batch:
            self.at = _time_of(batch[-1])
            yield batch


class _Created(msgspec.Struct):
    time_created: Any = None


_CREATED = msgspec.json.Decoder(_Created)
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])


def decode(line: bytes) -> Document:
    """A document from an archive's line."""
    try:
        return _DOCUMENT.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Escaped lone surrogates, which other writers of the database may leave.
        document: Document = json.loads(line)
        return document


def _time_of(line: bytes) -> float | None:
    try:
        created = _CREATED.decode(line).time_created
    except (msgspec.DecodeError, UnicodeDecodeError):
        created = decode(line).get("time_created")
    return created if isinstance(created, int | float) else None
