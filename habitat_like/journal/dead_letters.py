"""Dead letters: messages that a sink refuses for good, kept in the journal with the reason."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from habitat_like.disk import read_rows

#: Above this many bytes a document is read without its data if that isn't needed.
LARGE = 16 * 1024
#: SQL for such a document: the data is its last key but one (Message.document), and what precedes
#: it is short.
WITHOUT_DATA = f"""iif(length(document) > {LARGE}, CAST(substr(document, 1,
 instr(substr(document, 1, 1024), CAST(',"data":' AS BLOB)) - 1) || '}}' AS BLOB), document)"""

#: SQLite's integers end there.
MAX_ID = 2**63 - 1

#: The start of every document in the journal.
_ID = re.compile(rb'\{"_id":"([^"\\]+)"')


class DeadLetter(NamedTuple):
    """One message that ``sink`` refused; ``time`` is UNIX seconds, ``seq`` its journal number.

    ``retry``: an operator asked for another try, which the sink has not made yet.
    """

    id: int
    sink: str
    seq: int
    time: int
    reason: str
    retry: bool
    document: bytes

    def summary(self) -> dict[str, Any]:
        """All but the document, as plain data."""
        return {
            "id": self.id,
            "sink": self.sink,
            "seq": self.seq,
            "time": self.time,
            "retry": self.retry,
            "reason": self.reason,
        }


class DeadLetters:
    """The table of dead letters, over a connection to the journal's file.

    As thread-safe as its connection. Every method raises sqlite3.Error.
    """

    #: Each message once per sink, even if the journal holds a repeat of it.
    UNIQUE = "CREATE UNIQUE INDEX dead_letter_message ON dead_letter (sink, message_id);"
    SCHEMA = f"""
    CREATE TABLE dead_letter (
        id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, seq INTEGER NOT NULL,
        time INTEGER NOT NULL, reason TEXT NOT NULL, retry INTEGER NOT NULL DEFAULT 0,
        document BLOB NOT NULL, message_id TEXT, UNIQUE (sink, seq));
    CREATE INDEX dead_letter_due ON dead_letter (sink, id) WHERE retry = 1;
    {UNIQUE}
    """
    #: From format 1 of the journal; what is in it keeps no id.
    UPGRADE = f"ALTER TABLE dead_letter ADD COLUMN message_id TEXT; {UNIQUE}"
    _COLUMNS = "id, sink, seq, time, reason, retry, document"
    _LISTED = f"id, sink, seq, time, reason, retry, {WITHOUT_DATA}"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, sink: str, letters: Iterable[tuple[int, bytes, str]]) -> None:
        """Keep ``letters`` (sequence number, document, reason) durably, each message once per sink.

        A repeat of one already kept, or the same again, updates its reason.
        """
        now = int(time.time())
        self._all_or_nothing(
            "INSERT INTO dead_letter (sink, seq, time, reason, document, message_id)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET reason = excluded.reason, retry = 0",
            [
                (sink, seq, now, reason, document, message_id(document))
                for seq, document, reason in letters
            ],
        )

    def count(self) -> dict[str, int]:
        """How many there are of each sink."""
        return dict(
            self._connection.execute("SELECT sink, count(*) FROM dead_letter GROUP BY sink")
        )

    def reasons(self, since: int, until: int) -> list[tuple[str, str, int]]:
        """Sink, reason and count of those refused in this time (UNIX seconds), most first."""
        return self._connection.execute(
            "SELECT sink, reason, count(*) FROM dead_letter WHERE time >= ? AND time < ?"
            " GROUP BY sink, reason ORDER BY 3 DESC, 1, 2",
            (since, until),
        ).fetchall()

    def select(self, sink: str | None = None, limit: int | None = None) -> Iterator[DeadLetter]:
        """The dead letters (of ``sink``), oldest first."""
        rows = self._connection.execute(
            f"SELECT {self._COLUMNS} FROM dead_letter WHERE ?1 IS NULL OR sink = ?1"  # noqa: S608
            " ORDER BY id LIMIT ?2",
            (sink, -1 if limit is None else limit),
        )
        return map(_letter, rows)

    def newest(self, limit: int, below: int | None = None) -> Iterator[DeadLetter]:
        """Up to ``limit`` of them, newest first; with ``below`` only those with a smaller id.

        For a list: a large document comes without its data.
        """
        rows = self._connection.execute(
            f"SELECT {self._LISTED} FROM dead_letter WHERE ?1 IS NULL OR id < ?1"  # noqa: S608
            " ORDER BY id DESC LIMIT ?2",
            (below, limit),
        )
        return map(_letter, rows)

    def behind(self, number: int, limit: int) -> Iterator[DeadLetter]:
        """As ``newest``, of those with an id over ``number``, oldest first."""
        rows = self._connection.execute(
            f"SELECT {self._LISTED} FROM dead_letter WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608
            (number, limit),
        )
        return map(_letter, rows)

    def numbers(self, limit: int, first: int = 0, last: int = MAX_ID) -> list[int]:
        """Up to ``limit`` ids from ``first`` to ``last``, in their order."""
        rows = self._connection.execute(
            "SELECT id FROM dead_letter WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            (first, last, limit),
        )
        return [number for (number,) in rows]

    def get(self, number: int) -> DeadLetter | None:
        """The dead letter with this id."""
        row = self._connection.execute(
            f"SELECT {self._COLUMNS} FROM dead_letter WHERE id = ?",  # noqa: S608
            (number,),
        ).fetchone()
        return None if row is None else _letter(row)

    def due(self, sink: str, limit: int) -> list[DeadLetter]:
        """Those of ``sink`` due for another try: up to ``limit``, fewer if large."""
        rows, _ = read_rows(
            self._connection.execute(
                f"SELECT {self._COLUMNS} FROM dead_letter WHERE sink = ? AND retry = 1"  # noqa: S608
                " ORDER BY id LIMIT ?",
                (sink, limit),
            )
        )
        return [_letter(row) for row in rows]

    def retry(self, numbers: Iterable[int] | None = None) -> int:
        """Request another try of these (None: all); returns how many there are."""
        return self._each("UPDATE dead_letter SET retry = 1", numbers)

    def drop(self, numbers: Iterable[int] | None = None) -> int:
        """Delete these (None: all), durably; returns how many there were."""
        return self._each("DELETE FROM dead_letter", numbers)

    def _each(self, statement: str, numbers: Iterable[int] | None) -> int:
        if numbers is None:
            return self._connection.execute(statement).rowcount
        return self._all_or_nothing(f"{statement} WHERE id = ?", [(number,) for number in numbers])

    def _all_or_nothing(self, statement: str, arguments: list[tuple[Any, ...]]) -> int:
        """Run it for each of the arguments in one transaction; returns how many rows changed."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            changed = self._connection.executemany(statement, arguments).rowcount
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        # It is -1 if there was nothing to run.
        return max(changed, 0)


def message_id(document: bytes) -> str | None:
    """The id of a document of the journal; None for bytes that aren't one."""
    found = _ID.match(document)
    return found[1].decode("ascii", "replace") if found else None


def _letter(row: tuple[int, str, int, int, str, int, bytes]) -> DeadLetter:
    return DeadLetter(*row[:5], bool(row[5]), row[6])
