"""Files and directories that are open to more users than is good for them."""

from __future__ import annotations

import stat
from pathlib import Path


def readable(path: str | Path) -> str | None:
    """One line for a file that all users of the machine can read, else None.

    None also where there is no such file. Raises OSError when that can't be known.
    """
    if not _mode(path) & stat.S_IRWXO:
        return None
    return f"everybody can read {path}; chmod o= {path}"


def writable(path: str | Path) -> str | None:
    """One line for a file or directory that all users can write to; see ``readable``.

    In a directory with the sticky bit, as /tmp, they can't replace a file, but make it first.
    """
    if not _mode(path) & stat.S_IWOTH:
        return None
    if Path(path).is_dir():
        return f"everybody can make files in directory {path}; choose another one"
    return f"everybody can write to {path}; chmod o-w {path}"


def _mode(path: str | Path) -> int:
    try:
        return Path(path).stat().st_mode
    except FileNotFoundError:
        return 0
