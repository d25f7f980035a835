"""The journal's file: its format, how it is opened and locked, and brought to the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from habitat_like.disk import DIRECTORY_MODE, FILE_MODE, SYNC_ERRORS, make_file, sync
from habitat_like.journal.dead_letters import DeadLetters

#: Kept in the file's user_version. 2: dead letters know their message's id.
FORMAT = 2
#: "habl" in ASCII; tells this file from other SQLite files.
APPLICATION_ID = 0x6861626C
#: Bytes of the log's file that are kept when it starts over.
WAL_KEPT = 64 * 1024 * 1024
#: How long a commit waits for another process (``habitat journal``) that writes, in seconds.
BUSY_TIMEOUT = 5.0

SCHEMA = f"""
CREATE TABLE message (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, document BLOB NOT NULL);
CREATE TABLE health (id INTEGER PRIMARY KEY CHECK (id = 1), padding BLOB NOT NULL);
CREATE TABLE cursor (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
{DeadLetters.SCHEMA}
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={FORMAT};
"""
_UPGRADE = f"{DeadLetters.UPGRADE} PRAGMA user_version={FORMAT};"


class JournalError(Exception):
    """The journal can't do what was asked now; one line that says why."""


class JournalFailed(JournalError):
    """An fsync of the journal's file failed: only a new start can make it whole from its log."""


def open_file(path: str | Path) -> sqlite3.Connection:
    """Open an existing journal beside a running gateway, for commands and for questions.

    Raises JournalError if there is none or it is of a format that this version can't read.
    """
    path = Path(path)
    if not path.exists():
        raise JournalError(f"no journal at {path}; start the gateway once, or check journal.path")
    with errors(path):
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_TIMEOUT, check_same_thread=False
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
        is_sync = getattr(error, "sqlite_errorcode", 0) in SYNC_ERRORS
        raise (failed if is_sync else JournalError)(f"journal {path}: {error}") from error
    except OSError as error:
        raise JournalError(f"journal {path}: {error.strerror}") from error


def connect(path: Path, durability: str, statements: int) -> sqlite3.Connection:
    """A connection that may write, to a file that is made if it is missing.

    ``durability`` is ``full`` (each commit is fsynced) or ``normal``; ``statements`` is how many
    prepared statements it keeps. Raises sqlite3.Error and JournalError.
    """
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
            change = _UPGRADE if version else SCHEMA
            connection.executescript(f"BEGIN EXCLUSIVE; {change} COMMIT;")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        # Checkpoints are made by ``checkpoint``, not in the middle of somebody's commit.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={WAL_KEPT}")
        # Fails here, not at the first message, where the file can't be written.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        sync(path.parent)  # the files' names, not only what is in them (see fsync(2))
    except BaseException:
        connection.close()
        raise
    return connection


def _format(connection: sqlite3.Connection, path: Path) -> int:
    """The journal's format, 0 for an empty file. Raises JournalError where it is none of ours."""
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
    """The sequence number of the newest message that there ever was, 0 without one."""
    # Messages that were pruned are at or below every cursor, so no number is given twice.
    (seq,) = connection.execute(
        "SELECT max(coalesce((SELECT max(seq) FROM message), 0),"
        " coalesce((SELECT max(seq) FROM cursor), 0))"
    ).fetchone()
    return int(seq)


class LockFile:
    """An advisory lock that ends with the process, so that two gateways never share a journal."""

    def __init__(self, path: Path) -> None:
        name = f"{path}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
            # Its content is replaced, so it must not be a link to another file.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(name, flags, FILE_MODE)
        except OSError as error:
            raise JournalError(f"journal {path}: {error.strerror}: {error.filename}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise JournalError(
                f"journal {path} is in use by another gateway (process {owner}); stop it, or"
                " choose another journal.path"
            ) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def close(self) -> None:
        """Let go of the lock. The file stays: removing it would race with its next owner."""
        os.close(self._fd)


def file_size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
