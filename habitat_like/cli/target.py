"""The files that commands write: each is under its name only when it is whole and on disk."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import click

from habitat_like.disk import Directory, open_stream

#: Bytes that a PartFile collects before writing; a member of a packed file holds this many.
BLOCK = 1024 * 1024
#: Bytes of a part's notes, at most.
MAX_NOTES = 1024 * 1024
#: For gzip: higher levels take much more time for little gain.
LEVEL = 6


def is_stream(file: str) -> bool:
    """Whether ``file`` is standard output (``-``), or a pipe or device that is there already."""
    if file == "-":
        return True
    path = Path(file)
    return path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()


@contextlib.contextmanager
def whole_file(file: str) -> Iterator[BinaryIO]:
    """The file to write to; a regular one appears when it is whole and on disk, or not at all."""
    if file == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if is_stream(file):
        with open_stream(path) as out:
            yield out
        return
    with Directory(path.parent) as directory, directory.replacing(path.name, 0o600) as out:
        yield out


class PartFile:
    """``FILE.part``, which stays when the work is cut short, and becomes FILE when it is done.

    Beside it ``FILE.part.json`` has notes of what it is a part of.

    A context manager: entered, it holds the lock of the part, with which a second writer of the
    same file is refused (click.ClickException). Left, it puts down what it has collected.
    ``packed`` writes gzip, in members of about ``BLOCK`` bytes that each hold whole pieces, so
    that a file that was cut can be continued behind its last whole member
    (https://www.rfc-editor.org/rfc/rfc1952#section-2.2). ``group`` is the number of the group that
    may read the file, by default the user's own. Raises OSError.
    """

    def __init__(self, path: Path, *, packed: bool = False, group: int = -1) -> None:
        """Remember the name; no I/O."""
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.notes = path.with_name(f"{path.name}.part.json")
        self._directory = Directory(path.parent)
        self._packed = packed
        self._group = group
        self._pieces: list[bytes] = []
        self._collected = 0
        self._fd = -1

    def __enter__(self) -> PartFile:
        """Open the part, or make it, and lock it."""
        with contextlib.ExitStack() as opened:
            opened.enter_context(self._directory)
            self._fd = self._locked()
            opened.callback(os.close, self._fd)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what is there and let go of the lock."""
        with self._opened, contextlib.suppress(OSError):
            if not isinstance(error, OSError):
                self._put_down()

    def begin(self, notes: bytes) -> None:
        """Begin anew, and keep the ``notes`` that say of what this is the part."""
        self.cut(0)
        with self._directory.replacing(self.notes.name, 0o600) as file:
            file.write(notes)

    def read_notes(self) -> bytes:
        """What ``begin`` was given."""
        return self._directory.read(self.notes.name, MAX_NOTES)[0]

    def reader(self) -> BinaryIO:
        """What is in the part, from its begin; for the caller to close."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        return open(self._fd, "rb", closefd=False)

    def size(self) -> int:
        """Bytes that are in it."""
        return os.fstat(self._fd).st_size

    def cut(self, size: int) -> None:
        """Go on behind the first ``size`` bytes; what is behind them goes."""
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)

    def write(self, piece: bytes) -> None:
        """Add ``piece``, one or more whole rows."""
        self._pieces.append(piece)
        self._collected += len(piece)
        if self._collected >= BLOCK:
            self._put_down()

    def finish(self) -> None:
        """Bring all of it to the disk and give it its name."""
        self._put_down()
        if self._packed and not self.size():
            os.write(self._fd, gzip.compress(b"", mtime=0))  # nothing at all is no gzip file
        os.fsync(self._fd)
        self._directory.rename(self.part.name, self.path.name)
        self._directory.remove(self.notes.name)

    def _put_down(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._collected = 0
        if self._packed and data:
            data = gzip.compress(data, LEVEL, mtime=0)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _locked(self) -> int:
        """A descriptor of the part, with its lock."""
        while True:
            fd = self._directory.open_own(self.part.name)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Before we got the lock, another process may have finished and renamed the file.
                present = self._directory.status(self.part.name)
                if present is not None and os.path.samestat(os.fstat(fd), present):
                    if self._group >= 0:
                        os.fchown(fd, -1, self._group)
                    return fd
            except BlockingIOError:
                os.close(fd)
                raise click.ClickException(
                    f"{self.part}: another export is writing it; wait for it, or name another file"
                ) from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
