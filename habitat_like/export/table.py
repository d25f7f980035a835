"""Table: flat rows put aside until all of their columns are known."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import msgspec

from habitat_like.archive.base import to_json
from habitat_like.export import flat
from habitat_like.export.flat import Row
from habitat_like.export.form import Part
from habitat_like.export.source import Source
from habitat_like.export.spool import Spool

#: Columns for values; stations choose their names. What does not fit is JSON in one more.
MOST_COLUMNS = 1000
REST = "other values"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Table:
    """The rows of a source.

    ``kinds`` has, by column, the types of what is in it (in the order in which the columns came
    up), once ``read`` is through.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.kinds: dict[str, set[type]] = {}

    @property
    def columns(self) -> list[str]:
        """All columns in order."""
        return flat.columns(self.kinds)

    def read(self, source: Source) -> Generator[Part, None, None]:
        """Read all messages; the parts have no bytes. Raises ArchiveError."""
        for documents in source.documents():
            rows = [self._fit(flat.row(document, source.facts)) for document in documents]
            self._spool.add((None, None, None, _encode(row)) for row in rows)
            yield Part(b"", len(documents), source.at)

    def batches(self) -> Iterator[list[Row]]:
        """The rows, once they are read. Raises ArchiveError."""
        for batch in self._spool.all():
            yield [_decode(row) for row in batch]

    def _fit(self, row: Row) -> Row:
        rest = {}
        for name, cell in row.items():
            kinds = self.kinds.get(name)
            is_full = kinds is None and len(self.kinds) >= MOST_COLUMNS
            if name == REST or (is_full and name not in flat.FIXED):
                rest[name] = cell
                continue
            if kinds is None:
                kinds = self.kinds[name] = set()
            kinds.add(type(cell))
        if rest:
            row = {name: cell for name, cell in row.items() if name not in rest}
            row[REST] = to_json(rest).decode("utf-8")
            self.kinds.setdefault(REST, set()).add(str)
        return row
