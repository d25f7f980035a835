"""A backup: a directory with copies of the databases and files, and a manifest of them.

It appears under its name, which is its time, when it is whole, on disk and checked.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import hashlib
import os
import pwd
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click
import msgspec

from habitat_like.cli import rights
from habitat_like.disk import Directory

MANIFEST = "manifest.json"
FORMAT = 1
NAME = re.compile(r"habitat-\d{8}T\d{6}Z(-\d+)?")
#: What is being made, and what is being removed.
PART, OLD = ".part-", ".old-"
#: Bytes of a manifest, at most.
MAX_MANIFEST = 16 * 1024 * 1024
PIECE = 1024 * 1024

JOURNAL, ARCHIVE, EXPORT = "journal.sqlite", "archive.sqlite", "archive.ndjson.gz"
#: Below it files are at their own paths.
FILES = "files"


class BackupError(click.ClickException):
    """A backup can't be made or put back; one line that says why and what to do."""


class Item(msgspec.Struct, frozen=True):
    """One file of a backup: its name in there, and what it was on the machine.

    ``owner``, ``group`` are names, ``mode`` the permission bits, ``size`` bytes.
    """

    name: str
    kind: Literal["journal", "archive", "export", "configuration", "key", "file"]
    path: str
    owner: str
    group: str
    mode: int
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup. ``made`` is UNIX seconds, ``documents`` the archive's."""

    format: int
    version: str
    made: int
    archive: str
    documents: int
    items: tuple[Item, ...]

    def of(self, kind: str) -> Item | None:
        """The first item of this kind."""
        return next((item for item in self.items if item.kind == kind), None)


@contextlib.contextmanager
def place(directory: Path, owner: tuple[int, int] | None) -> Iterator[None]:
    """The directory of backups, made if it is missing, for one program at a time.

    ``owner`` is the gateway's user and group, if we are root. Raises BackupError.
    """
    if not directory.exists():
        with Directory(directory.parent) as above:
            group = owner[1] if owner is not None else -1
            above.make_directory(directory.name, 0o750, -1, group)
    check_roots_own(directory)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"{directory}: another backup is at work there") from None
        for entry in sorted(directory.iterdir()):
            if entry.name.startswith((PART, OLD)):
                shutil.rmtree(entry)
        yield
        os.fsync(fd)
    finally:
        os.close(fd)


def check_roots_own(path: Path) -> None:
    """Raise BackupError if we are root, and others could change what is at ``path``.

    What a backup holds goes where root's commands look for code.
    """
    if os.geteuid() != 0:
        return
    for above in (path.resolve(), *path.resolve().parents):
        if problem := rights.changeable(above, is_above=above != path.resolve()):
            raise BackupError(f"{problem}, if you trust what is in it, or name another directory")


def new_name(directory: Path, now: float) -> str:
    """A name for a backup of this time that none has yet."""
    name = time.strftime("habitat-%Y%m%dT%H%M%SZ", time.gmtime(now))
    number = 1
    while (directory / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return name if number == 1 else f"{name}-{number}"


def complete(directory: Path) -> list[Path]:
    """The backups in a directory, the newest last."""

    def order(path: Path) -> tuple[str, int]:
        time_, _, number = path.name.removeprefix("habitat-").partition("-")
        return time_, int(number or 1)

    found = [
        path
        for path in directory.iterdir()
        if NAME.fullmatch(path.name) and (path / MANIFEST).is_file()
    ]
    return sorted(found, key=order)


def remove(backup: Path) -> None:
    """Remove a backup; what is left of it when this is killed, the next backup removes."""
    gone = backup.with_name(f"{OLD}{backup.name}")
    backup.rename(gone)
    shutil.rmtree(gone)


def read_manifest(backup: Path) -> Manifest:
    """The manifest of a backup. Raises BackupError."""
    path = backup / MANIFEST
    try:
        with path.open("rb") as file:
            manifest = msgspec.json.decode(file.read(MAX_MANIFEST), type=Manifest)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}; it is no backup, or not all of it") from None
    except msgspec.DecodeError as error:
        raise BackupError(f"{path}: can't be read ({error})") from None
    if manifest.format > FORMAT:
        raise BackupError(f"{backup} was made by a newer version; upgrade habitat_like first")
    return manifest


def digest(path: Path) -> str:
    """The SHA-256 of what is on the disk, and not what is still in memory of it, in hex."""
    hashed = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while piece := file.read(PIECE):
            hashed.update(piece)
    return hashed.hexdigest()


def user_name(number: int) -> str:
    """A user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """A group's name, or the number where there is none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
