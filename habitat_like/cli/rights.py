"""Who may read and write files: not everybody, but the gateway what root makes for it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from habitat_like.config import Config

#: The numbers of users who are people, not services (login.defs(5)).
PEOPLE = range(1000, 60_000)


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
        return f"everybody can create files in directory {path}; choose another one"
    return f"everybody can write to {path}; chmod o-w {path}"


def changeable(path: str | Path, *, is_above: bool = False) -> str | None:
    """One line for a file or directory that anybody but root can change, else None.

    ``is_above`` is for a directory further up: with the sticky bit, as of /tmp, others can't
    replace in it what is root's. A user's own is no news to that user, but to a service: it is
    started by root. None also where there is no such file. Raises OSError when that can't be known.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    if status.st_uid == os.geteuid() and status.st_uid in PEOPLE:
        return None
    if status.st_uid != 0:
        return f"user {_name(pwd.getpwuid, status.st_uid)} owns {path}; chown root {path}"
    if is_above and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"group {_name(grp.getgrgid, status.st_gid)} can write to {path}; chmod g-w {path}"
    return writable(path)


def _name(look_up: Callable[[int], Sequence[Any]], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


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
