"""Files: creating, reading and replacing them in directories that others can write to.

In another user's directory a name can change its target from one step to the next: to a link, a
pipe, a hard link to somebody's file. So commands, which root may run, open the directory once, use
only names in it, and check what they have opened, not its name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

#: Writable by the owner, readable by the group; the umask may remove more.
FILE_MODE = 0o640
DIRECTORY_MODE = 0o750


def make_file(path: str | os.PathLike[str]) -> None:
    """Create an empty file with FILE_MODE; an existing one is left unchanged.

    For programs that would make it world-readable, as SQLite does. SQLite gives the same mode to
    the files it creates next to it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with contextlib.suppress(OSError):  # whoever opens it afterwards reports why it fails
        os.close(os.open(path, flags, FILE_MODE))


_NO_FILE = "it is not a regular file; remove it"

#: Links on the way to a file; the kernel has the same limit.
MAX_LINKS = 40


class Directory:
    """An open directory. Its names stay valid whatever happens to its path.

    A context manager; its methods raise OSError. Links as names are not followed. For root, no
    other user's link on the way to the directory is followed. For one thread.
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
        """A descriptor to read and write the file ``name``, created with ``mode`` if missing.

        An existing one must be a file with only this name, and for root be root's own: any other
        owner could read and change what is written.
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
        """The content of the file ``name``, at most ``limit`` bytes, and its owner.

        Both are of the same file. It must have only this name: a file that others may not read
        can be given a second name.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with self._named(name):
            fd = os.open(name, flags, dir_fd=self._fd)
            with open(fd, "rb") as file:  # noqa: PTH123 (a descriptor)
                status = check_file(fd)
                return _all_of(file, limit), status

    @contextlib.contextmanager
    def replacing(self, name: str, mode: int) -> Iterator[BinaryIO]:
        """A new file, which takes the name ``name`` only once it is complete and on disk.

        ``mode`` is its initial mode; change it with ``os.fchown`` and ``os.fchmod``. An existing
        file or link is replaced; nothing is ever written through it.
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

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude our other programs and threads from this block for this directory.

        For check-then-act sequences. The lock ends with its holder.
        """
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def rename(self, name: str, to: str) -> None:
        """Rename the file ``name`` durably, replacing what has the new name."""
        with self._named(to):
            os.replace(name, to, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            os.fsync(self._fd)

    def link(self, name: str, target: str) -> None:
        """Have ``name`` be a symbolic link to ``target``, replacing a file or link."""
        beside = f".{name}.{secrets.token_hex(4)}"
        with self._named(name):
            os.symlink(target, beside, dir_fd=self._fd)
        try:
            self.rename(beside, name)
        except BaseException:
            self.remove(beside)
            raise

    def make_directory(self, name: str, mode: int, user: int, group: int) -> None:
        """Have a directory ``name`` with this mode and owner; one that is there gets them."""
        with self._named(name):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._fd)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, dir_fd=self._fd)
            try:
                os.fchown(fd, user, group)
                os.fchmod(fd, mode)
                os.fsync(self._fd)
            finally:
                os.close(fd)

    def give(self, name: str, user: int, group: int) -> None:
        """Change the owner of the file ``name``, which must have only this name."""
        with self._named(name):
            fd = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd
            )
            try:
                check_file(fd)
                os.fchown(fd, user, group)
            finally:
                os.close(fd)

    def remove_leftovers(self, name: str) -> None:
        """Remove what ``replacing`` left beside ``name`` when it was killed."""
        left = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}")
        for other in os.listdir(self._fd):  # noqa: PTH208 (a descriptor)
            if left.fullmatch(other):
                self.remove(other)

    def remove(self, name: str) -> None:
        """Remove the file or link ``name``, if it exists."""
        with self._named(name), contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def status(self, name: str) -> os.stat_result | None:
        """The stat of ``name``, without following a link; None if missing."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Errors with the file's full name."""
        try:
            yield
        except OSError as error:
            text = error.strerror or str(error)
            if error.errno == errno.ELOOP:
                text = "it is a link; name the file it points to"
            raise OSError(error.errno, text, str(self.path / name)) from None


def read_file(path: Path, limit: int) -> bytes:
    """A file's content, at most ``limit`` bytes. Raises OSError, also for anything but a file.

    Links are followed: this is for files whose content is not written anywhere.
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
    """The open file's stat. Raises OSError unless it is a file with only one name."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, _NO_FILE)
    if status.st_nlink > 1:
        raise OSError(errno.EMLINK, "it has another name (a hard link); remove it")
    return status


def open_in_place(path: Path) -> BinaryIO:
    """An existing file, to read and write; not a link nor a second name. Raises OSError."""

    def opener(name: str, flags: int) -> int:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with _closed_on_error(fd):
            check_file(fd)
        return fd

    return open(path, "r+b", opener=opener)


def open_stream(path: str | os.PathLike[str]) -> BinaryIO:
    """An existing pipe or device, to write to. Raises OSError.

    A file that has replaced it is left alone. For root, another user's link or pipe is refused:
    the one could lead to a disk, the other never be read.
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
        # The very object that was checked, not what has its name now.
        fd = os.open(itself, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(found)
    return open(fd, "wb")  # noqa: PTH123 (a descriptor)


def check_links(path: str | os.PathLike[str]) -> None:
    """Raise OSError if root would follow another user's link on the way to ``path``.

    For code that opens a file by name, as SQLite does.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(FileNotFoundError):
            os.close(_find(path))


def _find(path: str | os.PathLike[str]) -> int:
    """A descriptor (O_PATH) of what ``path`` leads to; for root not via other users' links."""
    flags = os.O_PATH | os.O_CLOEXEC
    names = deque(_names(os.fspath(path)))
    links = 0
    # The working directory may be one that the user can't search, as root's home after runuser.
    here = os.open("/" if os.path.isabs(path) else ".", flags)  # noqa: PTH117
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
                # Such as /proc/self/fd/1: it leads to an object, not to a name.
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
    """Whether we run as root and the file is another user's."""
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
