"""The files that commands write: each is under its name only when it is whole and on disk."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import click

from habitat_like.disk import FILE_MODE

#: Bytes that a PartFile collects before it writes; a member of a packed file holds so many.
BLOCK = 1024 * 1024
#: Of gzip: beyond it takes much more time for little.
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
        with path.open("wb") as out:
            yield out
        return
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as temporary:
        try:
            yield temporary  # type: ignore[misc]
            temporary.flush()
            os.fsync(temporary.fileno())
            Path(temporary.name).replace(path)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise
    _sync_directory(path.parent)


class PartFile:
    """``FILE.part``, which stays when the work is cut short, and becomes FILE when it is done.

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
        self._packed = packed
        self._group = group
        self._pieces: list[bytes] = []
        self._collected = 0
        self._fd = -1

    def __enter__(self) -> PartFile:
        """Open the part, or make it, and lock it."""
        while True:
            fd = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Before we had the lock, another one may have finished and renamed the file.
                if self._is_part(fd):
                    if self._group >= 0:
                        os.fchown(fd, -1, self._group)
                    self._fd = fd
                    return self
            except BlockingIOError:
                os.close(fd)
                raise click.ClickException(
                    f"{self.part}: another export is writing it; let it end, or name another file"
                ) from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what is there and let go of the lock."""
        with contextlib.suppress(OSError):
            if not isinstance(error, OSError):
                self._put_down()
        os.close(self._fd)

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
        self.part.replace(self.path)
        _sync_directory(self.path.parent)

    def _put_down(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._collected = 0
        if self._packed and data:
            data = gzip.compress(data, LEVEL, mtime=0)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _is_part(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.part.stat())
        except FileNotFoundError:
            return False


def _sync_directory(path: Path) -> None:
    """Bring the directory's names to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
