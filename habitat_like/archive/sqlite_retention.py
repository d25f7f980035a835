"""Letting old messages go from the embedded archive: in small pieces, oldest first.

Freed pages are used again; what is free beyond a reserve is given back to the disk, where the file
was made for that (https://www.sqlite.org/pragma.html#pragma_auto_vacuum). An export holds the
archive with a lock on the file beside it, which the kernel drops with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from habitat_like.archive import months
from habitat_like.archive.base import ArchiveError, ArchiveUnavailable, Dropped, Portion
from habitat_like.archive.months import UNDATED
from habitat_like.archive.sqlite_file import SqliteFile
from habitat_like.disk import FILE_MODE
from habitat_like.times import MAX_TIME

#: Seconds that one piece should take, and its smallest and largest number of messages or pages.
PIECE = 0.02
SMALLEST, LARGEST = 16, 2000
#: Free pages that are kept for what comes: this share of the file, at least so many.
RESERVE, RESERVED_PAGES = 0.05, 4096

#: Suspicious messages go by when they came, as their own dates can't be right.
_OLDEST = """
SELECT arrival, time_created, id,
       instr(document, '"suspicious"') AND json_extract(document, '$.suspicious') IS NOT NULL
       AND coalesce(json_extract(document, '$.time_uploaded'), 0) >= :before, ''
FROM document INDEXED BY by_time
WHERE (time_created, id) > (:time, :id) AND time_created < :before
ORDER BY time_created, id LIMIT :size
"""
_DELETE = "DELETE FROM document WHERE arrival IN (SELECT value FROM json_each(?))"
_COUNT = """
SELECT count(*), min(time_created), max(time_created), '' FROM document INDEXED BY by_time
WHERE time_created >= :since AND time_created < :until
"""


class SqliteRetention:
    """What goes of ``file``. One thread at a time."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._size = self._pages = SMALLEST
        # Where the next piece begins, so that suspicious messages which stay are passed over once.
        self._at: tuple[Any, str] = (-1, "")

    def portions(self) -> Iterator[Portion]:
        """The messages by the month in which they were created; see ``AgingArchive``."""
        yield from self._portions(MAX_TIME + 1)

    def expired(self, before: int) -> Iterator[Portion]:
        """See ``AgingArchive``; suspicious messages that came later are counted too."""
        yield from self._portions(before)

    def drop_before(self, before: int) -> Dropped:
        """See ``AgingArchive``: a piece that takes about ``PIECE`` seconds."""
        # A writer would make a new file in place of one that is gone.
        if not self._file.path.exists() or self._file.problem() is not None:
            raise ArchiveUnavailable(f"{self._file.name}: there is no archive at this path now")
        with self._file.errors(), _Lock(self._file.path) as lock:
            if not lock.alone():
                return Dropped(kept=(f"{self._file.name}: an export is running",))
            writer = self._file.writer()
            deleted, is_last = self._delete(writer, before)
            more = not is_last or self._give_back(writer)
            self._file.checkpoint(writer)
        return Dropped(deleted, more=more)

    def drop(self, name: str) -> Dropped:
        """Refused: months are no files here."""
        raise ArchiveError(
            f"{self._file.name} is one file: its messages go by age, habitat archive drop --older"
        )

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """See ``AgingArchive``."""
        with contextlib.ExitStack() as held:
            # A reader without the right to the file holds nothing.
            with contextlib.suppress(OSError):
                self._file.path.stat()  # no lock beside nothing
                held.enter_context(_Lock(self._file.path)).share()
            yield

    def _portions(self, before: int) -> Iterator[Portion]:
        since = 0
        while (first := self._first(since, before)) is not None:
            if first < months.FIRST:
                until, name = months.FIRST, UNDATED
            else:
                name = months.month_of(first)
                until = months.begin(months.following(name))
            bounds = {"since": first, "until": min(until, before)}
            rows, _ = self._file.read(_COUNT, bounds)
            count, begin, end, _ = rows[0]
            yield Portion(name, count, None, begin, end)
            since = until

    def _first(self, since: float, before: float) -> float | None:
        statement = (
            "SELECT time_created, '' FROM document INDEXED BY by_time"
            " WHERE time_created >= :since AND time_created < :before"
            " ORDER BY time_created LIMIT 1"
        )
        rows, _ = self._file.read(statement, {"since": since, "before": before})
        return rows[0][0] if rows else None

    def _delete(self, writer: sqlite3.Connection, before: int) -> tuple[int, bool]:
        """Delete a piece; returns how many messages went, and whether it was the last piece."""
        begun = time.monotonic()
        arguments: dict[str, Any] = {"before": before, "size": self._size}
        arguments |= {"time": self._at[0], "id": self._at[1]}
        rows = writer.execute(_OLDEST, arguments).fetchall()
        doomed = [arrival for arrival, _, _, stays, _ in rows if not stays]
        if doomed:
            self._file.patiently(lambda: writer.execute("BEGIN IMMEDIATE"))
            try:
                writer.execute(_DELETE, (msgspec.json.encode(doomed).decode(),))
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        is_last = len(rows) < self._size
        self._at = (-1, "") if is_last else (rows[-1][1], rows[-1][2])
        self._size = _fitting(self._size, time.monotonic() - begun)
        return len(doomed), is_last

    def _give_back(self, writer: sqlite3.Connection) -> bool:
        """Shorten the file a little, if it has more free pages than are kept; whether it did."""
        free, pages, kind = (
            writer.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("freelist_count", "page_count", "auto_vacuum")
        )
        if kind != 2 or free <= max(RESERVED_PAGES, pages * RESERVE):
            return False
        begun = time.monotonic()
        # Each step of the statement gives back a page, and execute() takes a single one.
        self._file.patiently(
            lambda: writer.executescript(f"PRAGMA incremental_vacuum({self._pages})")
        )
        self._pages = _fitting(self._pages, time.monotonic() - begun)
        return True


def _fitting(size: int, took: float) -> int:
    """The size of the next piece, after one of ``size`` took so many seconds."""
    wanted = int(size * PIECE / max(took, 1e-6))
    return min(max(wanted, size // 2, SMALLEST), 2 * size, LARGEST)


class _Lock:
    """The file beside the archive on which exports have a shared lock (flock, see flock(2)).

    Not the archive's own file: closing any descriptor of that would drop SQLite's locks.
    """

    def __init__(self, archive: Path) -> None:
        """Open it, and make it for the archive's owner. Raises OSError."""
        path = f"{archive}.lock"
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(path, flags)
        except FileNotFoundError:
            self._fd = os.open(path, flags | os.O_CREAT, FILE_MODE)
            if os.geteuid() == 0 and archive.exists():
                owner = archive.stat()
                os.fchown(self._fd, owner.st_uid, owner.st_gid)

    def __enter__(self) -> _Lock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def share(self) -> None:
        """Take the lock beside others who share it."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Take the lock, if nobody has it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
