"""Spool: rows put aside on disk, for files whose beginning depends on all of their messages.

It is a private database of SQLite's, which has no name, is removed with its connection
(https://www.sqlite.org/inmemorydb.html#temp_db) and keeps a few megabytes in memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from habitat_like.export.form import ExportError
from habitat_like.export.source import BATCH, BATCH_BYTES

_PAGE = 4096
#: Kilobytes of it in memory.
_CACHE = 8192

_SCHEMA = f"""
PRAGMA page_size = {_PAGE};
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -{_CACHE};
BEGIN;
CREATE TABLE row (number INTEGER PRIMARY KEY, part TEXT, time REAL, height REAL, data BLOB);
"""


class Extent(NamedTuple):
    """What is known of a part: rows, first and last time, and whether each row has a height."""

    rows: int
    first: float | None
    last: float | None
    has_heights: bool


class Spool:
    """Rows in the order in which they were added, all of them or by part.

    ``most`` is how many bytes it may take, None for any. First all rows are added, then they are
    read. The methods raise ExportError. A context manager, for one thread at a time.
    """

    def __init__(self, most: int | None = None) -> None:
        """Make it."""
        self._most = most
        with self._errors():
            self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._rows.executescript(_SCHEMA)
            if most is not None:
                self._rows.execute(f"PRAGMA max_page_count = {max(most // _PAGE, 16)}")

    def __enter__(self) -> Spool:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self._rows.close()

    def add(self, rows: Iterable[tuple[str | None, float | None, float | None, bytes]]) -> None:
        """Add rows: part, time, height and data of each."""
        with self._errors():
            self._rows.executemany(
                "INSERT INTO row (part, time, height, data) VALUES (?, ?, ?, ?)", rows
            )

    def all(self) -> Iterator[list[bytes]]:
        """The data of all rows, in batches."""
        return self._read("", ())

    def parts(self) -> Iterator[tuple[str, Extent]]:
        """Each part's name, in alphabetical order, and what is known of it."""
        with self._errors():
            self._rows.execute("CREATE INDEX IF NOT EXISTS by_part ON row (part)")
        name = ""
        while True:
            with self._errors():
                found = self._rows.execute(
                    "SELECT part FROM row WHERE part > ? ORDER BY part LIMIT 1", (name,)
                ).fetchone()
                if found is None:
                    return
                (name,) = found
                extent = self._rows.execute(
                    "SELECT count(*), min(time), max(time), count(height) FROM row WHERE part = ?",
                    (name,),
                ).fetchone()
            rows, first, last, heights = extent
            yield name, Extent(rows, first, last, heights == rows)

    def part(self, name: str) -> Iterator[list[bytes]]:
        """The data of a part's rows, in batches."""
        return self._read("WHERE part = ?", (name,))

    def _read(self, condition: str, values: tuple[str, ...]) -> Iterator[list[bytes]]:
        with self._errors():
            statement = f"SELECT data FROM row {condition} ORDER BY number"  # noqa: S608 (constants)
            found = self._rows.execute(statement, values)
            batch: list[bytes] = []
            size = 0
            for (data,) in found:
                batch.append(data)
                size += len(data)
                if len(batch) == BATCH or size >= BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            is_full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
            if is_full and self._most is not None:
                size = f"{self._most / 1024 / 1024:.0f} MiB"
                text = f"more than {size} would be put aside on disk: ask for less"
                raise ExportError(text) from None
            raise ExportError(
                f"temporary files can't be written ({error}): free some space, or name another"
                " directory in SQLITE_TMPDIR"
            ) from None
