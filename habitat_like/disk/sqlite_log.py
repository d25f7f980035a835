"""SQLite files: their write-ahead log, what a failed fsync means for it, reads in bounded memory.

The kernel takes pages whose fsync failed for clean, and no later fsync brings them to the disk
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
#: Bytes of a log's file that are kept when it starts over.
WAL_KEPT = 64 * 1024 * 1024
#: Bytes of documents that one read gives at most, unless one alone is larger. Whoever takes them
#: makes copies of all, and objects of some.
READ_BYTES = 4 * 1024 * 1024
_BLOCK = 1 << 20


def rewrite_log(connection: sqlite3.Connection, path: Path, room: int = 0) -> None:
    """Write the write-ahead log anew, byte for byte, and fsync it; make it ``room`` bytes long.

    Raises OSError and sqlite3.Error.

    After a failed fsync the kernel takes the pages for clean, so a log that is read well here may
    not be on the disk, and no later fsync would bring it there. What is committed from now on must
    not build on that.
    """
    connection.execute("BEGIN IMMEDIATE")  # keeps 'habitat journal' from writing to it meanwhile
    try:
        with contextlib.suppress(FileNotFoundError), open_in_place(Path(f"{path}-wal")) as log:
            while block := log.read(_BLOCK):
                log.seek(-len(block), os.SEEK_CUR)
                log.write(block)
            # Room for what comes: an fsync of what makes the file grow takes twice as long. Zeros
            # are no frames of a log (https://www.sqlite.org/fileformat2.html#walformat).
            if shutil.disk_usage(path.parent).free > 16 * room:
                log.write(bytes(max(room - log.tell(), 0)))
            log.flush()
            os.fsync(log.fileno())
    finally:
        connection.execute("ROLLBACK")


def sync(path: Path) -> None:
    """Bring a file or directory to the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_rows(cursor: sqlite3.Cursor, most: int = READ_BYTES) -> tuple[list[Any], bool]:
    """The first rows of a statement, and whether these are all; the cursor is closed.

    They end before the row with which their last column, a document, would have more than ``most``
    bytes in all. One row comes in any case. Raises sqlite3.Error.
    """
    rows: list[Any] = []
    with contextlib.closing(cursor):
        for row in cursor:
            most -= len(row[-1])
            if most < 0 and rows:
                return rows, False
            rows.append(row)
    return rows, True
