"""The journal: every accepted message, on disk before its sender hears OK.

One SQLite file in WAL mode holds an append-only table of documents, one durable cursor per sink and
the dead letters. With ``synchronous=FULL`` each commit is fsynced before it returns
(https://www.sqlite.org/pragma.html#pragma_synchronous), so a returned ``write`` survives a power
loss. There is no unique index on the ids, as it would double what a commit writes: the archive
knows each id once, and a window of recently committed ids spares most repeats their write.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from habitat_like.dead_letters import DeadLetters

FORMAT = 1
#: "habl" in ASCII; tells this file from other SQLite files.
APPLICATION_ID = 0x6861626C
#: Ids in one generation of the window of recent ids; two generations are kept.
RECENT_IDS = 16384
#: Rows that one INSERT statement holds, a bound on the prepared statements' memory.
ROWS_PER_STATEMENT = 64
#: Rows that one transaction of ``prune`` deletes, so that no commit waits long behind it.
PRUNE_CHUNK = 1000
#: Bytes that ``probe`` writes at least, so that success means room for more than one message.
PROBE_BYTES = 256 * 1024
#: Bytes in the write-ahead log over which ``checkpoint`` holds up writers so that it starts over.
WAL_LIMIT = 8 * 1024 * 1024
#: Bytes of the log's file that are made at the start and kept when it starts over.
WAL_ROOM = 16 * 1024 * 1024
WAL_KEPT = 64 * 1024 * 1024
#: How long a commit waits for another process (``habitat journal``) that writes, in seconds.
BUSY_TIMEOUT = 5.0

#: SQLite's codes for an fsync that failed (https://www.sqlite.org/rescode.html#ioerr_fsync).
_SYNC_ERRORS = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
_BLOCK = 1 << 20
_MOVE = "INSERT OR REPLACE INTO cursor VALUES (?, ?)"

SCHEMA = f"""
CREATE TABLE message (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, document BLOB NOT NULL);
CREATE TABLE health (id INTEGER PRIMARY KEY CHECK (id = 1), padding BLOB NOT NULL);
CREATE TABLE cursor (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
{DeadLetters.SCHEMA}
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={FORMAT};
"""


class JournalError(Exception):
    """The journal can't do what was asked now; one line that says why."""


class JournalFailed(JournalError):
    """An fsync of the journal's file failed: only a new start can make it whole from its log."""


#: A message for the journal: its id and its document's JSON bytes.
Row = tuple[str, bytes]


class Entry(NamedTuple):
    """A message from the journal: its sequence number and its document's JSON bytes."""

    seq: int
    document: bytes


class Journal:
    """The one object that writes the journal's file.

    Thread-safe. ``path`` is the SQLite file, made if it is missing; ``sync`` is ``full`` (fsync
    before ``write`` returns) or ``normal`` (survives kill -9, not power loss); ``clock`` gives UNIX
    seconds. Raises JournalError if the file can't be used: in use by another gateway, made by a
    newer version, not a journal, or not writable.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sync: Literal["full", "normal"] = "full",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        self._lock_file = _LockFile(self.path)
        # Guards _connection, _marker, the sequence and the recent ids: commits are serial.
        self._writing = threading.Lock()
        # Guards _waiters, which committers only read, and the wait for a larger _last_seq.
        self._grown = threading.Condition()
        self._recent: set[str] = set()
        self._older: set[str] = set()
        self._cursors: dict[str, int] = {}
        self._waiters = 0
        self._refused_bytes = 0
        try:
            self._connection = _connect(self.path, sync)
            _rewrite_log(self._connection, self.path)
            self._keeper = _connect(self.path, sync)
            self._marker = _connect(self.path, "normal")
            self._last_seq = last_seq(self._connection)
            (self._page_size,) = self._connection.execute("PRAGMA page_size").fetchone()
        except (sqlite3.Error, OSError, JournalError) as error:
            self._lock_file.close()
            if isinstance(error, JournalError):
                raise
            raise JournalError(f"journal {self.path}: {error}") from None

    @property
    def last_seq(self) -> int:
        """The sequence number of the newest committed message, 0 if there never was one."""
        return self._last_seq

    @property
    def backlog(self) -> int:
        """How many messages the slowest registered sink has not passed yet."""
        cursors = list(self._cursors.values())
        return self._last_seq - min(cursors) if cursors else 0

    @property
    def cursors(self) -> dict[str, int]:
        """The cursor of each registered sink: the last sequence number that it has passed."""
        return dict(self._cursors)

    def size(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        return sum(_file_size(Path(f"{self.path}{end}")) for end in ("", "-wal"))

    def write(self, rows: Iterable[Row]) -> int:
        """Commit ``rows`` durably in one transaction; returns how many were really written.

        A row whose id was committed a short while ago is left out. Raises JournalError when nothing
        was committed (disk full, read-only, I/O error); the next call tries again.
        """
        with self._writing:
            # Only ids whose commit has returned are in the window: a repeat is answered after that.
            recent, older = self._recent, self._older
            fresh = {
                identifier: document
                for identifier, document in rows
                if identifier not in recent and identifier not in older
            }
            if not fresh:
                return 0
            try:
                self._commit(fresh)
            except JournalError:
                self._refused_bytes = sum(map(len, fresh.values()))
                raise
        self._announce()
        return len(fresh)

    def probe(self) -> None:
        """Commit as much as was refused last, to see if the disk takes it. Raises JournalError."""
        statement = "INSERT OR REPLACE INTO health VALUES (1, zeroblob(?))"
        with self._writing, _errors(self.path):
            self._connection.execute(statement, (max(self._refused_bytes, PROBE_BYTES),))
            self._connection.execute(statement, (0,))

    def advance(self, sink: str, seq: int, rows: Iterable[Row] = ()) -> None:
        """Move ``sink``'s cursor to ``seq``, together with the ``rows`` that it pushed, durably.

        Without rows there is no fsync: a power loss may take the cursor back, and what is behind it
        is given again, which is harmless. Raises JournalError; the cursor is then where it was.
        """
        with self._writing:
            fresh = dict(rows)
            if fresh:
                self._commit(fresh, cursor=(sink, seq))
            else:
                with _errors(self.path):
                    self._marker.execute(_MOVE, (sink, seq))
            self._cursors[sink] = seq
        if fresh:
            self._announce()

    def stored_cursors(self) -> dict[str, int]:
        """Every cursor in the file, also of sinks that are not registered. Raises JournalError."""
        with self._writing, _errors(self.path):
            return dict(self._connection.execute("SELECT sink, seq FROM cursor"))

    def register(self, sink: str) -> int:
        """Take part in backlog and retention; returns the cursor.

        A new sink begins at the oldest message that the journal still holds. Raises JournalError.
        """
        with self._writing, _errors(self.path):
            self._connection.execute(
                "INSERT OR IGNORE INTO cursor SELECT ?, coalesce(min(seq) - 1, ?) FROM message",
                (sink, self._last_seq),
            )
            (seq,) = self._connection.execute(
                "SELECT seq FROM cursor WHERE sink = ?", (sink,)
            ).fetchone()
            self._cursors[sink] = int(seq)
            return int(seq)

    def unregister(self, sink: str) -> None:
        """Stop counting ``sink`` in the backlog. Its cursor stays and holds back ``prune``."""
        with self._writing:
            self._cursors.pop(sink, None)

    def reader(self) -> Reader:
        """A reader with a connection of its own, for one thread. Raises JournalError."""
        with _errors(self.path):
            return Reader(self)

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until there is a message after ``seq``, ``wake`` is called, or ``timeout`` seconds.

        Returns whether there is one.
        """
        with self._grown:
            # First be counted, then look: who commits does these two the other way round.
            self._waiters += 1
            if self._last_seq <= seq:
                self._grown.wait(timeout)
            self._waiters -= 1
            return self._last_seq > seq

    def wake(self) -> None:
        """Let every ``wait`` return."""
        with self._grown:
            self._grown.notify_all()

    def prune(self, retention: float) -> int:
        """Delete messages older than ``retention`` seconds which every sink in the file has passed.

        Returns how many. Without any sink all old ones go. Cursors of sinks that are no longer
        configured count as well: what such a sink has not seen is kept until its cursor is dropped.
        Raises JournalError.
        """
        limit = int(self._clock() - retention)
        deleted = 0
        while True:
            with self._writing, _errors(self.path):
                done = self._connection.execute(
                    "DELETE FROM message WHERE time < ?1 AND seq IN (SELECT seq FROM message WHERE"
                    " seq <= (SELECT coalesce(min(seq), ?2) FROM cursor) ORDER BY seq LIMIT ?3)",
                    (limit, self._last_seq, PRUNE_CHUNK),
                ).rowcount
            deleted += done
            if done < PRUNE_CHUNK:
                return deleted

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, off the path of the commits.

        Called by one thread. A passive checkpoint never blocks a writer, yet the log starts over
        only when all of it is moved, so a large log gets a second, short one while writers wait
        (https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files). A log that starts
        over often is also a fast one: to sync what overwrites a file's blocks takes half as long
        as to sync what makes it grow. Raises JournalError.

        Raises JournalFailed when an fsync failed: the process must then end, and must not close
        the journal. SQLite fsyncs the file once all of the log is moved, after a failure too, but
        the kernel no longer writes what earlier passes moved, and the log would start over. A new
        start moves all of the log again.
        """
        with _errors(self.path), contextlib.suppress(FileNotFoundError):
            _sync(Path(f"{self.path}-wal"))  # where this fails already, nothing is moved yet
        with _errors(self.path, failed=JournalFailed):
            if self._move_log() > WAL_LIMIT:
                with self._writing:
                    self._move_log()

    def _move_log(self) -> int:
        """A passive checkpoint; returns the log's bytes, 0 when all of it is moved."""
        statement = "PRAGMA wal_checkpoint(PASSIVE)"
        _, pages, moved = self._keeper.execute(statement).fetchone()
        return 0 if moved == pages else int(pages) * self._page_size

    def count_dead_letters(self) -> dict[str, int]:
        """How many dead letters each sink has. For one thread, as ``checkpoint``."""
        with _errors(self.path):
            return DeadLetters(self._keeper).count()

    @contextlib.contextmanager
    def dead_letters(self) -> Iterator[DeadLetters]:
        """The dead letters, with the journal locked for this process. Raises JournalError."""
        with self._writing, _errors(self.path):
            yield DeadLetters(self._connection)

    def close(self) -> None:
        """Close the file and let another gateway have it."""
        with self._writing:
            # The last connection to close checkpoints and removes the write-ahead log.
            self._keeper.close()
            self._marker.close()
            self._connection.close()
            self._lock_file.close()
        self.wake()

    def _commit(self, fresh: dict[str, bytes], cursor: tuple[str, int] | None = None) -> None:
        """One transaction; the caller holds ``_writing``."""
        first = self._last_seq + 1
        now = int(self._clock())
        documents = list(fresh.values())
        execute = self._connection.execute
        with _errors(self.path):
            if cursor is None and len(documents) <= ROWS_PER_STATEMENT:
                # A lone statement is its own transaction: one call into SQLite, one release of
                # the interpreter's lock.
                execute(_insert(len(documents)), (first, now, *documents))
            else:
                execute("BEGIN IMMEDIATE")
                try:
                    for at in range(0, len(documents), ROWS_PER_STATEMENT):
                        part = documents[at : at + ROWS_PER_STATEMENT]
                        execute(_insert(len(part)), (first + at, now, *part))
                    if cursor is not None:
                        execute(_MOVE, cursor)
                    execute("COMMIT")
                except BaseException:
                    # Some errors (disk full, I/O) make SQLite roll back by itself.
                    if self._connection.in_transaction:
                        execute("ROLLBACK")
                    raise
        self._last_seq += len(documents)
        self._recent.update(fresh)
        if len(self._recent) > RECENT_IDS:
            self._recent, self._older = set(), self._recent

    def _announce(self) -> None:
        if self._waiters:
            with self._grown:
                self._grown.notify_all()


class Reader:
    """Reads the journal from one thread."""

    def __init__(self, journal: Journal) -> None:
        self._path = journal.path
        self._connection = sqlite3.connect(
            journal.path, isolation_level=None, timeout=BUSY_TIMEOUT, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=1")

    def read(self, after: int, limit: int) -> list[Entry]:
        """Up to ``limit`` messages with a sequence number over ``after``. Raises JournalError."""
        with _errors(self._path):
            rows = self._connection.execute(
                "SELECT seq, document FROM message WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def open_file(path: str | Path) -> sqlite3.Connection:
    """Open an existing journal beside a running gateway, for ``habitat journal``.

    Raises JournalError if there is none or it is of a format that this version can't read.
    """
    path = Path(path)
    if not path.exists():
        raise JournalError(f"no journal at {path}; start the gateway once, or check journal.path")
    with _errors(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT)
        try:
            if not _check_format(connection, path):
                raise JournalError(f"{path} is empty, no journal; start the gateway once")
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def _errors(path: Path, failed: type[JournalError] = JournalError) -> Iterator[None]:
    """Turn SQLite's errors into JournalError, and those of an fsync into ``failed``."""
    try:
        yield
    except sqlite3.Error as error:
        is_sync = getattr(error, "sqlite_errorcode", 0) in _SYNC_ERRORS
        raise (failed if is_sync else JournalError)(f"journal {path}: {error}") from error
    except OSError as error:
        raise JournalError(f"journal {path}: {error.strerror}") from error


def _rewrite_log(connection: sqlite3.Connection, path: Path) -> None:
    """Write the write-ahead log anew, byte for byte, and fsync it. Raises OSError.

    After a failed fsync the kernel takes the pages for clean, so a log that is read well here may
    not be on the disk, and no later fsync would bring it there. What is committed from now on must
    not build on that.
    """
    connection.execute("BEGIN IMMEDIATE")  # keeps 'habitat journal' from writing to it meanwhile
    try:
        with contextlib.suppress(FileNotFoundError), Path(f"{path}-wal").open("r+b") as log:
            while block := log.read(_BLOCK):
                log.seek(-len(block), os.SEEK_CUR)
                log.write(block)
            # Room for what comes: an fsync of what makes the file grow takes twice as long. Zeros
            # are no frames of a log (https://www.sqlite.org/fileformat2.html#walformat).
            if shutil.disk_usage(path.parent).free > 16 * WAL_ROOM:
                log.write(bytes(max(WAL_ROOM - log.tell(), 0)))
            log.flush()
            os.fsync(log.fileno())
    finally:
        connection.execute("ROLLBACK")


def _connect(path: Path, sync: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        timeout=BUSY_TIMEOUT,
        cached_statements=2 * ROWS_PER_STATEMENT + 32,
        check_same_thread=False,
    )
    try:
        if not _check_format(connection, path):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(f"BEGIN EXCLUSIVE; {SCHEMA} COMMIT;")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if sync == 'full' else 'NORMAL'}")
        # Checkpoints are made by ``checkpoint``, not in the middle of somebody's commit.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={WAL_KEPT}")
        # Fails here, not at the first message, where the file can't be written.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        _sync(path.parent)  # the files' names, not only what is in them (see fsync(2))
    except BaseException:
        connection.close()
        raise
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file holds a journal (False: it is empty). Raises JournalError."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application and not version:
        return False
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is an SQLite file but no journal; choose another journal.path")
    if version > FORMAT:
        raise JournalError(
            f"journal {path} has format {version}, made by a newer version; this one reads up to"
            f" {FORMAT}: upgrade habitat_like, or choose another journal.path"
        )
    return True


def last_seq(connection: sqlite3.Connection) -> int:
    """The sequence number of the newest message that there ever was, 0 without one."""
    # Messages that were pruned are at or below every cursor, so no number is given twice.
    (seq,) = connection.execute(
        "SELECT max(coalesce((SELECT max(seq) FROM message), 0),"
        " coalesce((SELECT max(seq) FROM cursor), 0))"
    ).fetchone()
    return int(seq)


class _LockFile:
    """An advisory lock that ends with the process, so that two gateways never share a journal."""

    def __init__(self, path: Path) -> None:
        name = f"{path}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
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


_STATEMENTS: dict[int, str] = {}


def _insert(count: int) -> str:
    """The INSERT of ``count`` documents; ?1 is the first sequence number, ?2 the time."""
    sql = _STATEMENTS.get(count)
    if sql is None:
        values = ",".join(f"(?1+{at},?2,?{at + 3})" for at in range(count))
        sql = _STATEMENTS[count] = f"INSERT INTO message VALUES {values}"  # noqa: S608
    return sql


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sync(path: Path) -> None:
    """Bring a file or directory to the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
