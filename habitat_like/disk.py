"""The write-ahead log of an SQLite file, and what a failed fsync means for it.

The kernel takes pages whose fsync failed for clean, and no later fsync brings them to the disk
(https://lwn.net/Articles/752063/).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

#: SQLite's codes for an fsync that failed (https://www.sqlite.org/rescode.html#ioerr_fsync).
SYNC_ERRORS = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
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
        with contextlib.suppress(FileNotFoundError), Path(f"{path}-wal").open("r+b") as log:
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


#: For the owner to write and the group to read; the umask may take more away.
FILE_MODE = 0o640
DIRECTORY_MODE = 0o750


def make_file(path: str | os.PathLike[str]) -> None:
    """Make an empty file with FILE_MODE; what is there stays as it is.

    For programs that would make it readable for everybody, as SQLite does. SQLite gives the same
    mode to the files that it makes beside it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with contextlib.suppress(OSError):  # who opens it afterwards tells why it can't be had
        os.close(os.open(path, flags, FILE_MODE))
