"""The journal: every accepted message, on disk before its sender hears OK.

One SQLite file in WAL mode holds an append-only table of documents, one durable cursor per sink and
the dead letters. With ``synchronous=FULL`` each commit is fsynced before it returns
(https://www.sqlite.org/pragma.html#pragma_synchronous), so a returned ``write`` survives a power
loss. There is no unique index on the ids, as it would double what a commit writes: the archive
knows each id once, and a window of recently committed ids spares most repeats their write.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from habitat_like.disk import rewrite_log, sync
from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.journal.file import (
    BUSY_TIMEOUT,
    JournalError,
    JournalFailed,
    LockFile,
    connect,
    errors,
    file_size,
    last_seq,
)

#: Ids in one generation of the window of recent ids; two generations are kept.
RECENT_IDS = 16384
#: Rows that one INSERT statement holds, a bound on the prepared statements' memory.
ROWS_PER_STATEMENT = 64
#: Rows that one transaction of ``prune`` deletes, so that no commit waits long behind it.
PRUNE_CHUNK = 1000
#: Bytes that ``probe`` writes at least, so that success means room for more than one message.
PROBE_BYTES = 256 * 1024
#: Bytes of the write-ahead log's file that are made at the start.
WAL_ROOM = 16 * 1024 * 1024
#: Bytes in the write-ahead log over which ``checkpoint`` holds up writers so that it starts over.
WAL_LIMIT = 8 * 1024 * 1024
#: Bytes over which ``read_timed`` leaves out a document's data.
LARGE = 64 * 1024

#: A message for the journal: its id and its document's JSON bytes.
Row = tuple[str, bytes]


class Entry(NamedTuple):
    """A message from the journal: its sequence number and its document's JSON bytes."""

    seq: int
    document: bytes


class TimedEntry(NamedTuple):
    """A message from the journal with the time it came in, in UNIX seconds."""

    seq: int
    time: int
    document: bytes


class Joined(NamedTuple):
    """Messages from the journal: the last one's number, their times, their documents as JSON array.

    What is no JSON makes the array none either.
    """

    seq: int
    times: list[int]
    documents: bytes


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
        #: The last message that the statistics have counted: ``prune`` leaves what is after it.
        #: None where nobody counts.
        self.counted: int | None = None
        self._clock = clock
        self._lock_file = LockFile(self.path)
        # Guards the writing connection, the sequence and the recent ids: commits are serial.
        self._writing = threading.Lock()
        # Guards _waiters, which committers only read, and the wait for a larger _last_seq.
        self._grown = threading.Condition()
        self._recent: set[str] = set()
        self._older: set[str] = set()
        self._cursors: dict[str, int] = {}
        self._waiters = 0
        self._refused_bytes = 0
        try:
            self._connection = connect(self.path, sync, 2 * ROWS_PER_STATEMENT + 32)
            rewrite_log(self._connection, self.path, WAL_ROOM)
            self._keeper = connect(self.path, sync, 2 * ROWS_PER_STATEMENT + 32)
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
        return sum(file_size(Path(f"{self.path}{end}")) for end in ("", "-wal"))

    def disk(self) -> tuple[int, int] | None:
        """The bytes that are free for us on the journal's disk, and its size; None if unknown."""
        try:
            usage = shutil.disk_usage(self.path.parent)
        except OSError:
            return None
        return usage.free, usage.total

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
        with self._writing, errors(self.path):
            self._connection.execute(statement, (max(self._refused_bytes, PROBE_BYTES),))
            self._connection.execute(statement, (0,))

    def advance(self, sink: str, seq: int, rows: Iterable[Row] = ()) -> None:
        """Move ``sink``'s cursor to ``seq``, together with the ``rows`` that it pushed, durably.

        A lost cursor would do no harm, and yet there is an fsync: a commit that is not on the disk
        when a later one's fsync fails would not get there any more, and what is committed after it
        could not be read. Raises JournalError; the cursor is then where it was.
        """
        with self._writing:
            fresh = dict(rows)
            self._commit(fresh, cursor=(sink, seq))
            self._cursors[sink] = seq
        if fresh:
            self._announce()

    def update(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        """Run SQL ``statements``, each with its parameters, in one durable transaction.

        Commits wait meanwhile, so they must be short. Raises JournalError; nothing is changed then.
        """
        execute = self._connection.execute
        with self._writing, errors(self.path):
            execute("BEGIN IMMEDIATE")
            try:
                for statement, parameters in statements:
                    execute(statement, parameters)
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise

    def stored_cursors(self) -> dict[str, int]:
        """Every cursor in the file, also of sinks that are not registered. Raises JournalError."""
        with self._writing, errors(self.path):
            return dict(self._connection.execute("SELECT sink, seq FROM cursor"))

    def register(self, sink: str) -> int:
        """Take part in backlog and retention; returns the cursor.

        A new sink begins at the oldest message that the journal still holds. Raises JournalError.
        """
        with self._writing, errors(self.path):
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
        with errors(self.path):
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

        Those that are not ``counted`` yet stay as well. Returns how many. Without any sink all old
        ones go. Cursors of sinks that are no longer configured count as well: what such a sink has
        not seen is kept until its cursor is dropped.
        Raises JournalError.
        """
        limit = int(self._clock() - retention)
        counted = self.counted
        deleted = 0
        while True:
            with self._writing, errors(self.path):
                done = self._connection.execute(
                    "DELETE FROM message WHERE time < ?1 AND seq IN (SELECT seq FROM message WHERE"
                    " seq <= (SELECT min(coalesce(min(seq), ?2), ?2) FROM cursor)"
                    " ORDER BY seq LIMIT ?3)",
                    (limit, self._last_seq if counted is None else counted, PRUNE_CHUNK),
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
        with errors(self.path), contextlib.suppress(FileNotFoundError):
            sync(Path(f"{self.path}-wal"))  # where this fails already, nothing is moved yet
        with errors(self.path, failed=JournalFailed):
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
        with errors(self.path):
            return DeadLetters(self._keeper).count()

    @contextlib.contextmanager
    def dead_letters(self) -> Iterator[DeadLetters]:
        """The dead letters, with the journal locked for this process. Raises JournalError."""
        with self._writing, errors(self.path):
            yield DeadLetters(self._connection)

    def close(self) -> None:
        """Close the file and let another gateway have it."""
        with self._writing:
            # The last connection to close checkpoints and removes the write-ahead log.
            self._keeper.close()
            self._connection.close()
            self._lock_file.close()
        self.wake()

    def _commit(self, fresh: dict[str, bytes], cursor: tuple[str, int] | None = None) -> None:
        """One transaction; the caller holds ``_writing``."""
        first = self._last_seq + 1
        now = int(self._clock())
        documents = list(fresh.values())
        execute = self._connection.execute
        with errors(self.path):
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
                        execute("INSERT OR REPLACE INTO cursor VALUES (?, ?)", cursor)
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
        with errors(self._path):
            rows = self._connection.execute(
                "SELECT seq, document FROM message WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def read_timed(self, after: int, limit: int) -> list[TimedEntry]:
        """As ``read``, with the time each came in; large documents without their data.

        Raises JournalError.
        """
        with errors(self._path):
            rows = self._connection.execute(_TIMED, (after, limit)).fetchall()
        return [TimedEntry(*row) for row in rows]

    def read_joined(self, after: int, limit: int) -> Joined | None:
        """What ``read_timed`` reads in one piece: one release of the interpreter's lock, not many.

        None where there is nothing. Raises JournalError.
        """
        with errors(self._path):
            last, times, documents = self._connection.execute(_JOINED, (after, limit)).fetchone()
        return None if last is None else Joined(last, [*map(int, times.split(","))], documents)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


# The data is a document's last but one key (Message.document); what is before it is short.
_HEAD = """substr(document, 1, instr(substr(document, 1, 1024), CAST(',"data":' AS BLOB)) - 1)"""
_TIMED = f"""
SELECT seq, time, iif(length(document) > {LARGE}, CAST({_HEAD} || '}}' AS BLOB), document) AS known
FROM message WHERE seq > ? ORDER BY seq LIMIT ?
"""  # noqa: S608
_JOINED = f"""
SELECT max(seq), group_concat(time), CAST('[' || group_concat(CAST(known AS TEXT)) || ']' AS BLOB)
FROM ({_TIMED})
"""  # noqa: S608

_STATEMENTS: dict[int, str] = {}


def _insert(count: int) -> str:
    """The INSERT of ``count`` documents; ?1 is the first sequence number, ?2 the time."""
    sql = _STATEMENTS.get(count)
    if sql is None:
        values = ",".join(f"(?1+{at},?2,?{at + 3})" for at in range(count))
        sql = _STATEMENTS[count] = f"INSERT INTO message VALUES {values}"  # noqa: S608
    return sql
