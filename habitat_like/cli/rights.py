"""Who may read and write files: not everybody, but the gateway what root makes for it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from habitat_like.config import Config


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


def gateway_owner(config: Config) -> tuple[int, int] | None:
    """The gateway's user and group, for root to give files to: whose the journal is.

    None for everybody else, who can give nothing away, and where the journal has no directory yet.
    """
    if os.geteuid() != 0:
        return None
    journal = Path(config.journal.path)
    for path in (journal, journal.absolute().parent):
        try:
            state = path.stat()
        except OSError:
            continue
        return state.st_uid, state.st_gid
    return None


def _mode(path: str | Path) -> int:
    try:
        return Path(path).stat().st_mode
    except FileNotFoundError:
        return 0
