"""The journal's file: its format, and how it is opened, locked and synced."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from habitat_like.disk import (
    DIRECTORY_MODE,
    FILE_MODE,
    SYNC_ERRORS,
    WAL_KEPT,
    check_file,
    check_links,
    make_file,
    sync,
)
from habitat_like.journal.dead_letters import DeadLetters

#: Kept in the file's user_version. 2: dead letters know their message's id. 3: the tally.
FORMAT = 3
#: "habl" in ASCII; tells this file from other SQLite files.
APPLICATION_ID = 0x6861626C
#: Bytes reserved for a checkpoint and a prune on a full disk; a sixteenth of a small disk.
RESERVE = 16 * 1024 * 1024
#: How long a commit waits for another writing process (``habitat journal``), in seconds.
BUSY_TIMEOUT = 5.0
#: How long such a process waits for the gateway's commits, which follow each other, in seconds.
COMMAND_TIMEOUT = 30.0

#: The bytes of the documents from ``first`` to ``seq``, so that a start need not count them all.
_TALLY = (
    "CREATE TABLE IF NOT EXISTS tally (id INTEGER PRIMARY KEY CHECK (id = 1),"
    " first INTEGER NOT NULL, seq INTEGER NOT NULL, bytes INTEGER NOT NULL);"
)
SCHEMA = f"""
CREATE TABLE message (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, document BLOB NOT NULL);
CREATE TABLE health (id INTEGER PRIMARY KEY CHECK (id = 1), padding BLOB NOT NULL);
CREATE TABLE cursor (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
{_TALLY}
{DeadLetters.SCHEMA}
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={FORMAT};
"""
#: The upgrade from each older format to the next.
_UPGRADES = {1: DeadLetters.UPGRADE, 2: f"{_TALLY} DELETE FROM tally;"}  # noqa: S608


class JournalError(Exception):
    """The journal can't do what was asked now; one line saying why."""


class JournalFailed(JournalError):
    """An fsync of the journal's file failed: only a restart can restore it from its log."""


class JournalDiskFull(JournalError):
    """There is no room on the journal's disk."""


class JournalLost(JournalError):
    """The journal's path no longer leads to the files that are open."""


def disk_full(path: Path) -> str:
    """One line for people: the journal's disk is full, and the evidence."""
    return (
        f"journal {path}: the disk is full: free some space there; what takes it is told by:"
        f" du -xh {shlex.quote(str(_mount(path)))} | sort -h | tail"
    )


def _mount(path: Path) -> Path:
    """The mount point of ``path``'s file system."""
    place = path.absolute().parent
    with contextlib.suppress(OSError):
        while not place.is_mount():
            place = place.parent
    return place


def open_file(path: str | Path) -> sqlite3.Connection:
    """Open an existing journal alongside a running gateway, for commands and queries.

    Raises JournalError if there is none or this version can't read its format.
    """
    path = Path(path)
    if not path.exists():
        raise JournalError(f"no journal at {path}; start the gateway once, or check journal.path")
    with errors(path):
        check_links(path)
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=COMMAND_TIMEOUT, check_same_thread=False
        )
        try:
            if not _format(connection, path):
                raise JournalError(f"{path} is empty, no journal; start the gateway once")
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def errors(path: Path, failed: type[JournalError] = JournalError) -> Iterator[None]:
    """Turn SQLite's errors into JournalError, and those of an fsync into ``failed``."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_FULL:
            raise JournalDiskFull(disk_full(path)) from error
        kind = failed if code in SYNC_ERRORS else JournalError
        raise kind(f"journal {path}: {error}") from error
    except OSError as error:
        raise JournalError(f"journal {path}: {error.strerror}") from error


def connect(path: Path, durability: str, statements: int) -> sqlite3.Connection:
    """A connection that may write; creates the file if missing.

    ``durability`` is ``full`` (each commit is fsynced) or ``normal``; ``statements`` is how many
    prepared statements it keeps. Raises sqlite3.Error and JournalError.
    """
    check_links(path)
    make_file(path)
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        timeout=BUSY_TIMEOUT,
        cached_statements=statements,
        check_same_thread=False,
    )
    try:
        version = _format(connection, path)
        if not version:
            connection.execute("PRAGMA journal_mode=WAL")
        if version < FORMAT:
            connection.executescript(f"BEGIN EXCLUSIVE; {_change(version)} COMMIT;")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        # Checkpoints are run by ``checkpoint``, not in the middle of a commit.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={WAL_KEPT}")
        # Fails here, not at the first message, if the file can't be written.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        sync(path.parent)  # the files' names, not only their content (see fsync(2))
    except BaseException:
        connection.close()
        raise
    return connection


def _change(version: int) -> str:
    """The SQL that upgrades a file of this format, or an empty one (0), to ours."""
    if not version:
        return SCHEMA
    steps = [_UPGRADES[old] for old in range(version, FORMAT)]
    return f"{' '.join(steps)} PRAGMA user_version={FORMAT};"


def _format(connection: sqlite3.Connection, path: Path) -> int:
    """The journal's format, 0 for an empty file. Raises JournalError if it isn't ours."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application and not version:
        return 0
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is an SQLite file but no journal; choose another journal.path")
    if version > FORMAT:
        raise JournalError(
            f"journal {path} has format {version}, made by a newer version; this one reads up to"
            f" {FORMAT}: upgrade habitat_like, or choose another journal.path"
        )
    return int(version)


def last_seq(connection: sqlite3.Connection) -> int:
    """The sequence number of the newest message ever, 0 without one."""
    # Pruned messages are at or below every cursor, so no number is used twice.
    (seq,) = connection.execute(
        "SELECT max(coalesce((SELECT max(seq) FROM message), 0),"
        " coalesce((SELECT max(seq) FROM cursor), 0))"
    ).fetchone()
    return int(seq)


class LockFile:
    """An advisory lock that ends with the process, so that two gateways never share a journal.

    Its file also holds the reserve: disk blocks that are released when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        name = f"{path}.lock"
        try:
            check_links(path)
            path.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
            # Its content is replaced, so it must not be a link to another file.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(name, flags, FILE_MODE)
        except OSError as error:
            raise JournalError(f"journal {path}: {error.strerror}: {error.filename}") from None
        try:
            check_file(self._fd)
        except OSError as error:
            os.close(self._fd)
            raise JournalError(f"{name}: {error.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._fd, 32).decode("ascii", "replace").strip(" \n\0") or "unknown"
            os.close(self._fd)
            raise JournalError(
                f"journal {path} is in use by another gateway (process {owner}); stop it, or"
                " choose another journal.path"
            ) from None
        self._owner = f"{os.getpid()}\n".encode()
        self._has_reserve = False
        self.release_reserve()  # an earlier process's: a start on a full disk needs it

    @property
    def identity(self) -> tuple[int, int]:
        """The file's device and inode."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    @property
    def has_reserve(self) -> bool:
        """Whether the reserve exists."""
        return self._has_reserve

    def hold_reserve(self, size: int) -> bool:
        """Allocate ``size`` bytes of disk as the reserve; False if there is no room."""
        if not self._has_reserve:
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError:
                self.release_reserve()
                return False
            self._has_reserve = True
        return True

    def release_reserve(self) -> None:
        """Release the reserve's disk space."""
        self._has_reserve = False
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, self._owner, 0)

    def close(self) -> None:
        """Release the lock. The file stays: removing it would race with its next owner.

        So does the reserve, for a start on a disk that others have filled meanwhile.
        """
        os.close(self._fd)


def reserve_size(path: Path) -> int:
    """Bytes of the reserve for a journal at ``path``; 0 if the disk can't be queried."""
    try:
        return min(RESERVE, shutil.disk_usage(path.parent).total // 16)
    except OSError:
        return 0
