"""Whether a path still leads to the file that this process has open."""

from __future__ import annotations

import contextlib
import ctypes
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

#: A file, whatever its name: device and inode.
Identity = tuple[int, int]


class OpenFile(NamedTuple):
    """A file this process has open: its descriptor and its path, None if deleted."""

    fd: int
    path: str | None


def identity(path: str | Path) -> Identity | None:
    """The file the path leads to, None if there is none or it can't be reached."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def find_open(file: Identity) -> OpenFile | None:
    """The current location of a file this process has open; None if it is not open."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            status = link.stat()
            if (status.st_dev, status.st_ino) == file:
                return OpenFile(int(link.name), str(link.readlink()) if status.st_nlink else None)
    return None


class Presence:
    """The files of an SQLite database as they were when it was opened.

    ``path`` is the database's; its log and index are next to it. One that got smaller was
    overwritten, by a copy or by nothing: the file is the same, but what SQLite knows of it, and its
    log, belong to what it was. With ``may_shrink`` only one that got empty was. Thread-safe.
    """

    _ENDS = ("", "-wal", "-shm")

    def __init__(self, path: Path, *, may_shrink: bool = False) -> None:
        self._path = path
        self._may_shrink = may_shrink
        self._files = {end: identity(f"{path}{end}") for end in self._ENDS}
        self._size = file_size(path)
        #: Whether the database was overwritten.
        self.is_overwritten = False

    def problem(self) -> str | None:
        """What happened to them, in words; None while all is well."""
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
        size = file_size(self._path)
        if size < self._size and not (size and self._may_shrink):
            self.is_overwritten = True
        self._size = size
        return f"{self._path} was overwritten" if self.is_overwritten else None

    def drop_log(self) -> None:
        """Delete the log of an overwritten database, or the next to open that would apply it."""
        for end in self._ENDS[1:]:
            name = Path(f"{self._path}{end}")
            if self.is_overwritten and identity(name) == self._files[end]:
                name.unlink(missing_ok=True)

    @property
    def database(self) -> Identity | None:
        """The database's file, as it was opened."""
        return self._files[""]

    def is_there(self) -> bool:
        """Whether the path still leads to the database, whatever happened to its log."""
        return self.database is not None and identity(self._path) == self.database


def leave_open(connections: Iterable[sqlite3.Connection]) -> None:
    """Leave connections open until the process ends.

    The last one to close deletes the log by name, and that name may now be somebody else's file.
    SQLite can't be told not to, and the interpreter closes whatever it can find.
    """
    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def file_size(path: Path) -> int:
    """Size of a file in bytes, 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
