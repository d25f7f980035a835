"""SqliteArchive: the archive in one SQLite file, for a gateway with no CouchDB.

``SqliteFile`` manages the file; this module its content. An index holds each sort order
(https://www.sqlite.org/queryplanner.html).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from habitat_like.archive.base import (
    ArchiveError,
    ArchiveUnavailable,
    Document,
    Dropped,
    Portion,
    Query,
    Rejected,
)
from habitat_like.archive.batch import BatchDocument, sort_out
from habitat_like.archive.sqlite_file import SqliteFile, primary_code
from habitat_like.archive.sqlite_retention import SqliteRetention
from habitat_like.archive.sqlite_tables import INSERT, statements
from habitat_like.config.keys import ArchiveConfig, ConfigError
from habitat_like.disk import identity

#: Maximum documents ``query`` and ``follow`` read in one statement; fewer if they are large.
PAGE = 500


class SqliteArchive:
    """An ``Archive`` in the file ``path``.

    ``timeout`` is how many seconds a call waits for another process's lock. Several processes may
    use the file at once: readers never wait for the writer. Only ``prepare`` and ``store`` create
    the file; the other methods raise ArchiveUnavailable if it is missing. One thread at a time,
    except ``interrupt``.
    """

    @classmethod
    def from_config(cls, config: ArchiveConfig) -> SqliteArchive:
        """The archive that the configuration names; see ``ArchiveClass``."""
        return cls(_path(config), timeout=config.timeout)

    @staticmethod
    def check(config: ArchiveConfig) -> None:
        """See ``ArchiveClass``."""
        _path(config)

    @staticmethod
    def mask(uri: str) -> str:
        """A path has no secrets."""
        return uri

    @staticmethod
    def file(config: ArchiveConfig) -> Path:
        """See ``ArchiveClass``."""
        return Path(_path(config))

    def __init__(self, path: str, timeout: float = 30) -> None:
        """Remember where the archive is; no I/O."""
        self._file = SqliteFile(Path(path), timeout)
        self._retention = SqliteRetention(self._file)

    @property
    def name(self) -> str:
        """``sqlite:`` and the path as configured."""
        return self._file.name

    def prepare(self) -> list[str]:
        """Create the directory, the file, its tables and views if missing.

        Warns of a view whose name something else has. Raises ArchiveUnavailable, also for a file
        made by a newer version.
        """
        with self._file.errors():
            self._file.writer()
        return self._file.warnings

    def store(self, documents: Sequence[bytes]) -> list[Rejected]:
        """Store the batch in one transaction that is on disk when this returns.

        Refuses for good what is not a JSON object with a usable ``_id`` (see ``sort_out``). Raises
        ArchiveUnavailable; then none of the batch is stored.
        """
        entries, rejected = sort_out(documents)
        with self._file.errors():
            for _ in range(3):
                writer = self._file.writer()
                try:
                    rejected += self._insert(writer, entries)
                except sqlite3.DataError:  # longer than SQLite takes (SQLITE_LIMIT_LENGTH)
                    return self._halve(documents)
                problem = self._file.problem()
                if problem is None:
                    self._file.checkpoint(writer)
                    break
                # What was written went with the file, and is written again to the one there now.
                # If there is none, a new one would be in the way.
                if identity(self._file.path) is None:
                    raise ArchiveUnavailable(f"{self.name}: {problem}")
            else:
                raise ArchiveUnavailable(f"{self.name}: something keeps deleting the file")
        return sorted(rejected, key=lambda one: one.index)

    def query(self, query: Query) -> Iterator[Document]:
        """Yield the documents that match; see ``Archive.query``."""
        return map(self._document, self._texts(query))

    def lines(self, query: Query) -> Iterator[bytes]:
        """Yield them as stored, which is much faster; see ``Archive.lines``."""
        # JSON has line breaks only between tokens, so this keeps its meaning.
        return (text.encode().replace(b"\n", b" ") for text in self._texts(query))

    def _texts(self, query: Query) -> Iterator[str]:
        """The documents that match, as JSON.

        Each page is a separate statement that starts after the previous page's last document, so
        no read transaction stays open between two documents, however slowly they are consumed:
        an open one would keep SQLite from checkpointing, and the write-ahead log would grow.
        Documents archived meanwhile may appear if they sort after the current one.
        """
        left = query.limit
        pages, values = statements(query)
        at = _start(query)
        size = PAGE if left is None else min(PAGE, left)
        while left is None or left > 0:
            arguments = {**values, "size": size}
            if at is not None:
                arguments |= {"time": at[0], "id": at[1]}
            rows, whole = self._file.read(pages[at is not None], arguments)
            for *_, text in rows:
                if not query.suspicious and self._is_suspicious(text):
                    continue
                yield text
                left = None if left is None else left - 1
                if left == 0:
                    return
            if whole and len(rows) < size:
                return
            at = rows[-1][0], rows[-1][1]
            size = PAGE  # the rest comes after suspicious ones: continue in whole pages

    def get(self, identifier: str) -> Document | None:
        """The document with this ``_id``; see ``Archive.get``."""
        statement = "SELECT document FROM document WHERE id = :id"
        rows, _ = self._file.read(statement, {"id": identifier})
        return self._document(rows[0][0]) if rows else None

    def position(self) -> str:
        """The number of the newest document, as text."""
        rows, _ = self._file.read("SELECT coalesce(max(arrival), 0), '' FROM document", {})
        return str(rows[0][0])

    def follow(self, position: str) -> tuple[list[Document], str]:
        """Some documents archived after ``position``; call again for more."""
        try:
            after = int(position)
        except ValueError:
            raise ArchiveError(f"{self.name}: {position!r} is no position of this feed") from None
        rows, _ = self._file.read(
            "SELECT arrival, document FROM document"
            " WHERE arrival > :after ORDER BY arrival LIMIT :size",
            {"after": after, "size": PAGE},
        )
        return [self._document(text) for _, text in rows], str(rows[-1][0]) if rows else position

    def portions(self) -> Iterator[Portion]:
        """See ``AgingArchive``."""
        return self._retention.portions()

    def expired(self, before: int) -> Iterator[Portion]:
        """See ``AgingArchive``."""
        return self._retention.expired(before)

    def drop_before(self, before: int) -> Dropped:
        """See ``AgingArchive``."""
        return self._retention.drop_before(before)

    def drop(self, name: str) -> Dropped:
        """See ``AgingArchive``."""
        return self._retention.drop(name)

    def hold(self) -> AbstractContextManager[None]:
        """See ``AgingArchive``."""
        return self._retention.hold()

    def interrupt(self) -> None:
        """Abort another thread's statement or wait for a lock; see ``Archive.interrupt``."""
        self._file.interrupt()

    def tend(self) -> None:
        """Check that the path still leads to the file, and checkpoint the log into it."""
        self._file.tend()

    def gone(self) -> str | None:
        """What happened to a file that was moved or deleted and not replaced."""
        return self._file.gone()

    def begun_anew(self) -> str | None:
        """What happened to the previously open file."""
        return self._file.begun_anew()

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        self._file.close()

    def _insert(self, writer: sqlite3.Connection, entries: list[BatchDocument]) -> list[Rejected]:
        """Insert all but the documents that only SQLite finds wrong, which are returned."""
        rejected: list[Rejected] = []
        self._file.patiently(lambda: writer.execute("BEGIN IMMEDIATE"))
        try:
            try:
                writer.execute(INSERT, (_array(entries),))
            except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
                # A full disk comes here too, and has already ended the transaction.
                if not (writer.in_transaction and _is_documents_fault(error)):
                    raise
                rejected = self._insert_singly(writer, entries)
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return rejected

    def _insert_singly(
        self, writer: sqlite3.Connection, entries: list[BatchDocument]
    ) -> list[Rejected]:
        rejected: list[Rejected] = []
        for entry in entries:
            try:
                writer.execute(INSERT, (_array([entry]),))
            except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
                if not (writer.in_transaction and _is_documents_fault(error)):
                    raise
                rejected += entry.rejected(f"SQLite can't take the document: {error}")
        return rejected

    def _halve(self, documents: Sequence[bytes]) -> list[Rejected]:
        if len(documents) == 1:
            return [Rejected(0, "the document is larger than SQLite can hold")]
        middle = len(documents) // 2
        rejected = self.store(documents[:middle])
        tail = self.store(documents[middle:])
        return rejected + [Rejected(one.index + middle, one.reason) for one in tail]

    def _is_suspicious(self, text: str) -> bool:
        # Most are not, and searching for the word is faster than decoding them.
        return '"suspicious"' in text and "suspicious" in self._document(text)

    def _document(self, text: str) -> Document:
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ArchiveError(f"{self.name}: a stored document can't be read: {error}") from None


def _is_documents_fault(error: sqlite3.Error) -> bool:
    """Whether one document is at fault: a broken constraint, or JSON that only SQLite refuses."""
    malformed = primary_code(error) == sqlite3.SQLITE_ERROR and "JSON" in str(error)
    return malformed or primary_code(error) == sqlite3.SQLITE_CONSTRAINT


def _array(entries: Sequence[BatchDocument]) -> str:
    return (b"[" + b",".join([entry.body for entry in entries]) + b"]").decode()


def _start(query: Query) -> tuple[Any, str] | None:
    """The position that the first page starts after, None for the start of the query's times."""
    if query.after is None:
        return None
    inside = query.after[0] >= query.since if query.order == "asc" else query.after[0] < query.until
    return query.after if inside else None


def _path(config: ArchiveConfig) -> str:
    """The path in ``sqlite:PATH``. Raises ConfigError."""
    path = config.uri.partition(":")[2]
    if path.startswith("//") and not path.startswith("///"):
        raise ConfigError("write sqlite:PATH, without // before the path", "archive.uri")
    if not path:
        raise ConfigError("there is no path; write sqlite:PATH", "archive.uri")
    if path == ":memory:":
        raise ConfigError("messages must be on disk; write sqlite:PATH", "archive.uri")
    return path
