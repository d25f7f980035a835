"""SqliteFile: the file of an SqliteArchive; how it is opened, checkpointed, watched and released.

The rules it relies on are SQLite's: https://www.sqlite.org/wal.html (readers and one writer at the
same time) and https://www.sqlite.org/pragma.html#pragma_synchronous (FULL: a commit is on disk when
it returns).

A checkpoint with readers active moves the log in parts, of which only the last is fsynced, and
SQLite notes its progress in memory that all connections share. If that fsync fails, the next try
would move and fsync only the last part. So checkpoints run here, not automatically in SQLite; if
one fails, the file is released without another, and opened when nobody else has it: the first to
open it rereads the log and moves all of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from habitat_like.archive import sqlite_users, sqlite_views
from habitat_like.archive.base import ArchiveUnavailable
from habitat_like.archive.sqlite_tables import APPLICATION, SCHEMA, VERSION
from habitat_like.disk import (
    DIRECTORY_MODE,
    SYNC_ERRORS,
    WAL_KEPT,
    Presence,
    check_links,
    file_size,
    find_open,
    identity,
    make_file,
    open_in_place,
    read_rows,
    rewrite_log,
)

#: Seconds between checkpoints, and the log size in pages above which each batch is followed by one:
#: SQLite restarts the log once all of it is moved and nobody reads it.
CHECKPOINT_EVERY = 1.0
LOG_PAGES = 16_000

#: The byte of the shared-memory file that every connection keeps locked
#: (https://www.sqlite.org/walformat.html#the_wal_index_file_format).
_OPEN_BYTE = 128

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space there",
    sqlite3.SQLITE_BUSY: "another process keeps it locked: find it with 'fuser' and let it finish",
    sqlite3.SQLITE_LOCKED: "another process keeps it locked: find it with 'fuser'",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a backup or move it away",
    sqlite3.SQLITE_NOTADB: "this is not an SQLite database: name another file in archive.uri",
    sqlite3.SQLITE_READONLY: "it can't be written: check the owner and mode of file and directory",
    sqlite3.SQLITE_PERM: "no permission: check the owner and mode of file and directory",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened: check the owner and mode of file and directory",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed: look at the kernel's log",
}
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
#: What SQLite says if it can't create its shared memory.
_NO_RIGHT = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_BUSY_SLICE = 0.1  # seconds that SQLite itself waits for a lock before we look for interrupt()

_T = TypeVar("_T")


class SqliteFile:
    """The file at ``path``: a writing and a reading connection, and their lifetime.

    ``timeout`` is how many seconds a step waits for another process's lock. Only ``writer``
    creates the file. One thread at a time, except ``interrupt``. Errors of SQLite and the file
    system inside ``errors`` become ArchiveUnavailable.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        """Remember where the file is; no I/O."""
        self.path = path
        #: ``sqlite:`` and the path as configured.
        self.name = f"sqlite:{path}"
        self._timeout = timeout
        self._interrupted = threading.Event()
        self._lock = threading.Lock()  # interrupt() against opening and closing
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._inode: sqlite_users.File | None = None
        # The reader assumes that nobody changes the file; see _open_frozen.
        self._is_frozen = False
        self._checkpoint_at = 0.0
        # The writer's files, if one is open.
        self._presence: Presence | None = None
        self._anew: str | None = None
        #: What could not be made for analysts, a line each.
        self.warnings: list[str] = []

    def writer(self) -> sqlite3.Connection:
        """The writing connection; creates file and tables. For use inside ``errors``."""
        self._check_interrupted()
        if self._writer is not None and self.problem() is None:
            return self._writer
        self.close()
        check_links(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
        if sqlite_users.is_suspect(self._present_inode()):
            self._check_alone()
        make_file(self.path)
        writer = self._connect("rwc")
        try:
            if not file_size(self.path):  # only a file without anything takes it
                self.patiently(lambda: writer.execute("PRAGMA auto_vacuum = INCREMENTAL"))
            self.patiently(lambda: writer.execute("PRAGMA journal_mode = WAL"))
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("PRAGMA wal_autocheckpoint = 0")
            writer.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
            self.patiently(lambda: rewrite_log(writer, self.path))
            self.patiently(lambda: self._make_tables(writer))
            self.patiently(lambda: self._make_views(writer))
            reader = self._connect("ro")
            reader.execute("SELECT 1 FROM document LIMIT 1").fetchone()
        except BaseException:
            writer.close()
            raise
        with self._lock:
            self._writer, self._reader = writer, reader
        # Dropping old messages makes it smaller, also from the command line.
        self._presence = Presence(self.path, may_shrink=True)
        self._inode = self._presence.database
        if self._inode is not None:
            sqlite_users.enter(self._inode)
            sqlite_users.trust(self._inode)
        return writer

    def read(self, statement: str, arguments: dict[str, Any]) -> tuple[list[Any], bool]:
        """Rows of one statement, as ``read_rows`` returns them.

        On the writer's connection if there is one. Raises ArchiveUnavailable.
        """
        with self.errors():
            self._check_interrupted()
            if self.problem() is not None or not (self._inode is None or self._is_ours()):
                self.close()  # moved or deleted, perhaps recreated
            self._check_trusted()
            while True:
                if self._is_frozen and self._has_log():
                    self.close()  # a gateway has begun to write
                connection = self._writer or self._reader or self._open_reader()
                rows = self.patiently(lambda: read_rows(connection.execute(statement, arguments)))  # noqa: B023
                if not (self._is_frozen and self._has_log()):
                    return rows

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of SQLite and the file system into a one-line ArchiveUnavailable."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if primary_code(error) in _REASONS:  # start afresh: the file may be replaced meanwhile
                self._let_go(error)
            raise ArchiveUnavailable(self._explain(error)) from None

    def patiently(self, step: Callable[[], _T]) -> _T:
        """Do ``step``, retrying while the file is locked, for ``timeout`` seconds.

        SQLite's own waiting can't be interrupted, so it waits in short slices.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return step()
            except sqlite3.OperationalError as error:
                if primary_code(error) not in _BUSY or time.monotonic() > deadline:
                    raise
                self._interrupted.wait(_BUSY_SLICE / 10)  # a deadlock's BUSY comes without waiting
            self._check_interrupted()

    def problem(self) -> str | None:
        """What happened to the writer's open files; None while all is well."""
        return None if self._presence is None else self._presence.problem()

    def checkpoint(self, writer: sqlite3.Connection) -> None:
        """Checkpoint the log into the file periodically."""
        now = time.monotonic()
        if now >= self._checkpoint_at:
            _, pages, moved = writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._checkpoint_at = now + (CHECKPOINT_EVERY if pages < LOG_PAGES else 0)
            if pages == moved and file_size(Path(f"{self.path}-wal")) > WAL_KEPT:
                # A reader blocked it for long. Nothing in it is needed any more.
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def tend(self) -> None:
        """Check that the path still leads to the file, and checkpoint the log into it.

        Raises ArchiveUnavailable.
        """
        with self.errors():
            if self._writer is not None:
                self.checkpoint(self.writer())

    def gone(self) -> str | None:
        """What happened to a file that was moved or deleted and not replaced."""
        if self._writer is None or self._presence is None or identity(self.path) is not None:
            return None
        with contextlib.suppress(sqlite3.Error):  # so that all is in the file, wherever that is
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        found = self._presence.database and find_open(self._presence.database)
        advice = f"put it back, or restart the gateway to begin a new one at {self.path}"
        if found and found.path is None:
            # Atomically, not piece by piece: it is used as soon as it exists.
            new = shlex.quote(f"{self.path}.new")
            command = f"cp /proc/{os.getpid()}/fd/{found.fd} {new} && mv {new}"
            advice = f"to save it, before anything else: {command} {shlex.quote(str(self.path))}"
        return f"{self.name}: {self._presence.problem()}: {advice}"

    def begun_anew(self) -> str | None:
        """What happened to the previously open file."""
        why, self._anew = self._anew, None
        return why

    def interrupt(self) -> None:
        """Abort another thread's statement or wait for a lock, and start no other."""
        self._interrupted.set()
        with self._lock:
            for connection in (self._writer, self._reader):
                if connection is not None:
                    connection.interrupt()

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        problem = self.problem()
        if problem is not None:
            self._leave(problem)
        self._close(in_order=not sqlite_users.is_suspect(self._inode))

    def _close(self, *, in_order: bool) -> None:
        """``in_order``: with a checkpoint, which SQLite runs when a writer closes last."""
        with self._lock:
            writer, reader, inode = self._writer, self._reader, self._inode
            self._writer = self._reader = self._inode = self._presence = None
            self._is_frozen = False
        for connection in (reader, writer) if in_order else (writer, reader):
            if connection is not None:
                connection.close()
        if inode is not None:
            sqlite_users.leave(inode)

    def _let_go(self, error: Exception) -> None:
        """Close the file after an error, without moving anything that may not be on disk."""
        inode = self._inode or self._present_inode()
        if inode is not None and getattr(error, "sqlite_errorcode", 0) in SYNC_ERRORS:
            sqlite_users.suspect(inode)
        self._close(in_order=False)

    def _explain(self, error: Exception) -> str:
        if self._interrupted.is_set():
            return f"{self.name}: interrupted, the program is stopping"
        if isinstance(error, OSError):
            return f"{self.name}: {error.strerror or error}: {error.filename or self.path}"
        reason = _REASONS.get(primary_code(error))
        return f"{self.name}: {reason} ({error})" if reason else f"{self.name}: {error}"

    def _leave(self, problem: str) -> None:
        """Release files that the path no longer leads to; don't touch what is there now."""
        is_whole = False
        with self._lock:
            writer, presence = self._writer, self._presence
        if writer is not None and presence is not None and not presence.is_overwritten:
            with contextlib.suppress(sqlite3.Error):  # perhaps only the log is gone
                _, pages, moved = writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                is_whole = pages == moved and presence.is_there()
        if not is_whole:
            self._anew = f"{self.name}: {problem}"
        self._close(in_order=False)  # in order, it would delete a log by its name
        if presence is not None:
            presence.drop_log()

    def _check_alone(self) -> None:
        """Raise ArchiveUnavailable while somebody else has the file open."""
        inode = self._present_inode()
        if inode is not None and sqlite_users.has_users(inode):
            raise ArchiveUnavailable(
                f"{self.name}: an fsync of it failed, and a page of the console still reads it"
            )
        try:
            with open_in_place(Path(f"{self.path}-shm")) as shared:
                fcntl.lockf(shared, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _OPEN_BYTE)
        except FileNotFoundError:
            pass
        except BlockingIOError:
            raise ArchiveUnavailable(
                f"{self.name}: an fsync of it failed, and another process has it open: end that"
                " (find it with 'fuser'), so that what is on the disk can be read anew"
            ) from None

    def _make_tables(self, writer: sqlite3.Connection) -> None:
        if self._check_version(writer) < VERSION:
            self._change(writer, SCHEMA)

    def _make_views(self, writer: sqlite3.Connection) -> None:
        rows = writer.execute("SELECT name, type, sql FROM sqlite_master").fetchall()
        statements, problems = sqlite_views.changes({name: (kind, sql) for name, kind, sql in rows})
        if statements:
            self._change(writer, statements)
        self.warnings = [f"{self.name}: {problem}" for problem in problems]

    def _change(self, writer: sqlite3.Connection, statements: str) -> None:
        try:
            writer.executescript(f"BEGIN IMMEDIATE; {statements} COMMIT;")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise

    def _is_ours(self) -> bool:
        """Whether the path still leads to the file that is open."""
        return self._inode is not None and self._present_inode() == self._inode

    def _present_inode(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _connect_reader(self) -> sqlite3.Connection:
        reader: sqlite3.Connection | None = None
        try:
            reader = opened = self._connect("ro")
            self.patiently(lambda: opened.execute("PRAGMA application_id").fetchone())
        except sqlite3.OperationalError as error:
            if reader is not None:
                reader.close()
            if primary_code(error) not in _NO_RIGHT:
                raise
            return self._open_frozen()
        return reader

    def _has_log(self) -> bool:
        return Path(f"{self.path}-wal").exists()

    def _open_frozen(self) -> sqlite3.Connection:
        """A reader for a user who can write neither file nor directory, while nobody has it open.

        SQLite creates its shared memory next to the file, which needs that right. Without a
        write-ahead log everything is in the file, and nobody is changing it: a writer creates a
        log first.
        """
        if not os.access(self.path, os.R_OK, effective_ids=True):
            raise ArchiveUnavailable(
                f"{self.name}: no permission to read it: ask its owner, or run this as the"
                " gateway's user"
            )
        if self._has_log():
            raise ArchiveUnavailable(
                f"{self.name}: its newest messages are in {self.path}-wal, which can't be read"
                " here: start the gateway, or run this as the gateway's user"
            )
        self._is_frozen = True
        return self._connect("ro&immutable=1")

    def _open_reader(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise self._nothing_yet()
        inode = self._present_inode()
        if inode is not None:  # before opening: nobody may think they are alone
            sqlite_users.enter(inode)
            self._inode = inode
        try:
            reader = self._connect_reader()
        except BaseException:
            self.close()
            raise
        with self._lock:
            self._reader = reader
        try:
            version = self.patiently(lambda: self._check_version(reader))
            if version == 0:  # the gateway is just creating it
                raise self._nothing_yet()
        except BaseException:
            self.close()
            raise
        return reader

    def _check_trusted(self) -> None:
        """While its log must be reread, release the file and raise ArchiveUnavailable."""
        if sqlite_users.is_suspect(self._inode or self._present_inode()):
            self.close()
            raise ArchiveUnavailable(
                f"{self.name}: an fsync of it failed, and it is not opened anew yet; try again"
            )

    def _nothing_yet(self) -> ArchiveUnavailable:
        return ArchiveUnavailable(
            f"no archive at {self.path} yet: it is created when 'habitat serve' starts"
        )

    def _connect(self, mode: str) -> sqlite3.Connection:
        check_links(self.path)
        return sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode={mode}",
            uri=True,
            timeout=_BUSY_SLICE,
            isolation_level=None,
            check_same_thread=False,
        )

    def _check_version(self, connection: sqlite3.Connection) -> int:
        """The version of the tables, 0 if there are none; refuses those that aren't ours."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
                return 0
            raise ArchiveUnavailable(
                f"{self.name}: the file is another program's database: name another in archive.uri"
            )
        if version > VERSION:
            raise ArchiveUnavailable(
                f"{self.name}: made by a newer version (tables {version}, this one has {VERSION}):"
                " upgrade this installation or name another file in archive.uri"
            )
        return int(version)

    def _check_interrupted(self) -> None:
        if self._interrupted.is_set():
            raise ArchiveUnavailable(f"{self.name}: interrupted, the program is stopping")


def primary_code(error: Exception) -> int:
    """SQLite's primary result code, -1 if there is none."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else code
