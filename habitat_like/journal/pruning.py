"""What leaves the journal, and the count of the bytes in it.

Only what every cursor in the file has passed may go, always from the front: whatever came in before
a message that is old enough is at least as old. So a clock that was ahead, or at 1970, when some
came in doesn't block pruning.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from habitat_like.times import RELEASED

#: Maximum rows and document bytes one transaction deletes, so that no commit waits long.
SLICE_ROWS = 1000
SLICE_BYTES = 4 * 1024 * 1024
#: Rows searched at once for one with a correct time.
LOOK_ROWS = 100_000
#: Approximate number of marks within the retention.
MARKS = 16


class Dropped(NamedTuple):
    """What one transaction deleted: messages, and the bytes of their documents."""

    messages: int
    size: int


def load_tally(connection: sqlite3.Connection) -> int:
    """The bytes of all documents in the file.

    Those after the last tally are counted; all of them if something else deleted messages.
    Raises sqlite3.Error.
    """
    (first,) = connection.execute("SELECT coalesce(min(seq), 0) FROM message").fetchone()
    row = connection.execute("SELECT first, seq, bytes FROM tally").fetchone()
    behind, known = (row[1], row[2]) if row is not None and row[0] == first else (0, 0)
    # A large document's length is read without the document.
    (more,) = connection.execute(
        "SELECT coalesce(sum(length(document)), 0) FROM message WHERE seq > ?", (behind,)
    ).fetchone()
    return int(known + more)


def store_tally(connection: sqlite3.Connection, seq: int, size: int) -> None:
    """Note that the documents up to ``seq`` have ``size`` bytes. Raises sqlite3.Error."""
    connection.execute(
        "INSERT OR REPLACE INTO tally SELECT 1, coalesce(min(seq), 0), ?, ? FROM message",
        (seq, size),
    )


def passed(connection: sqlite3.Connection, last: int) -> int:
    """The last message, up to ``last``, that every cursor in the file has passed."""
    (seq,) = connection.execute(
        "SELECT min(coalesce(min(seq), ?1), ?1) FROM cursor", (last,)
    ).fetchone()
    return int(seq)


class Ages:
    """Finds what came in before a time. Used by one thread; remembers how far it has looked."""

    def __init__(self) -> None:
        # Up to here, messages have impossible times.
        self._wrong = 0

    def old_up_to(
        self, connection: sqlite3.Connection, last: int, oldest: float, now: float
    ) -> int:
        """The message, at most ``last``, up to which all came in before ``oldest``; 0: none did.

        It examines one slice, so more may be as old. ``now`` is the clock's current time.
        """
        # If the clock is wrong now, it says nothing about recorded times.
        earliest = RELEASED if now >= RELEASED else 0
        rows = connection.execute(
            "SELECT seq, time FROM message WHERE seq <= ? ORDER BY seq LIMIT ?", (last, SLICE_ROWS)
        ).fetchall()
        if not rows or oldest <= rows[0][1] <= now:
            return 0
        for seq, time in reversed(rows):
            if earliest <= time < oldest:
                return int(seq)
        # These came in while the clock was wrong: the next correct time gives their minimum age.
        begin = max(rows[-1][0], self._wrong)
        end = min(begin + LOOK_ROWS, last)
        row = connection.execute(
            "SELECT seq, time FROM message WHERE seq > ? AND seq <= ? AND time BETWEEN ? AND ?"
            " ORDER BY seq LIMIT 1",
            (begin, end, earliest, now),
        ).fetchone()
        self._wrong = end if row is None else row[0] - 1
        return int(row[0]) if row is not None and row[1] < oldest else 0


class Marks:
    """The minimum age of messages, whatever their times say. In memory only."""

    def __init__(self) -> None:
        self._marks: list[tuple[int, float]] = []

    def set(self, last: int, now: float, retention: float) -> int:
        """Note that ``last`` is there ``now``; the last of those over ``retention`` s old."""
        earliest = RELEASED if now >= RELEASED else 0
        # Without those made while the clock was wrong.
        marks = [(seq, since) for seq, since in self._marks if earliest <= since <= now]
        if not marks or now - marks[-1][1] >= retention / MARKS:
            marks.append((last, now))
        old = [seq for seq, since in marks if now - since > retention]
        self._marks = marks[max(len(old) - 1, 0) :]
        return old[-1] if old else 0


def drop_oldest(connection: sqlite3.Connection, last: int, enough: int) -> Dropped:
    """Delete a slice of the oldest messages up to ``last``, until ``enough`` bytes are gone.

    In the caller's transaction. Raises sqlite3.Error.
    """
    rows = connection.execute(
        "SELECT seq, length(document) FROM message WHERE seq <= ? ORDER BY seq LIMIT ?",
        (last, SLICE_ROWS),
    ).fetchall()
    messages = size = end = 0
    for seq, length in rows:
        messages, size, end = messages + 1, size + length, seq
        if size >= min(enough, SLICE_BYTES):
            break
    connection.execute("DELETE FROM message WHERE seq <= ?", (end,))
    return Dropped(messages, size)


def free_bytes(connection: sqlite3.Connection) -> int:
    """Bytes in the file that are free for new messages."""
    (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages * size)
