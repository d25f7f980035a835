"""Custody: the journal's files and its lock, watched over while they are open.

A deleted file survives for whoever has it open, but everything written to it is lost on close.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from habitat_like.disk import Presence, identity
from habitat_like.journal.file import JournalError, LockFile
from habitat_like.journal.rescue import Rescue

log = logging.getLogger(__name__)

#: Seconds between checks that the path still leads to the open files.
LOOK_EVERY = 0.5


class Custody:
    """Watches over the files of the journal at ``path``, and its lock, while they are open.

    Every method but ``keep`` and ``close`` is thread-safe.
    """

    def __init__(self, path: Path, lock_file: LockFile) -> None:
        self._path = path
        self._presence = Presence(path)
        #: What happened to the files, in words, and nothing is stored; None while all is well.
        self.lost: str | None = None
        #: Monotonic time of the next check that a commit must make.
        self.look_at = 0.0
        # Guards the above, and _locks: all locks held.
        self._looking = threading.Lock()
        self._locks = [lock_file]
        self._rescue = Rescue(path)

    def look(self) -> None:
        """Check whether the path still leads to the open files, and update ``lost``."""
        with self._looking:
            self.look_at = time.monotonic() + LOOK_EVERY
            problem = self._presence.problem()
            locked_out = self._lock_again()
            problem = problem or locked_out
            if problem is None:
                self.lost = None
            elif self.lost is None:
                advice = "" if self.is_overwritten else "put it back, or "
                self.lost = (
                    f"journal {self._path}: {problem} while the gateway runs: {advice}restart the"
                    " gateway"
                )

    @property
    def is_overwritten(self) -> bool:
        """Whether the file has another content than the one that was opened."""
        return self._presence.is_overwritten

    def _lock_again(self) -> str | None:
        """Hold the lock where a starting gateway looks for it; returns what prevents that."""
        file = identity(f"{self._path}.lock")
        if file in [lock.identity for lock in self._locks] or not self._path.parent.exists():
            return None
        try:
            self._locks.append(LockFile(self._path))
        except JournalError as error:
            return f"its lock was deleted ({error})"
        log.warning("the journal's lock is created again", extra={"journal": str(self._path)})
        return None

    def keep(self, source: sqlite3.Connection, between: Callable[[], None]) -> None:
        """Save what waits in lost files; delete the copy when they are back.

        ``source`` is the open journal; ``between`` is called periodically in long operations.
        Raises JournalError; the next call tries again.
        """
        if self.lost is None:
            self._rescue.discard()
        elif not self._rescue.is_made:
            self._save(source, between)
            self._presence.drop_log()

    def close(self, source: sqlite3.Connection) -> None:
        """Save everything that waits in lost files, and release the locks."""
        try:
            self.keep(source, lambda: None)
            if self.lost is not None:
                self._save(source, lambda: None)
        except JournalError as error:
            log.critical(
                "messages waiting in the journal can't be saved", extra={"why": str(error)}
            )
        self._presence.drop_log()
        for lock in self._locks:
            lock.close()

    def _save(self, source: sqlite3.Connection, between: Callable[[], None]) -> None:
        before = self._rescue.file
        waiting = self._rescue.save(source, between)
        if waiting and before is None:
            extra = {"file": str(self._rescue.file), "messages": waiting}
            log.warning("messages waiting in the journal are saved for the next start", extra=extra)
