"""Rescue: saves what waits in a journal that its path no longer leads to, in a new file alongside.

The new file is a journal too. The next gateway that starts on the path imports it: its messages
are appended to what is there, and the archive stores each id once.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from habitat_like.disk import DIRECTORY_MODE, sync
from habitat_like.journal.dead_letters import DeadLetters, message_id
from habitat_like.journal.file import JournalError, connect, errors, open_file
from habitat_like.journal.pruning import SLICE_BYTES, SLICE_ROWS

log = logging.getLogger(__name__)

#: Suffix to the journal's path in the name of such a file; a number may follow.
END = ".rescued"
_PART = ".part"
_LETTERS = "id, sink, seq, time, reason, retry, document, message_id"


class Rescue:
    """The new file next to a journal at ``path``; created by the first ``save``. For one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: The file; None if nothing waits or nothing has been saved yet.
        self.file: Path | None = None
        #: Whether everything that waited was saved.
        self.is_made = False

    def save(self, source: sqlite3.Connection, between: Callable[[], None]) -> int:
        """Bring the file up to date with the open journal ``source``.

        ``between`` is called periodically. Returns how many messages and dead letters are in it;
        if there are none, there is no file. Raises JournalError; a later call tries again.
        """
        target = self.file or self._free_name()
        part = target if self.file is not None else Path(f"{target}{_PART}")
        with errors(target):
            part.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
            with contextlib.closing(connect(part, "full", 32)) as connection:
                waiting = _copy(source, connection, between)
            sync(part)
            if not waiting:
                part.unlink()
                self.file = None
            elif self.file is None:
                part.rename(target)
                self.file = target
            sync(target.parent)
        self.is_made = True
        return waiting

    def discard(self) -> None:
        """Delete the file: the journal is back. Raises JournalError."""
        if self.file is not None:
            with errors(self.file):
                self.file.unlink(missing_ok=True)
            self.file = None
        self.is_made = False

    def _free_name(self) -> Path:
        number = 1
        while True:
            name = Path(f"{self._path}{END}{number if number > 1 else ''}")
            if not name.exists():
                Path(f"{name}{_PART}").unlink(missing_ok=True)  # an unfinished one's
                return name
            number += 1


def _copy(
    source: sqlite3.Connection, target: sqlite3.Connection, between: Callable[[], None]
) -> int:
    """Copy what not every sink has taken; returns how much there is in the end."""
    cursors = source.execute("SELECT sink, seq FROM cursor").fetchall()
    after = min((seq for _, seq in cursors), default=0)
    target.execute("BEGIN IMMEDIATE")
    target.execute("DELETE FROM message WHERE seq <= ?", (after,))
    (newest,) = target.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()
    for rows in _slices(source, max(after, newest)):
        target.executemany("INSERT INTO message VALUES (?, ?, ?)", rows)
        between()
    target.execute("DELETE FROM cursor")
    target.executemany("INSERT INTO cursor VALUES (?, ?)", cursors)
    target.execute("DELETE FROM dead_letter")
    letters = source.execute(f"SELECT {_LETTERS} FROM dead_letter")  # noqa: S608 (constants)
    insert = f"INSERT INTO dead_letter ({_LETTERS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    for letter in letters:
        target.execute(insert, letter)
    target.execute("COMMIT")
    (waiting,) = target.execute(
        "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM dead_letter)"
    ).fetchone()
    return int(waiting)


def _slices(source: sqlite3.Connection, after: int) -> Iterator[list[tuple[int, int, bytes]]]:
    """Messages after ``after``: number, time and document; a bounded number of bytes at once."""
    while True:
        rows = []
        size = 0
        for row in source.execute(
            "SELECT seq, time, document FROM message WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, SLICE_ROWS),
        ):
            rows.append(row)
            size += len(row[2])
            if size >= SLICE_BYTES:
                break
        if not rows:
            return
        yield rows
        after = rows[-1][0]


def take_in(path: Path, write: Callable[[list[tuple[str, bytes]]], object]) -> None:
    """Pass the content of files next to the journal at ``path`` to ``write``; then delete them.

    ``write`` gets ids and documents, and must have made them durable when it returns. A file that
    can't be read stays, and is logged. Raises what ``write`` raises.
    """
    for file in _files(path):
        count = 0
        try:
            with contextlib.closing(open_file(file)) as connection, errors(file):
                for rows in _waiting(connection):
                    write(rows)
                    count += len(rows)
            with errors(file):
                file.unlink()
                sync(file.parent)
        except JournalError as error:
            extra = {"file": str(file), "why": str(error)}
            log.error("rescued messages can't be restored yet", extra=extra)
        else:
            log.warning(
                "messages of a lost journal are restored",
                extra={"file": str(file), "messages": count},
            )


def _files(path: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        start = f"{path.name}{END}"
        names = [file.name for file in path.parent.iterdir() if file.name.startswith(start)]
        ends = [name.removeprefix(start) for name in names]
        return [path.parent / f"{start}{end}" for end in sorted(ends) if _is_number(end)]
    return []


def _is_number(text: str) -> bool:
    return text == "" or (text.isascii() and text.isdigit())


def _waiting(connection: sqlite3.Connection) -> Iterator[list[tuple[str, bytes]]]:
    (after,) = connection.execute("SELECT coalesce(min(seq), 0) FROM cursor").fetchone()
    for rows in _slices(connection, after):
        yield [_row(document) for _, _, document in rows]
    # Whatever refused them will say so again.
    for letter in DeadLetters(connection).select():
        yield [_row(letter.document)]


def _row(document: bytes) -> tuple[str, bytes]:
    return message_id(document) or document.hex(), document
