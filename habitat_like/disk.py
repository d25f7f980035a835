"""Files on the disk: the log of an SQLite file, modes, and whether a path leads to an open file.

What a failed fsync means: the kernel takes pages whose fsync failed for clean, and no later fsync
brings them to the disk (https://lwn.net/Articles/752063/).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

#: SQLite's codes for an fsync that failed (https://www.sqlite.org/rescode.html#ioerr_fsync).
SYNC_ERRORS = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
#: Bytes of a log's file that are kept when it starts over.
WAL_KEPT = 64 * 1024 * 1024
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


#: A file, whatever its name: device and inode.
Identity = tuple[int, int]


class OpenFile(NamedTuple):
    """A file that this process has open: its descriptor and its path, None if it is deleted."""

    fd: int
    path: str | None


def identity(path: str | Path) -> Identity | None:
    """The file that the path leads to, None where there is none or it can't be reached."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def find_open(file: Identity) -> OpenFile | None:
    """Where a file is now that this process has open; None where it is not open."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            status = link.stat()
            if (status.st_dev, status.st_ino) == file:
                return OpenFile(int(link.name), str(link.readlink()) if status.st_nlink else None)
    return None


class Presence:
    """The files of an SQLite database as they were when it was opened.

    ``path`` is the database's; its log and its index lie beside. Thread-safe.
    """

    _ENDS = ("", "-wal", "-shm")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = {end: identity(f"{path}{end}") for end in self._ENDS}

    def problem(self) -> str | None:
        """What became of them, in words; None while all is well."""
        for end, file in self._files.items():
            name = f"{self._path}{end}"
            found = identity(name)
            if found == file:
                continue
            if found is not None:
                return f"{name} was replaced by another file"
            place = find_open(file) if file is not None else None
            if place is not None and place.path is not None:
                return f"{name} was moved to {place.path}"
            return f"{name} was deleted"
        return None

    @property
    def database(self) -> Identity | None:
        """The database's file, as it was opened."""
        return self._files[""]

    def is_there(self) -> bool:
        """Whether the path still leads to the database, whatever became of its log."""
        return self.database is not None and identity(self._path) == self.database


def leave_open(connections: Iterable[sqlite3.Connection]) -> None:
    """Leave connections open to the end of the process.

    The last one to be closed deletes the log by its name, and what has that name now may be
    somebody else's. SQLite can't be told not to, and the interpreter closes whatever it can find.
    """
    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def file_size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
