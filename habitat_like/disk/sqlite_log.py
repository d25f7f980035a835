"""SQLite files: their write-ahead log, what a failed fsync means for it, reads in bounded memory.

The kernel marks pages whose fsync failed as clean, and no later fsync writes them to disk
(https://lwn.net/Articles/752063/).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from habitat_like.disk.directory import open_in_place

#: SQLite's codes for an fsync that failed (https://www.sqlite.org/rescode.html#ioerr_fsync).
SYNC_ERRORS = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
#: Bytes of a log's file that are kept when it restarts.
WAL_KEPT = 64 * 1024 * 1024
#: Maximum bytes of documents per read, unless a single one is larger. The caller copies all of
#: them, and makes objects of some.
READ_BYTES = 4 * 1024 * 1024
_BLOCK = 1 << 20


def rewrite_log(connection: sqlite3.Connection, path: Path, room: int = 0) -> None:
    """Rewrite the write-ahead log byte for byte and fsync it; make it ``room`` bytes long.

    Raises OSError and sqlite3.Error.

    After a failed fsync the kernel marks the pages as clean, so a log that reads fine here may not
    be on disk, and no later fsync would write it. Later commits must not build on that.
    """
    connection.execute("BEGIN IMMEDIATE")  # keeps 'habitat journal' from writing to it meanwhile
    try:
        with contextlib.suppress(FileNotFoundError), open_in_place(Path(f"{path}-wal")) as log:
            while block := log.read(_BLOCK):
                log.seek(-len(block), os.SEEK_CUR)
                log.write(block)
            # Preallocate: an fsync that grows the file takes twice as long. Zeros are not log
            # frames (https://www.sqlite.org/fileformat2.html#walformat).
            if shutil.disk_usage(path.parent).free > 16 * room:
                log.write(bytes(max(room - log.tell(), 0)))
            log.flush()
            os.fsync(log.fileno())
    finally:
        connection.execute("ROLLBACK")


def sync(path: Path) -> None:
    """Fsync a file or directory. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_rows(cursor: sqlite3.Cursor, most: int = READ_BYTES) -> tuple[list[Any], bool]:
    """The first rows of a statement, and whether these are all; the cursor is closed.

    They end before the row that would take their last column, a document, over ``most`` bytes in
    total. There is always at least one row, if any. Raises sqlite3.Error.
    """
    rows: list[Any] = []
    with contextlib.closing(cursor):
        for row in cursor:
            most -= len(row[-1])
            if most < 0 and rows:
                return rows, False
            rows.append(row)
    return rows, True
