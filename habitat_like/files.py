"""Files that hold what stations sent: only the gateway's user and group may read them."""

from __future__ import annotations

import contextlib
import os

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
