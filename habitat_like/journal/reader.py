"""JournalReader: reads the journal from a sequence number on, for a sink or the statistics."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

from habitat_like.disk import read_rows
from habitat_like.journal.dead_letters import WITHOUT_DATA
from habitat_like.journal.file import BUSY_TIMEOUT, errors

_TIMED = f"""
SELECT seq, time, {WITHOUT_DATA} AS known FROM message WHERE seq > ? ORDER BY seq LIMIT ?
"""  # noqa: S608
_JOINED = f"""
SELECT max(seq), group_concat(time), CAST('[' || group_concat(CAST(known AS TEXT)) || ']' AS BLOB)
FROM ({_TIMED})
"""  # noqa: S608


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
    """Messages from the journal: last number, times, and documents as a JSON array.

    Invalid JSON in a document makes the array invalid too.
    """

    seq: int
    times: list[int]
    documents: bytes


class JournalReader:
    """Reads the journal at ``path`` from one thread, on its own connection.

    Raises sqlite3.Error if it can't be opened; ``Journal.reader`` makes one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_TIMEOUT, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=1")
        # Opens the log too: it must be the current one, whatever happens to its name.
        self._connection.execute("SELECT 1 FROM message LIMIT 1").fetchone()

    def read(self, after: int, limit: int) -> list[Entry]:
        """Up to ``limit`` messages with a sequence number over ``after``.

        Fewer if they are large, see ``read_rows``; none only if there are none. Raises
        JournalError.
        """
        with errors(self._path):
            rows, _ = read_rows(
                self._connection.execute(
                    "SELECT seq, document FROM message WHERE seq > ? ORDER BY seq LIMIT ?",
                    (after, limit),
                )
            )
        return [Entry(*row) for row in rows]

    def read_timed(self, after: int, limit: int) -> list[TimedEntry]:
        """Like ``read``, with the time each came in; large documents without their data.

        Raises JournalError.
        """
        with errors(self._path):
            rows = self._connection.execute(_TIMED, (after, limit)).fetchall()
        return [TimedEntry(*row) for row in rows]

    def read_joined(self, after: int, limit: int) -> Joined | None:
        """What ``read_timed`` reads, in one piece: the interpreter's lock is released only once.

        None if there is nothing. Raises JournalError.
        """
        with errors(self._path):
            last, times, documents = self._connection.execute(_JOINED, (after, limit)).fetchone()
        return None if last is None else Joined(last, [*map(int, times.split(","))], documents)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
