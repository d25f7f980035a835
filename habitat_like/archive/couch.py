"""CouchArchive: the archive in a CouchDB database.

The rules it relies on are CouchDB's (3.x): ``_bulk_docs`` answers one row for each document
(https://docs.couchdb.org/en/stable/api/database/bulk-api.html#db-bulk-docs), 202 means that fewer
nodes than the write quorum have it; ``_find`` brings its index up to date before it answers
(https://docs.couchdb.org/en/stable/api/database/find.html); ``_changes`` positions are opaque
(https://docs.couchdb.org/en/stable/api/database/changes.html). How requests are made, and all
about couchdb-python, is in ``couch_http``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from habitat_like.archive import couch_design
from habitat_like.archive.base import ArchiveError, Document, Query, Rejected, to_json
from habitat_like.archive.batch import Entry, sort_out
from habitat_like.archive.couch_connection import Refused, one_line
from habitat_like.archive.couch_http import CouchLink
from habitat_like.archive.couch_uri import CouchUri, parse, with_password
from habitat_like.config.archive_uri import mask
from habitat_like.config.keys import ArchiveConfig

#: Documents asked for in one request by ``query`` and ``follow``.
PAGE = 500

#: Bytes of documents in one request at most, unless one document alone is larger.
REQUEST_BYTES = 8 * 1024 * 1024

#: A row's errors that the same document would meet again for ever.
_FOR_GOOD = frozenset(
    {
        "attachment_too_large",
        "bad_request",
        "doc_validation",
        "document_too_large",
        "forbidden",
        "illegal_docid",
        "invalid_json",
        "too_large",
        "unauthorized",
    }
)


class CouchArchive:
    """An ``Archive`` in the CouchDB database at ``uri``.

    ``timeout`` is in seconds, for each socket operation; see ``CouchLink``. ``views`` are the names
    of those that ``prepare`` makes. Any number of
    gateways may write to one database. One thread at a time, except ``interrupt``.
    """

    @classmethod
    def from_config(cls, config: ArchiveConfig) -> CouchArchive:
        """The archive that the configuration names; see ``ArchiveClass``."""
        uri = with_password(parse(config), config)
        return cls(uri, timeout=config.timeout, views=config.views)

    @staticmethod
    def check(config: ArchiveConfig) -> None:
        """See ``ArchiveClass``."""
        parse(config)

    @staticmethod
    def mask(uri: str) -> str:
        """See ``ArchiveClass``."""
        return mask(uri)

    @staticmethod
    def file(config: ArchiveConfig) -> None:
        """It has no file here."""

    def __init__(self, uri: CouchUri, timeout: float = 30, views: Collection[str] = ()) -> None:
        """Remember where the archive is; no I/O."""
        self._views = views
        self._link = CouchLink(uri, timeout)

    @property
    def name(self) -> str:
        """The URI with the user and without the password."""
        return self._link.name

    def prepare(self) -> list[str]:
        """Make the database and sync indexes and views; see ``Archive.prepare``.

        The warning, for a user who may not write design documents, names the command that an
        admin runs. Raises ArchiveUnavailable, also when there is no database and the user may not
        make one.
        """
        couch_design.make_database(self._link)
        return couch_design.sync(self._link, self._views)

    def store(self, documents: Sequence[bytes]) -> list[Rejected]:
        """Store the batch with as few ``_bulk_docs`` as its size allows; see ``Archive.store``.

        A conflict means that the document is archived already. Refused for good are: what is not a
        JSON object with a usable ``_id``; what CouchDB or a validation function of the database
        forbids; what is too large. A request that is refused as a whole for its content (400, 413)
        is halved until the documents at fault are alone. A lost database is made anew.
        """
        entries, rejected = sort_out(documents)
        for run in _runs(entries):
            rejected += self._send(run)
        return sorted(rejected, key=lambda one: one.index)

    def query(self, query: Query) -> Iterator[Document]:
        """Yield the documents that match, without ``_rev``; see ``Archive.query``.

        Uses the index on callsign and time where a callsign is given (a type beside it is looked
        at afterwards), else the one on type and time, else the one on time. Raises ArchiveError
        when the index is missing. Nothing else is asked of the server: with a condition that no
        index answers, some servers look at every document in the range before they heed the limit.
        So what is suspicious is left out here, and each page begins at the time of the last
        document of the page before, from which on all that came with it are passed over: a
        bookmark would spare that, but ends when an index is built anew. Bounds are inclusive, and
        times whole seconds, as the gateway makes them.
        """
        left, after = query.limit, query.after
        size = PAGE if left is None else min(PAGE, left)
        while left is None or left > 0:
            documents, more = self._page(query, after, size)
            for document in documents:
                if "suspicious" in document and not query.suspicious:
                    continue
                document.pop("_rev", None)
                yield document
                left = None if left is None else left - 1
                if left == 0:
                    return
            if not documents or not more:
                return
            after = documents[-1]["time_created"], documents[-1]["_id"]
            size = PAGE  # what is still wanted lies behind suspicious ones: read on in whole pages

    def lines(self, query: Query) -> Iterator[bytes]:
        """Yield them as JSON; see ``Archive.lines``."""
        return map(to_json, self.query(query))

    def get(self, identifier: str) -> Document | None:
        """The document with this ``_id``; see ``Archive.get``."""
        if not identifier or identifier[0] == "_":  # CouchDB's own documents are no messages
            return None
        # Not GET: then a document that isn't there could not be told from a missing database.
        body = msgspec.json.encode({"keys": [identifier]})
        _, data = self._request("post", "_all_docs", body=body, include_docs=True)
        for row in self._link.read(_Rows, data).rows:
            if row.error not in (None, "not_found"):
                raise self._link.unavailable(f"can't read a document ({one_line(row.error)})")
            if row.doc is not None and row.doc.get("_id") == identifier:
                document: Document = row.doc
                document.pop("_rev", None)
                return document
        return None

    def position(self) -> str:
        """The database's update sequence, opaque."""
        _, data = self._request("get")
        return _position(self._link.read(_Information, data).update_seq)

    def follow(self, position: str) -> tuple[list[Document], str]:
        """Up to ``PAGE`` documents since ``position``, without ``_rev``; call again for more.

        A cluster may show a document a second time after one of its nodes failed.
        """
        while True:
            _, data = self._request(
                "get", "_changes", since=position, include_docs=True, limit=PAGE
            )
            changes = self._link.read(_Changes, data)
            documents = [
                change.doc
                for change in changes.results
                if change.doc is not None
                and not change.deleted
                and not change.id.startswith("_design/")
            ]
            for document in documents:
                document.pop("_rev", None)
            position = _position(changes.last_seq)
            if documents or not changes.results:
                return documents, position

    def interrupt(self) -> None:
        """Cut a request that another thread waits for; see ``Archive.interrupt``."""
        self._link.interrupt()

    def close(self) -> None:
        """Close the connections. The next call opens one again."""
        self._link.close()

    # -- storing

    def _send(self, entries: list[Entry]) -> list[Rejected]:
        """Store the entries with one request, or two halves of it, and so on."""
        try:
            status, data = self._post(entries)
        except Refused as refused:
            # A 400 that isn't CouchDB's own says nothing about the documents.
            if not (refused.status == 413 or (refused.status == 400 and refused.error)):
                raise self._link.explain(refused) from None
            if len(entries) == 1:
                return entries[0].rejected(f"CouchDB refused the document: {refused}")
            middle = len(entries) // 2
            return self._send(entries[:middle]) + self._send(entries[middle:])
        return self._judge(entries, status, data)

    def _post(self, entries: list[Entry]) -> tuple[int, bytes]:
        """The answer to ``_bulk_docs``. A database that is gone is made, once."""
        body = b'{"docs":[' + b",".join([entry.body for entry in entries]) + b"]}"
        try:
            return self._link.request("post", "_bulk_docs", body=body)
        except Refused as refused:
            if refused.status != 404:
                raise
        self.prepare()
        return self._link.request("post", "_bulk_docs", body=body)

    def _judge(self, entries: list[Entry], status: int, data: bytes) -> list[Rejected]:
        """Read the rows: raise ArchiveUnavailable unless each document is stored or refused."""
        link = self._link
        rows = link.read(list[_Row], data)
        by_id = {row.id: row for row in rows}
        # By id, not by place: CouchDB keeps the order, its relatives don't.
        if len(rows) != len(entries) or by_id.keys() != {entry.id for entry in entries}:
            raise link.unavailable(
                f"answered {len(rows)} rows for {len(entries)} documents, or for others than were"
                " sent: check what stands between it and the gateway"
            )
        rejected: list[Rejected] = []
        failed: list[_Row] = []
        fresh = 0
        for entry in entries:
            row = by_id[entry.id]
            if row.error is None and row.ok is True:
                fresh += 1
            elif row.error in _FOR_GOOD:
                reason = one_line(f"{row.error}: {row.reason or ''}")
                rejected += entry.rejected(f"CouchDB refused the document: {reason}")
            elif row.error != "conflict":
                failed.append(row)
        if failed:
            first = one_line(f"{failed[0].error}: {failed[0].reason}")
            raise link.unavailable(
                f"could not store {len(failed)} of {len(entries)} documents ({first}):"
                " look at its log"
            )
        if fresh and status == 202:
            raise link.unavailable(
                f"has {fresh} documents on too few nodes (202, the write quorum was not met):"
                " look at the nodes of the cluster"
            )
        if fresh and status != 201:
            raise link.unavailable(
                f"answered {status} instead of 201: check what stands between it and the gateway"
            )
        return rejected

    # -- reading

    def _page(
        self, query: Query, after: tuple[Any, str] | None, size: int
    ) -> tuple[list[Document], bool]:
        """About ``size`` documents behind ``after``, and whether there can be more."""
        if after is not None:
            size += 1  # the last one of the page before
        while True:
            found = self._find(query, after, size)
            fresh = [one for one in found if after is None or _is_behind(one, after, query.order)]
            if fresh or len(found) < size:
                return fresh, len(found) == size
            size *= 2

    def _find(self, query: Query, after: tuple[Any, str] | None, limit: int) -> list[Document]:
        """Up to ``limit`` documents from the time of ``after`` on, in the query's order.

        All that are behind ``after`` are among those from there on; some before it can be too.
        """
        first, last = query.since, query.until - 1
        if after is not None and query.order == "asc":
            first = max(first, after[0])
        elif after is not None:
            last = min(last, after[0])
        if first > last:
            return []
        selector: dict[str, Any] = {"time_created": {"$gte": first, "$lte": last}}
        fields = ["time_created"]
        if query.type is not None:
            selector["type"] = query.type
            fields = ["type", "time_created"]
        if query.callsign is not None:
            selector["callsign"] = query.callsign
            fields = ["callsign", "time_created"]
        ddoc = next(name for name, indexed in _INDEXES.items() if indexed == fields)
        question = {
            "selector": selector,
            "sort": [{field: query.order} for field in fields],
            "use_index": [ddoc, couch_design.index_name(ddoc)],
            "limit": limit,
        }
        try:
            _, data = self._link.request("post", "_find", body=msgspec.json.encode(question))
        except Refused as refused:
            if "index" in refused.error:
                raise self._no_index(ddoc) from None
            raise self._link.explain(refused) from None
        found = self._link.read(_Found, data)
        if "no matching index" in str(found.warning).lower():
            raise self._no_index(ddoc)
        documents: list[Document] = found.docs
        if not all("_id" in one and "time_created" in one for one in documents):
            raise self._link.unavailable(
                "answered a query with what are no archived documents: check archive.uri"
            )
        return documents

    def _no_index(self, ddoc: str) -> ArchiveError:
        link = self._link
        return ArchiveError(
            f"CouchDB at {link.base} has no index {ddoc} in {link.database!r} for this query:"
            f" have an admin run {couch_design.admin_command(link)}"
        )

    def _request(self, method: Any, *path: str, **parameters: Any) -> tuple[int, bytes]:
        try:
            return self._link.request(method, *path, **parameters)
        except Refused as refused:
            raise self._link.explain(refused) from None


_INDEXES = couch_design.indexes()


class _Row(msgspec.Struct):
    """One row of the answer to ``_bulk_docs``."""

    id: str
    ok: Any = None
    error: str | None = None
    reason: Any = None


class _Found(msgspec.Struct):
    """The answer to ``_find``; ``warning`` is text, or a list of it."""

    docs: list[dict[str, Any]]
    warning: Any = None


class _Document(msgspec.Struct):
    """One row of the answer to ``_all_docs``; no ``doc`` where there is no such document."""

    doc: dict[str, Any] | None = None
    error: str | None = None


class _Rows(msgspec.Struct):
    rows: list[_Document]


class _Change(msgspec.Struct):
    id: str
    doc: dict[str, Any] | None = None
    deleted: bool = False


class _Changes(msgspec.Struct):
    results: list[_Change]
    last_seq: Any


class _Information(msgspec.Struct):
    update_seq: Any


def _position(sequence: Any) -> str:
    """A sequence as the text that ``since`` takes: strings as they are, all else as JSON."""
    return sequence if isinstance(sequence, str) else msgspec.json.encode(sequence).decode()


def _is_behind(document: Document, after: tuple[Any, str], order: str) -> bool:
    place = document["time_created"], document["_id"]
    return place > after if order == "asc" else place < after


def _runs(entries: list[Entry]) -> Iterator[list[Entry]]:
    """The batch in pieces of at most ``REQUEST_BYTES``."""
    run: list[Entry] = []
    size = 0
    for entry in entries:
        if run and size + len(entry.body) > REQUEST_BYTES:
            yield run
            run, size = [], 0
        run.append(entry)
        size += len(entry.body) + 1
    if run:
        yield run
