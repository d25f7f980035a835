"""Inspection: the journal's file as an operator's commands see it, and change it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from habitat_like.disk import file_size, read_rows
from habitat_like.journal.dead_letters import DeadLetter, DeadLetters
from habitat_like.journal.file import last_seq, open_file

#: Maximum messages that one statement of ``documents`` reads, so that it never blocks the gateway.
CHUNK = 1000


class Contents(NamedTuple):
    """A consistent snapshot of the journal's content.

    ``size`` is in bytes on disk, including the write-ahead log; ``oldest`` is when the oldest
    message came in, in UNIX seconds, None without one; ``cursors`` has that of every sink in the
    file, by name; ``dead_letters`` is how many each sink has, ``newest`` the last of them.
    """

    size: int
    last_seq: int
    oldest: int | None
    cursors: dict[str, int]
    dead_letters: dict[str, int]
    newest: list[DeadLetter]


class Inspection:
    """The journal's file at ``path``, with or without a running gateway.

    For one thread. Raises JournalError if there is no journal that this version can read; every
    method raises sqlite3.Error.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._connection = open_file(self.path)
        self.dead_letters = DeadLetters(self._connection)

    def __enter__(self) -> Inspection:
        """The inspection itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._connection.close()

    def contents(self, newest: int) -> Contents:
        """Its content, with up to ``newest`` dead letters, newest first."""
        # One transaction, so that cursors and messages belong together.
        self._connection.execute("BEGIN")
        ((oldest, size),) = self._connection.execute(
            "SELECT (SELECT time FROM message ORDER BY seq LIMIT 1),"
            " (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)"
        )
        found = Contents(
            size + file_size(Path(f"{self.path}-wal")),
            last_seq(self._connection),
            oldest,
            self._cursors(),
            self.dead_letters.count(),
            list(self.dead_letters.newest(newest)),
        )
        self._connection.execute("COMMIT")
        return found

    def unarchived(self, sinks: Iterable[str]) -> tuple[int, int]:
        """The range (after, up to) of messages that not all of these ``sinks`` have passed."""
        cursors = self._cursors()
        last = last_seq(self._connection)
        after = min((cursors.get(sink, 0) for sink in sinks), default=0)
        ((oldest,),) = self._connection.execute("SELECT min(seq) FROM message")
        return max(after, (oldest or last + 1) - 1), last

    def documents(self, after: int, last: int) -> Iterator[bytes]:
        """The documents of the messages after ``after``, up to ``last``, oldest first."""
        while True:
            rows, _ = read_rows(
                self._connection.execute(
                    "SELECT seq, document FROM message WHERE seq > ? AND seq <= ?"
                    " ORDER BY seq LIMIT ?",
                    (after, last, CHUNK),
                )
            )
            if not rows:
                return
            yield from (document for _, document in rows)
            after = rows[-1][0]

    def behind(self, sink: str) -> int | None:
        """How many messages ``sink`` has not passed; None if it has no cursor."""
        cursor = self._cursors().get(sink)
        return None if cursor is None else last_seq(self._connection) - cursor

    def forget(self, sink: str) -> None:
        """Delete the cursor of ``sink``: it no longer keeps the journal from being pruned."""
        self._connection.execute("DELETE FROM cursor WHERE sink = ?", (sink,))

    def _cursors(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT sink, seq FROM cursor ORDER BY sink"))
