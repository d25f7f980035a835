"""SqliteArchive: the archive in one SQLite file, for a gateway with no CouchDB.

The rules it relies on are SQLite's: https://www.sqlite.org/wal.html (readers and one writer at the
same time), https://www.sqlite.org/pragma.html#pragma_synchronous (FULL: a commit is on disk when it
returns), https://www.sqlite.org/queryplanner.html (an index that holds the sort order).

A checkpoint beside readers moves the log in parts, of which only the last is fsynced, and SQLite
notes how far it is in memory that all connections share. When that fsync fails, the next try would
move and fsync the last part alone. So checkpoints are made here, not by SQLite unseen; when one
fails the file is let go without another, and opened when nobody else has it: who opens it first
reads the log anew and moves all of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from habitat_like.archive import sqlite_users
from habitat_like.archive.base import ArchiveError, ArchiveUnavailable, Document, Query, Rejected
from habitat_like.archive.batch import Entry, sort_out
from habitat_like.archive.sqlite_tables import APPLICATION, INSERT, SCHEMA, VERSION, statements
from habitat_like.config.keys import ArchiveConfig, ConfigError
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

#: Documents read in one statement by ``query`` and ``follow`` at most; fewer where they are large.
PAGE = 500

#: Seconds between two checkpoints, and pages in the log over which one follows each batch: SQLite
#: starts the log over when all of it is moved and nobody reads it.
CHECKPOINT_EVERY = 1.0
LOG_PAGES = 16_000

#: The byte of the shared memory's file that every connection keeps locked
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
#: What SQLite says where its shared memory can't be made.
_NO_RIGHT = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_BUSY_SLICE = 0.1  # seconds that SQLite itself waits for a lock before we look for interrupt()

_T = TypeVar("_T")


class SqliteArchive:
    """An ``Archive`` in the file ``path``.

    ``timeout`` is how many seconds a call waits for another process's lock. Several processes may
    use the file at once: readers never wait for the writer. Only ``prepare`` and ``store`` make
    the file; the other methods raise ArchiveUnavailable where there is none. One thread at a time,
    except ``interrupt``.
    """

    @classmethod
    def from_config(cls, config: ArchiveConfig) -> SqliteArchive:
        """The archive that the configuration names; see ``ArchiveClass``."""
        return cls(_path(config), timeout=config.timeout)

    @staticmethod
    def check(config: ArchiveConfig) -> None:
        """See ``ArchiveClass``."""
        _path(config)

    @staticmethod
    def mask(uri: str) -> str:
        """There is no secret in a path."""
        return uri

    @staticmethod
    def file(config: ArchiveConfig) -> Path:
        """See ``ArchiveClass``."""
        return Path(_path(config))

    def __init__(self, path: str, timeout: float = 30) -> None:
        """Remember where the archive is; no I/O."""
        self._path = Path(path)
        self._timeout = timeout
        self._interrupted = threading.Event()
        self._lock = threading.Lock()  # interrupt() against opening and closing
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._inode: sqlite_users.File | None = None
        # The reader takes the file for one that nobody changes; see _open_frozen.
        self._is_frozen = False
        self._checkpoint_at = 0.0
        # Where a writer is open: the files that it has.
        self._presence: Presence | None = None
        self._anew: str | None = None

    @property
    def name(self) -> str:
        """``sqlite:`` and the path as configured."""
        return f"sqlite:{self._path}"

    def prepare(self) -> list[str]:
        """Make the directory, the file and its tables where they are missing.

        Returns no warnings. Raises ArchiveUnavailable, also for a file that a newer version made.
        """
        with self._errors():
            self._open_writer()
        return []

    def store(self, documents: Sequence[bytes]) -> list[Rejected]:
        """Store the batch in one transaction that is on disk when this returns.

        Refuses for good what is not a JSON object with a usable ``_id`` (see ``sort_out``). Raises
        ArchiveUnavailable; then nothing of the batch is stored.
        """
        entries, rejected = sort_out(documents)
        with self._errors():
            for _ in range(3):
                writer = self._open_writer()
                try:
                    rejected += self._insert(writer, entries)
                except sqlite3.DataError:  # longer than SQLite takes (SQLITE_LIMIT_LENGTH)
                    return self._halve(documents)
                problem = self._problem()
                if problem is None:
                    self._checkpoint(writer)
                    break
                # What was written went with the file, and is written again to the one that is
                # there now. Where there is none, a new one would be in the way.
                if identity(self._path) is None:
                    raise ArchiveUnavailable(f"{self.name}: {problem}")
            else:
                raise ArchiveUnavailable(f"{self.name}: something keeps deleting the file")
        return sorted(rejected, key=lambda one: one.index)

    def query(self, query: Query) -> Iterator[Document]:
        """Yield the documents that match; see ``Archive.query``."""
        return map(self._document, self._texts(query))

    def lines(self, query: Query) -> Iterator[bytes]:
        """Yield them as they are stored, which is much faster; see ``Archive.lines``."""
        # JSON has line breaks between its tokens only, so this keeps its meaning.
        return (text.encode().replace(b"\n", b" ") for text in self._texts(query))

    def _texts(self, query: Query) -> Iterator[str]:
        """The documents that match, as JSON.

        Each page is a statement of its own that starts behind the last document of the page
        before, so no read transaction stays open between two documents, however slowly they are
        taken: an open one would keep SQLite from checkpointing, and the write-ahead log would
        grow. Documents archived meanwhile may show when they sort behind the present one.
        """
        left = query.limit
        pages, values = statements(query)
        at = _start(query)
        size = PAGE if left is None else min(PAGE, left)
        while left is None or left > 0:
            arguments = {**values, "size": size}
            if at is not None:
                arguments |= {"time": at[0], "id": at[1]}
            rows, whole = self._read(pages[at is not None], arguments)
            for *_, text in rows:
                if not query.suspicious and self._is_suspicious(text):
                    continue
                yield text
                left = None if left is None else left - 1
                if left == 0:
                    return
            if whole and len(rows) < size:
                return
            at = rows[-1][0], rows[-1][1]
            size = PAGE  # what is still wanted lies behind suspicious ones: read on in whole pages

    def get(self, identifier: str) -> Document | None:
        """The document with this ``_id``; see ``Archive.get``."""
        rows, _ = self._read("SELECT document FROM document WHERE id = :id", {"id": identifier})
        return self._document(rows[0][0]) if rows else None

    def position(self) -> str:
        """The number of the document that came last, as text."""
        rows, _ = self._read("SELECT coalesce(max(arrival), 0), '' FROM document", {})
        return str(rows[0][0])

    def follow(self, position: str) -> tuple[list[Document], str]:
        """Some documents that came after ``position``; call again for more."""
        try:
            after = int(position)
        except ValueError:
            raise ArchiveError(f"{self.name}: {position!r} is no position of this feed") from None
        rows, _ = self._read(
            "SELECT arrival, document FROM document"
            " WHERE arrival > :after ORDER BY arrival LIMIT :size",
            {"after": after, "size": PAGE},
        )
        return [self._document(text) for _, text in rows], str(rows[-1][0]) if rows else position

    def interrupt(self) -> None:
        """End a statement, or the wait for a lock, of another thread; see ``Archive.interrupt``."""
        self._interrupted.set()
        with self._lock:
            for connection in (self._writer, self._reader):
                if connection is not None:
                    connection.interrupt()

    def tend(self) -> None:
        """See that the path still leads to the file, and move the log into it."""
        with self._errors():
            if self._writer is not None:
                self._checkpoint(self._open_writer())

    def gone(self) -> str | None:
        """What became of a file that was moved or deleted, while nothing is in its place."""
        if self._writer is None or self._presence is None or identity(self._path) is not None:
            return None
        with contextlib.suppress(sqlite3.Error):  # so that all is in the file, wherever that is
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        found = self._presence.database and find_open(self._presence.database)
        advice = f"put it back, or restart the gateway to begin a new one at {self._path}"
        if found and found.path is None:
            # As a whole and not bit by bit: it is used as soon as it is there.
            new = shlex.quote(f"{self._path}.new")
            command = f"cp /proc/{os.getpid()}/fd/{found.fd} {new} && mv {new}"
            advice = f"to save it, before anything else: {command} {shlex.quote(str(self._path))}"
        return f"{self.name}: {self._presence.problem()}: {advice}"

    def begun_anew(self) -> str | None:
        """What became of the file that was open before this one."""
        why, self._anew = self._anew, None
        return why

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        problem = self._problem()
        if problem is not None:
            self._leave(problem)
        self._close(in_order=not sqlite_users.is_suspect(self._inode))

    def _close(self, *, in_order: bool) -> None:
        """``in_order``: with a checkpoint, which SQLite makes where a writer closes last."""
        with self._lock:
            writer, reader, inode = self._writer, self._reader, self._inode
            self._writer = self._reader = self._inode = self._presence = None
            self._is_frozen = False
        for connection in (reader, writer) if in_order else (writer, reader):
            if connection is not None:
                connection.close()
        if inode is not None:
            sqlite_users.leave(inode)

    # -- writing

    def _insert(self, writer: sqlite3.Connection, entries: list[Entry]) -> list[Rejected]:
        """Insert all, or all but those that SQLite alone finds wrong, which are returned."""
        rejected: list[Rejected] = []
        self._patiently(lambda: writer.execute("BEGIN IMMEDIATE"))
        try:
            try:
                writer.execute(INSERT, (_array(entries),))
            except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
                # A disk that is full comes here too, and has ended the transaction itself.
                if not (writer.in_transaction and _is_documents_fault(error)):
                    raise
                rejected = self._insert_singly(writer, entries)
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return rejected

    def _insert_singly(self, writer: sqlite3.Connection, entries: list[Entry]) -> list[Rejected]:
        rejected: list[Rejected] = []
        for entry in entries:
            try:
                writer.execute(INSERT, (_array([entry]),))
            except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
                if not (writer.in_transaction and _is_documents_fault(error)):
                    raise
                rejected += entry.rejected(f"SQLite can't take the document: {error}")
        return rejected

    def _halve(self, documents: Sequence[bytes]) -> list[Rejected]:
        if len(documents) == 1:
            return [Rejected(0, "the document is larger than SQLite can hold")]
        middle = len(documents) // 2
        rejected = self.store(documents[:middle])
        tail = self.store(documents[middle:])
        return rejected + [Rejected(one.index + middle, one.reason) for one in tail]

    def _open_writer(self) -> sqlite3.Connection:
        """The connection that writes, with file and tables made."""
        self._check_interrupted()
        if self._writer is not None and self._problem() is None:
            return self._writer
        self.close()
        check_links(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
        if sqlite_users.is_suspect(self._present_inode()):
            self._check_alone()
        make_file(self._path)
        writer = self._connect("rwc")
        try:
            self._patiently(lambda: writer.execute("PRAGMA journal_mode = WAL"))
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("PRAGMA wal_autocheckpoint = 0")
            writer.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
            self._patiently(lambda: rewrite_log(writer, self._path))
            self._patiently(lambda: self._make_tables(writer))
            reader = self._connect("ro")
            reader.execute("SELECT 1 FROM document LIMIT 1").fetchone()
        except BaseException:
            writer.close()
            raise
        with self._lock:
            self._writer, self._reader = writer, reader
        self._presence = Presence(self._path)
        self._inode = self._presence.database
        if self._inode is not None:
            sqlite_users.enter(self._inode)
            sqlite_users.trust(self._inode)
        return writer

    def _problem(self) -> str | None:
        """What became of the files that the writer has open; None while all is well."""
        return None if self._presence is None else self._presence.problem()

    def _leave(self, problem: str) -> None:
        """Let go of files to which the path leads no more, and leave alone what is there now."""
        is_whole = False
        with self._lock:
            writer, presence = self._writer, self._presence
        if writer is not None and presence is not None:
            with contextlib.suppress(sqlite3.Error):  # the log alone may be gone
                _, pages, moved = writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                is_whole = pages == moved and presence.is_there()
        if not is_whole:
            self._anew = f"{self.name}: {problem}"
        self._close(in_order=False)  # in order, it would delete a log by its name

    def _checkpoint(self, writer: sqlite3.Connection) -> None:
        """Move the log into the file, now and then."""
        now = time.monotonic()
        if now >= self._checkpoint_at:
            _, pages, moved = writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._checkpoint_at = now + (CHECKPOINT_EVERY if pages < LOG_PAGES else 0)
            if pages == moved and file_size(Path(f"{self._path}-wal")) > WAL_KEPT:
                # A reader was long in its way. There is nothing in it any more that is needed.
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _check_alone(self) -> None:
        """Raise ArchiveUnavailable while somebody else has the file open."""
        inode = self._present_inode()
        if inode is not None and sqlite_users.has_users(inode):
            raise ArchiveUnavailable(
                f"{self.name}: an fsync of it failed, and a page of the console still reads it"
            )
        try:
            with open_in_place(Path(f"{self._path}-shm")) as shared:
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
            try:
                writer.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise

    def _is_ours(self) -> bool:
        """Whether the path still leads to the file that is open."""
        return self._inode is not None and self._present_inode() == self._inode

    def _present_inode(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    # -- reading

    def _read(self, statement: str, arguments: dict[str, Any]) -> tuple[list[Any], bool]:
        """Rows of one statement, as ``read_rows`` gives them.

        On the writer's connection if there is one.
        """
        with self._errors():
            self._check_interrupted()
            if self._problem() is not None or not (self._inode is None or self._is_ours()):
                self.close()  # moved or deleted, perhaps made anew
            self._check_trusted()
            while True:
                if self._is_frozen and self._has_log():
                    self.close()  # a gateway has begun to write
                connection = self._writer or self._reader or self._open_reader()
                rows = self._patiently(lambda: read_rows(connection.execute(statement, arguments)))  # noqa: B023
                if not (self._is_frozen and self._has_log()):
                    return rows

    def _connect_reader(self) -> sqlite3.Connection:
        reader: sqlite3.Connection | None = None
        try:
            reader = opened = self._connect("ro")
            self._patiently(lambda: opened.execute("PRAGMA application_id").fetchone())
        except sqlite3.OperationalError as error:
            if reader is not None:
                reader.close()
            if _code(error) not in _NO_RIGHT:
                raise
            return self._open_frozen()
        return reader

    def _has_log(self) -> bool:
        return Path(f"{self._path}-wal").exists()

    def _open_frozen(self) -> sqlite3.Connection:
        """A reader for who may write neither the file nor beside it, while nobody has it open.

        SQLite makes its shared memory beside the file, and can't without that right. Without a
        write-ahead log all there is is in the file, and nobody changes it: whoever will makes a
        log first.
        """
        if not os.access(self._path, os.R_OK, effective_ids=True):
            raise ArchiveUnavailable(
                f"{self.name}: no permission to read it: ask its owner, or run this as the"
                " gateway's user"
            )
        if self._has_log():
            raise ArchiveUnavailable(
                f"{self.name}: its newest messages are in {self._path}-wal, which can't be read"
                " here: start the gateway, or run this as the gateway's user"
            )
        self._is_frozen = True
        return self._connect("ro&immutable=1")

    def _open_reader(self) -> sqlite3.Connection:
        if not self._path.exists():
            raise self._nothing_yet()
        inode = self._present_inode()
        if inode is not None:  # before it is open: nobody may believe to be alone
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
            version = self._patiently(lambda: self._check_version(reader))
            if version == 0:  # the gateway is making it at this moment
                raise self._nothing_yet()
        except BaseException:
            self.close()
            raise
        return reader

    def _check_trusted(self) -> None:
        """Let the file go, and raise ArchiveUnavailable, while its log is to be read anew."""
        if sqlite_users.is_suspect(self._inode or self._present_inode()):
            self.close()
            raise ArchiveUnavailable(
                f"{self.name}: an fsync of it failed, and it is not opened anew yet; try again"
            )

    def _nothing_yet(self) -> ArchiveUnavailable:
        return ArchiveUnavailable(
            f"no archive at {self._path} yet: it is created when 'habitat serve' starts"
        )

    def _is_suspicious(self, text: str) -> bool:
        # Most are not, and a look for the word is quicker than to decode them.
        return '"suspicious"' in text and "suspicious" in self._document(text)

    def _document(self, text: str) -> Document:
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ArchiveError(f"{self.name}: a stored document can't be read: {error}") from None

    # -- both

    def _connect(self, mode: str) -> sqlite3.Connection:
        check_links(self._path)
        return sqlite3.connect(
            f"file:{quote(os.fspath(self._path))}?mode={mode}",
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

    def _patiently(self, step: Callable[[], _T]) -> _T:
        """Do ``step``, again and again while the file is locked, for ``timeout`` seconds.

        SQLite's own waiting can't be interrupted, so it waits in short slices.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return step()
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY or time.monotonic() > deadline:
                    raise
                self._interrupted.wait(_BUSY_SLICE / 10)  # a deadlock's BUSY comes without waiting
            self._check_interrupted()

    def _let_go(self, error: Exception) -> None:
        """Close the file after an error, and move nothing that may not be on the disk."""
        inode = self._inode or self._present_inode()
        if inode is not None and getattr(error, "sqlite_errorcode", 0) in SYNC_ERRORS:
            sqlite_users.suspect(inode)
        self._close(in_order=False)

    def _errors(self) -> _Errors:
        return _Errors(self)

    def _explain_error(self, error: Exception) -> str:
        if self._interrupted.is_set():
            return f"{self.name}: interrupted, the program is stopping"
        if isinstance(error, OSError):
            return f"{self.name}: {error.strerror or error}: {error.filename or self._path}"
        reason = _REASONS.get(_code(error))
        return f"{self.name}: {reason} ({error})" if reason else f"{self.name}: {error}"


class _Errors:
    """Turns what SQLite and the file system raise into ArchiveUnavailable with one line."""

    def __init__(self, archive: SqliteArchive) -> None:
        self._archive = archive

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (sqlite3.Error, OSError)):
            if _code(error) in _REASONS:  # start afresh: the file may be replaced meanwhile
                self._archive._let_go(error)
            raise ArchiveUnavailable(self._archive._explain_error(error)) from None


def _is_documents_fault(error: sqlite3.Error) -> bool:
    """Whether one document is to blame: a broken constraint, or JSON that only SQLite refuses."""
    malformed = _code(error) == sqlite3.SQLITE_ERROR and "JSON" in str(error)
    return malformed or _code(error) == sqlite3.SQLITE_CONSTRAINT


def _code(error: Exception) -> int:
    """SQLite's primary result code, -1 if there is none."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else code


def _array(entries: Sequence[Entry]) -> str:
    return (b"[" + b",".join([entry.body for entry in entries]) + b"]").decode()


def _start(query: Query) -> tuple[Any, str] | None:
    """The place that the first page starts behind, None for the beginning of the query's times."""
    if query.after is None:
        return None
    inside = query.after[0] >= query.since if query.order == "asc" else query.after[0] < query.until
    return query.after if inside else None


def _path(config: ArchiveConfig) -> str:
    """The path in ``sqlite:PATH``. Raises ConfigError."""
    path = config.uri.partition(":")[2]
    if path.startswith("//") and not path.startswith("///"):
        raise ConfigError("write sqlite:PATH, without // before the path", "archive.uri")
    if not path:
        raise ConfigError("there is no path; write sqlite:PATH", "archive.uri")
    return path
