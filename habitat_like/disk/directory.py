"""Files: how they are made, read and replaced where others can write, too.

A directory of another user's is a place where names can lead elsewhere from one step to the next:
to a link, a pipe, a second name of somebody's file. So commands, which root may run, open the
directory once, work on the names in it alone, and look at what they have opened, not at its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

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


_NO_FILE = "it is not a regular file; remove it"

#: Links on the way to a file; the kernel has the same limit.
MAX_LINKS = 40


class Directory:
    """An open directory. Names in it stay names in this one, whatever becomes of its path.

    A context manager; what it does raises OSError. A name that is a link leads nowhere. For root,
    no link of another user's on the way to the directory is followed. For one thread.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Remember the path; no I/O."""
        self.path = Path(path)
        self._fd = -1

    def __enter__(self) -> Directory:
        """Open it."""
        found = _find(self.path)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._fd = os.open(".", flags, dir_fd=found)
        except NotADirectoryError:
            raise OSError(errno.ENOTDIR, "not a directory", str(self.path)) from None
        finally:
            os.close(found)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        os.close(self._fd)

    def open_own(self, name: str, mode: int = FILE_MODE) -> int:
        """A descriptor to read and write the file ``name``, made with ``mode`` if it is missing.

        What is there must be a file with this name alone, and for root one of root's: whoever
        else owns it could read and change what is written.
        """
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with self._named(name):
            while True:
                with contextlib.suppress(FileExistsError):
                    return os.open(name, flags | os.O_CREAT | os.O_EXCL, mode, dir_fd=self._fd)
                with contextlib.suppress(FileNotFoundError):
                    fd = os.open(name, flags, dir_fd=self._fd)
                    with _closed_on_error(fd):
                        if _is_foreign(check_file(fd)):
                            raise OSError(errno.EPERM, "it belongs to another user; remove it")
                        return fd

    def read(self, name: str, limit: int) -> tuple[bytes, os.stat_result]:
        """What is in the file ``name``, at most ``limit`` bytes, and whose it is.

        Both are of the same file. It must have this name alone: a second name can be given to
        a file that others may not read.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with self._named(name):
            fd = os.open(name, flags, dir_fd=self._fd)
            with open(fd, "rb") as file:  # noqa: PTH123 (a descriptor)
                status = check_file(fd)
                return _all_of(file, limit), status

    @contextlib.contextmanager
    def replacing(self, name: str, mode: int) -> Iterator[BinaryIO]:
        """A new file, which takes the name ``name`` when it is whole and on the disk, or never.

        ``mode`` is what it has at first; ``os.fchown`` and ``os.fchmod`` of it change that. A file
        or link that is there goes; nothing is ever written through it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        beside = f".{name}.{secrets.token_hex(4)}"
        with self._named(name):
            fd = os.open(beside, flags, mode, dir_fd=self._fd)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123 (a descriptor)
                yield file
                file.flush()
                os.fsync(fd)
            self.rename(beside, name)
        except BaseException:
            self.remove(beside)
            raise

    def rename(self, name: str, to: str) -> None:
        """Give the file ``name`` another name, in place of what has it, on the disk, too."""
        with self._named(to):
            os.replace(name, to, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            os.fsync(self._fd)

    def remove(self, name: str) -> None:
        """Take the file or link ``name`` away, if it is there."""
        with self._named(name), contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def status(self, name: str) -> os.stat_result | None:
        """What ``name`` is, a link itself, None if it is missing."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Errors with the whole name of the file."""
        try:
            yield
        except OSError as error:
            text = error.strerror or str(error)
            if error.errno == errno.ELOOP:
                text = "it is a link; name the file it points to"
            raise OSError(error.errno, text, str(self.path / name)) from None


def read_file(path: Path, limit: int) -> bytes:
    """What is in a file, at most ``limit`` bytes. Raises OSError, also for what is no file.

    Links are followed: this is for files of which nothing is written anywhere.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, "rb") as file:  # noqa: PTH123 (a descriptor)
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # a pipe may never end
            raise OSError(errno.EINVAL, _NO_FILE, str(path))
        return _all_of(file, limit)


def _all_of(file: BinaryIO, limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return data


def check_file(fd: int) -> os.stat_result:
    """What the open file is. Raises OSError for none, and for one with more than one name."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, _NO_FILE)
    if status.st_nlink > 1:
        raise OSError(errno.EMLINK, "it has another name (a hard link); remove it")
    return status


def open_in_place(path: Path) -> BinaryIO:
    """A file that is there, to read and write it; not a link, nor a second name. Raises OSError."""

    def opener(name: str, flags: int) -> int:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with _closed_on_error(fd):
            check_file(fd)
        return fd

    return open(path, "r+b", opener=opener)


def open_stream(path: str | os.PathLike[str]) -> BinaryIO:
    """A pipe or device that is there already, to write to. Raises OSError.

    A file that has come in its place is left alone. For root, a link or pipe of another user's is
    refused: the one could lead to a disk, the other never be read.
    """
    found = _find(path)
    try:
        status = os.fstat(found)
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EEXIST, "it is no longer a pipe or device", os.fspath(path))
        # The shell's own pipes have no name, and belong to whoever made them.
        itself = Path(f"/proc/self/fd/{found}")
        is_named = not os.fspath(itself.readlink()).startswith("pipe:")
        if stat.S_ISFIFO(status.st_mode) and is_named and _is_foreign(status):
            raise OSError(
                errno.EPERM, "it is a pipe of another user; choose another", os.fspath(path)
            )
        # The very thing that was looked at, not what has its name now.
        fd = os.open(itself, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(found)
    return open(fd, "wb")  # noqa: PTH123 (a descriptor)


def check_links(path: str | os.PathLike[str]) -> None:
    """Raise OSError if root would follow another user's link on the way to ``path``.

    For what opens a file by its name, as SQLite does.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(FileNotFoundError):
            os.close(_find(path))


def _find(path: str | os.PathLike[str]) -> int:
    """A descriptor (O_PATH) of what ``path`` leads to; for root not over links of other users."""
    flags = os.O_PATH | os.O_CLOEXEC
    names = deque(_names(os.fspath(path)))
    links = 0
    here = os.open(".", flags)
    try:
        while names:
            name = names.popleft()
            found = os.open(name, flags | os.O_NOFOLLOW, dir_fd=here)
            with _closed_on_error(found):
                status = os.fstat(found)
                is_link = stat.S_ISLNK(status.st_mode)
                links += is_link
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if is_link and _is_foreign(status):
                    text = f"{name} is a link of another user; name the path it points to"
                    raise OSError(errno.ELOOP, text)
                target = os.readlink("", dir_fd=found) if is_link else None
            if target is not None:
                os.close(found)
                if os.fstat(here).st_dev != Path("/proc").stat().st_dev:
                    names.extendleft(reversed(_names(target)))
                    continue
                # Such as /proc/self/fd/1: it leads to a thing, not to a name.
                found = os.open(name, flags, dir_fd=here)
            os.close(here)
            here = found
    except BaseException as error:
        os.close(here)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
    return here


def _is_foreign(status: os.stat_result) -> bool:
    """Whether root is at work, and the file another user's."""
    return os.geteuid() == 0 and status.st_uid != 0


def _names(path: str) -> list[str]:
    """The steps of a path; that from the root is a name of its own."""
    start = ["/"] if path.startswith("/") else []
    return start + [name for name in path.split("/") if name not in ("", ".")]


@contextlib.contextmanager
def _closed_on_error(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(fd)
        raise
