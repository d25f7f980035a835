"""Room: how much the journal holds, what is deleted to make room, and what to do on a full disk.

On a full disk a checkpoint may need room to move the log into the file, and a prune room in the
log. So a reserve is kept. It is released when the disk is full, and no message is stored until
it is back, or until the file itself has as many bytes free.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from habitat_like.journal import pruning
from habitat_like.journal.file import (
    JournalDiskFull,
    LockFile,
    disk_full,
    errors,
    reserve_size,
)

#: Bytes of new messages after which the tally is stored: a start counts what came after it.
TALLY_EVERY = 64 * 1024 * 1024


class Room:
    """The room of the journal at ``path``.

    ``connection`` writes, guarded by ``writing``; ``keeper`` is the connection of the housekeeping
    thread, which calls ``prune_slice`` and ``keep_reserve``. ``clock`` gives UNIX seconds,
    ``position`` the numbers of the newest message and of the last one counted (None: nobody
    counts). Raises sqlite3.Error.
    """

    def __init__(
        self,
        path: Path,
        lock_file: LockFile,
        connection: sqlite3.Connection,
        keeper: sqlite3.Connection,
        writing: threading.Lock,
        clock: Callable[[], float],
        position: Callable[[], tuple[int, int | None]],
    ) -> None:
        self._path = path
        self._lock_file = lock_file
        self._connection = connection
        self._keeper = keeper
        self._writing = writing
        self._clock = clock
        self._position = position
        #: The bytes of all documents in the file. This and all below change with ``writing`` held.
        self.bytes = pruning.load_tally(connection)
        #: Why nothing is stored, in words: the disk is full.
        self.full: str | None = None
        #: On a full disk, how many bytes the file has room for; None while the disk has room.
        self.allowance: int | None = None
        self._tallied = self.bytes
        self._ages = pruning.Ages()
        self._marks = pruning.Marks()
        self._marks.set(position()[0], clock(), 0)
        self._reserve = reserve_size(path)
        if not lock_file.hold_reserve(self._reserve):
            self.full = disk_full(path)

    @property
    def is_tight(self) -> bool:
        """Whether the disk is full, so that little can be done between checkpoints."""
        return self.full is not None or self.allowance is not None

    def disk(self) -> tuple[int, int] | None:
        """The bytes free for us on the disk, and its size; None if unknown."""
        try:
            usage = shutil.disk_usage(self._path.parent)
        except OSError:
            return None
        return usage.free, usage.total

    def check(self, size: int) -> None:
        """Raise JournalDiskFull if ``size`` more bytes are too many now. With ``writing``."""
        if self.full is None and self.allowance is not None:
            self.allowance -= size
            if self.allowance < 0:
                self.full = disk_full(self._path)
        if self.full is not None:
            raise JournalDiskFull(self.full)

    @contextlib.contextmanager
    def noting_full(self) -> Iterator[None]:
        """Note where the disk turns out to be full."""
        try:
            yield
        except JournalDiskFull as error:
            self.full = str(error)
            raise

    def store_tally(self) -> None:
        """Note the bytes in the file for the next start; with ``writing``. Raises sqlite3.Error."""
        pruning.store_tally(self._connection, self._position()[0], self.bytes)
        self._tallied = self.bytes

    def prune_slice(self, retention: float, max_bytes: int | None) -> int:
        """See ``Journal.prune_slice``."""
        with errors(self._path):
            last = self._expired(retention)
            enough = pruning.SLICE_BYTES
            if (over := self._over(max_bytes)) > 0:
                last, enough = self._prunable(self._keeper, urgent=self.is_tight), over
            if self.is_tight:
                enough = min(enough, self._reserve // 8)  # it first takes as much of the log
            if last and (done := self._drop(last, enough, urgent=self.is_tight)):
                return done
            if self.bytes - self._tallied >= TALLY_EVERY:
                with self._writing:
                    self.store_tally()
        return 0

    def make(self, size: int, max_bytes: int) -> None:
        """See ``Journal.make_room``."""
        while self.full is None and (short := self.bytes + size - max_bytes) > 0:
            if not self._drop(self._position()[0], short, urgent=True):
                return

    def keep_reserve(self) -> None:
        """Release the reserve on a full disk; allocate it again when there is room.

        Raises JournalError.
        """
        if not self.is_tight:
            return
        with errors(self._path):
            free = pruning.free_bytes(self._keeper)
        with self._writing:
            if self._lock_file.has_reserve:
                self._lock_file.release_reserve()  # for a checkpoint and a prune, which come first
                return
            usage = self.disk()
            if usage is not None and usage[0] >= 2 * self._reserve:
                self._lock_file.hold_reserve(self._reserve)
            if self._lock_file.has_reserve:
                self.full = self.allowance = None
            elif free >= self._reserve:
                # The file need not grow for that much. Archived messages make more such room.
                self.full, self.allowance = None, free - self._reserve // 2
            else:
                self.full, self.allowance = disk_full(self._path), None

    def _over(self, max_bytes: int | None) -> int:
        """Bytes to delete early, if they are archived."""
        # Below the limit, so that an urgent message finds room.
        over = 0 if max_bytes is None else self.bytes - max_bytes + max_bytes // 16
        if self.is_tight:
            over = max(over, 2 * self._reserve - pruning.free_bytes(self._keeper))
        return over

    def _expired(self, retention: float) -> int:
        """The message up to which all came in over ``retention`` seconds ago; 0 if none did."""
        now = self._clock()
        last = self._prunable(self._keeper)
        if seq := self._ages.old_up_to(self._keeper, last, int(now - retention), now):
            return seq
        return min(self._marks.set(self._position()[0], now, retention), last)

    def _prunable(self, connection: sqlite3.Connection, *, urgent: bool = False) -> int:
        """The last message that nobody needs any more; if urgent, counted or not."""
        last_seq, counted = self._position()
        last = pruning.passed(connection, last_seq)
        return last if counted is None or urgent else min(last, counted)

    def _drop(self, last: int, enough: int, *, urgent: bool) -> int:
        """Delete a slice of the oldest up to ``last``, and record the rest; returns how many."""
        execute = self._connection.execute
        with self._writing, self.noting_full(), errors(self._path):
            last = min(last, self._prunable(self._connection, urgent=urgent))
            execute("BEGIN IMMEDIATE")
            try:
                dropped = pruning.drop_oldest(self._connection, last, enough)
                size = self.bytes - dropped.size
                if dropped.messages:
                    pruning.store_tally(self._connection, self._position()[0], size)
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise
            if dropped.messages:
                self.bytes = self._tallied = size
        return dropped.messages
