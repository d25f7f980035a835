"""The journal: every accepted message, on disk before its sender hears OK.

One SQLite file in WAL mode holds an append-only table of documents, one durable cursor per sink and
the dead letters. With ``synchronous=FULL`` each commit is fsynced before it returns
(https://www.sqlite.org/pragma.html#pragma_synchronous), so a returned ``write`` survives a power
loss. The ids have no unique index, as it would double what a commit writes: the archive stores
each id once, and a window of recently committed ids avoids writing most repeats.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from habitat_like.disk import file_size, leave_open, rewrite_log, sync
from habitat_like.journal.custody import Custody
from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.journal.file import (
    JournalDiskFull,
    JournalError,
    JournalFailed,
    JournalLost,
    LockFile,
    connect,
    errors,
    last_seq,
)
from habitat_like.journal.reader import JournalReader
from habitat_like.journal.rescue import take_in
from habitat_like.journal.room import Room

#: Ids in one generation of the window of recent ids; two generations are kept.
RECENT_IDS = 16384
#: Rows that one INSERT statement holds, a bound on the prepared statements' memory.
ROWS_PER_STATEMENT = 64
#: Minimum bytes that ``probe`` writes, so that success means room for more than one message.
PROBE_BYTES = 256 * 1024
#: Bytes of the write-ahead log's file that are allocated at start.
WAL_ROOM = 16 * 1024 * 1024
#: Size of the write-ahead log, in bytes, above which ``checkpoint`` blocks writers to restart it.
WAL_LIMIT = 8 * 1024 * 1024

#: A message for the journal: its id and its document's JSON bytes.
Row = tuple[str, bytes]


class Journal:
    """The one object that writes the journal's file.

    Thread-safe. ``path`` is the SQLite file, created if missing; ``sync`` is ``full`` (fsync
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
        #: The last message that the statistics have counted: ``prune`` keeps later ones. None if
        #: nobody counts.
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
            self._custody = Custody(self.path, self._lock_file)
            self._room = Room(
                self.path,
                self._lock_file,
                self._connection,
                self._keeper,
                self._writing,
                self._clock,
                lambda: (self._last_seq, self.counted),
            )
        except (sqlite3.Error, OSError, JournalError) as error:
            self._lock_file.close()
            if isinstance(error, JournalError):
                raise
            raise JournalError(f"journal {self.path}: {error}") from None
        take_in(self.path, self.write)

    @property
    def problem(self) -> str | None:
        """Why no message can be stored until someone acts, None while all is well."""
        return self._custody.lost or self._room.full

    @property
    def is_lost(self) -> bool:
        """Whether the path no longer leads to the open files."""
        return self._custody.lost is not None

    @property
    def is_tight(self) -> bool:
        """Whether the disk is full, so that each prune slice needs a checkpoint first."""
        return self._room.is_tight

    @property
    def message_bytes(self) -> int:
        """The bytes of all documents in the journal."""
        return self._room.bytes

    @property
    def last_seq(self) -> int:
        """The sequence number of the newest committed message ever, 0 without one."""
        return self._last_seq

    @property
    def backlog(self) -> int:
        """How many messages the slowest registered sink has not passed yet."""
        cursors = list(self._cursors.values())
        return self._last_seq - min(cursors) if cursors else 0

    @property
    def cursors(self) -> dict[str, int]:
        """The cursor of each registered sink: the last sequence number it has passed."""
        return dict(self._cursors)

    def size(self) -> int:
        """Bytes on disk, including the write-ahead log."""
        return sum(file_size(Path(f"{self.path}{end}")) for end in ("", "-wal"))

    def disk(self) -> tuple[int, int] | None:
        """The bytes free for us on the journal's disk, and its size; None if unknown."""
        return self._room.disk()

    def write(self, rows: Iterable[Row]) -> int:
        """Commit ``rows`` durably in one transaction; returns how many were actually written.

        A row whose id was committed recently is skipped. Raises JournalError when nothing was
        committed (disk full, read-only, I/O error); the next call tries again.
        """
        with self._writing:
            fresh = self._fresh(rows)
            if not fresh:
                return 0
            if time.monotonic() >= self._custody.look_at:
                self._custody.look()
            try:
                self._commit(fresh)
            except JournalError:
                self._refused_bytes = sum(map(len, fresh.values()))
                raise
        self._announce()
        return len(fresh)

    def probe(self) -> None:
        """Commit as much as was last refused, to see if the disk takes it. Raises JournalError."""
        statement = "INSERT OR REPLACE INTO health VALUES (1, zeroblob(?))"
        with self._writing, self._room.noting_full(), errors(self.path):
            self._check(0)
            self._connection.execute(statement, (max(self._refused_bytes, PROBE_BYTES),))
            self._connection.execute(statement, (0,))

    def advance(self, sink: str, seq: int, rows: Iterable[Row] = ()) -> None:
        """Move ``sink``'s cursor to ``seq``, together with the ``rows`` it pushed, durably.

        A row whose id was committed recently is skipped, as in ``write``.

        Losing a cursor is harmless, but it is fsynced anyway: a commit that is not on disk when a
        later fsync fails would never get there, and later commits could not be read. Raises
        JournalError; the cursor then stays where it was.
        """
        with self._writing:
            fresh = self._fresh(rows)
            self._commit(fresh, cursor=(sink, seq))
            self._cursors[sink] = seq
        if fresh:
            self._announce()

    def update(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        """Run SQL ``statements``, each with its parameters, in one durable transaction.

        Commits wait meanwhile, so keep them short. Raises JournalError; then nothing has changed.
        """
        execute = self._connection.execute
        with self._writing, self._room.noting_full(), errors(self.path):
            self._check_present()
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
        """Every cursor in the file, including unregistered sinks'. Raises JournalError."""
        with self._writing, errors(self.path):
            return dict(self._connection.execute("SELECT sink, seq FROM cursor"))

    def register(self, sink: str) -> int:
        """Count ``sink`` in backlog and retention; returns its cursor.

        A new sink starts at the oldest message the journal still holds. Raises JournalError.
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

    def reader(self) -> JournalReader:
        """A reader with its own connection, for one thread. Raises JournalError."""
        self._custody.look()
        self._check_present()
        with errors(self.path):
            return JournalReader(self.path)

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until there is a message after ``seq``, ``wake`` is called, or ``timeout`` seconds.

        Returns whether there is one.
        """
        with self._grown:
            # Register as a waiter, then check: committers do the two in reverse order.
            self._waiters += 1
            if self._last_seq <= seq:
                self._grown.wait(timeout)
            self._waiters -= 1
            return self._last_seq > seq

    def wake(self) -> None:
        """Make every ``wait`` return."""
        with self._grown:
            self._grown.notify_all()

    def prune(self, retention: float, max_bytes: int | None = None) -> int:
        """Run ``prune_slice`` until nothing is left; returns how many messages it deleted.

        Raises JournalError.
        """
        deleted = 0
        while done := self.prune_slice(retention, max_bytes):
            deleted += done
        return deleted

    def prune_slice(self, retention: float, max_bytes: int | None = None) -> int:
        """Delete a slice of what came in over ``retention`` seconds ago, or exceeds ``max_bytes``.

        Deletes only what is ``counted`` and what every sink in the file has passed; with no sinks,
        everything old. Cursors of sinks no longer configured count too: what such a sink has not
        seen is kept until its cursor is dropped. Near ``max_bytes`` the oldest go early, and on a
        full disk as many as make room in the file, counted or not. Returns how many were deleted;
        0 when nothing is left to do. For one thread, like ``checkpoint``. Raises JournalError.
        """
        # Lost files must stay complete for whoever looks into them later.
        return 0 if self.is_lost else self._room.prune_slice(retention, max_bytes)

    def make_room(self, size: int, max_bytes: int) -> None:
        """Delete archived messages until ``size`` more bytes fit within ``max_bytes``.

        Counted or not. There may be too many still waiting. Raises JournalError.
        """
        if not self.is_lost:
            self._room.make(size, max_bytes)

    def rewind(self, sink: str, messages: int) -> int:
        """Move ``sink``'s cursor back over what the journal still holds, at most ``messages``.

        Returns the cursor. Raises JournalError.
        """
        with self._writing, errors(self.path):
            (first,) = self._connection.execute(
                "SELECT coalesce(min(seq), ?) FROM message", (self._last_seq + 1,)
            ).fetchone()
            seq = min(self._cursors[sink], max(int(first) - 1, self._last_seq - messages))
            self._commit({}, cursor=(sink, seq))
            self._cursors[sink] = seq
            return seq

    def look(self) -> str | None:
        """Check whether the path still leads to the open files; returns ``problem``.

        If not, nothing is stored until they are back. Sinks continue with what is there.
        """
        self._custody.look()
        return self.problem

    def keep_files(self, between: Callable[[], None]) -> None:
        """Save what waits in lost files to a new file alongside; delete it when they are back.

        ``between`` is called periodically in long operations. For one thread, like ``checkpoint``.
        Raises JournalError; the next call tries again.
        """
        if self._custody.is_overwritten:
            with self._writing:
                self._custody.keep(self._source, between)
        else:
            self._custody.keep(self._source, between)

    def keep_reserve(self) -> None:
        """Release the reserve on a full disk, allocate it again when there is room.

        For one thread, before its ``checkpoint``. Raises JournalError.
        """
        self._room.keep_reserve()

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, off the path of the commits.

        Called by one thread. A passive checkpoint never blocks a writer, but the log restarts only
        once all of it is moved, so a large log gets a second, short checkpoint while writers wait
        (https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files). Restarting often
        also makes the log faster: syncing overwritten blocks takes half as long as syncing a
        growing file. Raises JournalError.

        Raises JournalFailed when an fsync failed: the process must then end without closing the
        journal. SQLite fsyncs the file once all of the log is moved, even after a failure, but
        the kernel no longer writes what earlier passes moved, and the log would restart. The next
        start moves all of the log again.
        """
        if self._custody.is_overwritten:
            return  # what is there now must stay as it is
        with errors(self.path), contextlib.suppress(FileNotFoundError):
            sync(Path(f"{self.path}-wal"))  # if this fails, nothing has been moved yet
        try:
            with errors(self.path, failed=JournalFailed):
                if self._move_log() > WAL_LIMIT:
                    with self._writing:
                        self._move_log()
            self._custody.look()  # it knows the file's size by that
        except JournalDiskFull as error:
            with self._writing:
                self._room.full = str(error)
            raise

    def _move_log(self) -> int:
        """A passive checkpoint; returns the log's size in bytes when it began.

        Commits made meanwhile aren't included, and keep the log from restarting.
        """
        statement = "PRAGMA wal_checkpoint(PASSIVE)"
        _, pages, _ = self._keeper.execute(statement).fetchone()
        return int(pages * self._page_size)

    def count_dead_letters(self) -> dict[str, int]:
        """How many dead letters each sink has. For one thread, like ``checkpoint``."""
        with errors(self.path):
            return DeadLetters(self._keeper).count()

    @contextlib.contextmanager
    def dead_letters(self) -> Iterator[DeadLetters]:
        """The dead letters, with the journal locked for this process. Raises JournalError."""
        with self._writing, errors(self.path):
            yield DeadLetters(self._connection)

    def close(self) -> None:
        """Close the file and release it to other gateways."""
        self._custody.look()
        with self._writing:
            if self.is_lost:
                if not self._custody.is_overwritten:
                    with contextlib.suppress(sqlite3.Error):
                        self._move_log()  # perhaps only the log is lost
                self._custody.close(self._source)
                leave_open((self._keeper, self._connection))
            else:
                with contextlib.suppress(sqlite3.Error):  # a full disk; the next start counts
                    self._room.store_tally()
                # The last connection to close checkpoints and removes the write-ahead log.
                self._keeper.close()
                self._connection.close()
                self._custody.close(self._keeper)
        self.wake()

    @property
    def _source(self) -> sqlite3.Connection:
        """What to save from; the writing one knows more than an overwritten file."""
        return self._connection if self._custody.is_overwritten else self._keeper

    def _check_present(self) -> None:
        if self._custody.lost is not None:
            raise JournalLost(self._custody.lost)

    def _check(self, size: int) -> None:
        """Raise JournalError while ``size`` more bytes can't be stored; holding ``_writing``."""
        self._check_present()
        self._room.check(size)

    def _fresh(self, rows: Iterable[Row]) -> dict[str, bytes]:
        """``rows`` without those committed recently; the caller holds ``_writing``."""
        # The window only has ids whose commit has returned: a repeat is answered after that.
        recent, older = self._recent, self._older
        return {
            identifier: document
            for identifier, document in rows
            if identifier not in recent and identifier not in older
        }

    def _commit(self, fresh: dict[str, bytes], cursor: tuple[str, int] | None = None) -> None:
        """One transaction; the caller holds ``_writing``."""
        first = self._last_seq + 1
        now = int(self._clock())
        documents = list(fresh.values())
        execute = self._connection.execute
        size = sum(map(len, documents))
        if cursor is None:
            self._check(size)
        try:
            with errors(self.path):
                if cursor is None and len(documents) <= ROWS_PER_STATEMENT:
                    # A lone statement is its own transaction: one call into SQLite, one release
                    # of the interpreter's lock.
                    execute(_insert(len(documents)), (first, now, *documents))
                else:
                    self._commit_many(first, now, documents, cursor)
        except JournalDiskFull as error:
            self._room.full = str(error)
            raise
        self._last_seq += len(documents)
        self._room.bytes += size
        self._recent.update(fresh)
        if len(self._recent) > RECENT_IDS:
            self._recent, self._older = set(), self._recent

    def _commit_many(
        self, first: int, now: int, documents: list[bytes], cursor: tuple[str, int] | None
    ) -> None:
        """Several statements in one transaction. Raises sqlite3.Error."""
        execute = self._connection.execute
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

    def _announce(self) -> None:
        if self._waiters:
            with self._grown:
                self._grown.notify_all()


_STATEMENTS: dict[int, str] = {}


def _insert(count: int) -> str:
    """The INSERT of ``count`` documents; ?1 is the first sequence number, ?2 the time."""
    sql = _STATEMENTS.get(count)
    if sql is None:
        values = ",".join(f"(?1+{at},?2,?{at + 3})" for at in range(count))
        sql = _STATEMENTS[count] = f"INSERT INTO message VALUES {values}"  # noqa: S608
    return sql
