"""CouchArchive: the archive in a CouchDB database.

The rules it relies on are CouchDB's (3.x): ``_find`` brings its index up to date before it answers
(https://docs.couchdb.org/en/stable/api/database/find.html); ``_changes`` positions are opaque
(https://docs.couchdb.org/en/stable/api/database/changes.html). Batches are stored by
``couch_bulk``. Requests are in ``couch_http``, the nodes of a cluster in ``couch_cluster``, and
everything about couchdb-python in ``couch_node``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import msgspec

from habitat_like.archive import couch_design, couch_local
from habitat_like.archive.base import (
    ArchiveError,
    ArchiveUnavailable,
    Document,
    Node,
    Portion,
    Query,
    Rejected,
    to_json,
)
from habitat_like.archive.batch import BatchDocument
from habitat_like.archive.couch_bulk import BulkWriter
from habitat_like.archive.couch_cluster import CouchCluster
from habitat_like.archive.couch_connection import CouchRefused, TooLarge, one_line
from habitat_like.archive.couch_http import CouchLink
from habitat_like.archive.couch_second import Second
from habitat_like.times import MAX_TIME

#: The most documents ``query`` and ``follow`` ask for in one request, and the most bytes in an
#: answer: a larger one is abandoned and half as many documents requested, down to one.
PAGE = 500
PAGE_BYTES = 4 * 1024 * 1024
#: Up to this many pages of documents of one second are skipped over rather than fetched by id.
MANY = 2
#: Seconds for a step of the request that sees whether a failed node works again.
PROBE = 1.0
#: The smallest difference between two document times, in seconds; the gateway's are whole seconds.
NEXT = 0.001


class CouchArchive:
    """An ``Archive`` in one CouchDB database, the one of ``link`` in ``cluster``.

    ``views`` names the views that ``prepare`` makes; ``make`` makes a lost database, if that takes
    more. Any number of gateways may write to one database. One thread at a time, except
    ``interrupt`` and ``nodes``.
    """

    def __init__(
        self,
        cluster: CouchCluster,
        link: CouchLink,
        views: Collection[str] = (),
        make: Callable[[], object] | None = None,
    ) -> None:
        """Remember where the archive is; no I/O."""
        self._views = views
        self._cluster = cluster
        self._link = link
        self._bulk = BulkWriter(link, make or self.prepare)
        # A query's position within a second that has many documents.
        self._second: Second | None = None

    @property
    def link(self) -> CouchLink:
        """The database, for what is about it and not about documents."""
        return self._link

    @property
    def name(self) -> str:
        """The URI with the user but not the password."""
        return self._link.name

    def prepare(self) -> list[str]:
        """Make the database and sync indexes and views; see ``Archive.prepare``.

        The warning, for a user who may not write design documents, names the command that an
        admin runs. Raises ArchiveUnavailable, including when there is no database and the user may
        not create one.
        """
        couch_design.make_database(self._link)
        return couch_design.sync(self._link, self._views)

    def store(self, documents: Sequence[bytes]) -> list[Rejected]:
        """Store the batch; see ``Archive.store`` and ``BulkWriter.store``."""
        return self._bulk.store(documents)

    def store_entries(self, entries: list[BatchDocument]) -> list[Rejected]:
        """Store documents that are sorted out; see ``BulkWriter.store_entries``."""
        return self._bulk.store_entries(entries)

    def query(self, query: Query) -> Iterator[Document]:
        """Yield the documents that match, without ``_rev``; see ``Archive.query``.

        Uses the index on callsign and time if a callsign is given (a type as well is filtered
        afterwards), else the one on type and time, else the one on time. Raises ArchiveError
        when the index is missing. The server gets no other conditions: given one that no index
        answers, some servers read every document in the range before they apply the limit. So
        suspicious documents are filtered here, and each page starts at the time of the previous
        page's last document, skipping those of that time already returned: a bookmark would
        avoid that, but is invalid once an index is rebuilt. If many share that time, their ids
        are read instead (``couch_second``). Bounds are inclusive, and times whole seconds, as the
        gateway makes them.
        """
        self._second = None
        left, after = query.limit, query.after
        size = PAGE if left is None else min(PAGE, left)
        while left is None or left > 0:
            documents, size = self._page(query, after, size)
            for document in documents:
                if "suspicious" in document and not query.suspicious:
                    continue
                document.pop("_rev", None)
                yield document
                left = None if left is None else left - 1
                if left == 0:
                    return
            if not documents or not size:
                return
            after = documents[-1]["time_created"], documents[-1]["_id"]

    def lines(self, query: Query) -> Iterator[bytes]:
        """Yield them as JSON; see ``Archive.lines``."""
        return map(to_json, self.query(query))

    def get(self, identifier: str) -> Document | None:
        """The document with this ``_id``; see ``Archive.get``."""
        if not identifier or identifier[0] == "_":  # CouchDB's own documents aren't messages
            return None
        # Not GET, which can't tell a missing document from a missing database.
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

    def read_back(self, identifier: str) -> Document | None:
        """As ``get``, from as many nodes as make a quorum; see ``ReadBackArchive``."""
        try:
            _, data = self._link.request("get", identifier)
        except CouchRefused as refused:
            if refused.status == 404 and refused.reason in ("missing", "deleted"):
                return None
            raise self._link.explain(refused) from None
        document: Document = self._link.read(dict[str, Any], data)
        document.pop("_rev", None)
        return document

    def position(self) -> str:
        """The database's update sequence, opaque."""
        _, data = self._request("get")
        return _position(self._link.read(_Information, data).update_seq)

    def follow(self, position: str) -> tuple[list[Document], str]:
        """Up to ``PAGE`` documents since ``position``, without ``_rev``; call again for more.

        A cluster may return a document twice after one of its nodes fails.
        """
        size = PAGE
        while True:
            try:
                _, data = self._request(
                    "get",
                    "_changes",
                    most=PAGE_BYTES if size > 1 else None,
                    since=position,
                    include_docs=True,
                    limit=size,
                )
            except TooLarge:
                size //= 2
                continue
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

    def portions(self) -> Iterator[Portion]:
        """See ``ListedArchive``: one."""
        yield self.portion()

    def portion(self) -> Portion:
        """The whole database, design documents not counted. Raises ArchiveUnavailable."""
        _, data = self._request("get")
        about = self._link.read(_Information, data)
        _, data = self._request("get", "_all_docs", startkey='"_design/"', endkey='"_design0"')
        designs = len(self._link.read(_Rows, data).rows)
        first = next(self.query(Query(order="asc", limit=1, suspicious=True)), None)
        return Portion(
            self._link.database,
            about.doc_count - designs,
            about.sizes.get("file"),
            None if first is None else first["time_created"],
            self.last(),
        )

    def last(self, until: int = MAX_TIME + 1) -> float | None:
        """The last ``time_created`` before ``until``, in UNIX seconds; None if there is none."""
        last = next(self.query(Query(until=until, limit=1, suspicious=True)), None)
        return None if last is None else float(last["time_created"])

    def nodes(self) -> list[Node]:
        """See ``ClusterArchive``."""
        return self._cluster.states()

    def ask_nodes(self) -> list[Node]:
        """See ``ClusterArchive``."""
        for number in range(len(self.nodes())):
            self._ask_node(number, None)
        return self.nodes()

    def tend_nodes(self) -> None:
        """See ``ClusterArchive``."""
        current = self._cluster.current
        for number in self._cluster.due()[:1]:  # the batches wait meanwhile
            self._ask_node(number, PROBE)
        self._cluster.current = current

    def interrupt(self) -> None:
        """Abort a request another thread is waiting for; see ``Archive.interrupt``."""
        self._cluster.interrupt()

    def close(self) -> None:
        """Close the connections. The next call reopens one."""
        self._cluster.close()

    def _ask_node(self, number: int, patience: float | None) -> None:
        """See whether the node can store documents, and remember it."""

        def ask(method: Any, *path: str, **more: Any) -> tuple[int, bytes]:
            database = self._link.database
            return self._cluster.ask_one(number, method, database, *path, patience=patience, **more)

        with contextlib.suppress(ArchiveUnavailable, msgspec.DecodeError):
            try:
                if not couch_local.quorum_met(ask):
                    self._cluster.leave("reaches too few nodes with a write (202)")
            except CouchRefused as refused:
                if refused.status == 404:
                    couch_design.is_elsewhere(self._link)

    def _page(
        self, query: Query, after: tuple[Any, str] | None, size: int
    ) -> tuple[list[Document], int]:
        """Up to ``size`` documents after ``after``, and the size of the next page.

        That is 0 if there are no more, and small if documents are large.
        """
        if after is not None:
            if self._second is not None and self._second.is_about(query, after[0]):
                return self._page_of_second(query, after)
            size += 1  # the previous page's last one
        are_large = False
        while True:
            try:
                found = self._find(query, after, size, most=PAGE_BYTES if size > 1 else None)
            except TooLarge:
                size = max(size // 2, 1)
                are_large = True
                continue
            fresh = [one for one in found if after is None or _is_behind(one, after, query.order)]
            if fresh or len(found) < size:
                # The rest may come after suspicious ones: continue in larger pages.
                return fresh, min(2 * size, PAGE) if len(found) == size else 0
            size *= 2
            if after is not None and (are_large or size > MANY * PAGE):
                return self._page_of_second(query, after)

    def _page_of_second(self, query: Query, after: tuple[Any, str]) -> tuple[list[Document], int]:
        """Like ``_page``, when many documents, or large ones, have the time of ``after``."""
        time, identifier = after
        if self._second is None or not self._second.is_about(query, time):

            def read(skip: int, limit: int) -> list[str]:
                only: dict[str, Any] = {"skip": skip, "fields": ["_id", "time_created"]}
                return [one["_id"] for one in self._find(query, after, limit, at=True, **only)]

            self._second = Second(query, time, read)
        while ids := self._second.behind(identifier, PAGE):
            if documents := self._by_ids(ids):
                return documents, PAGE
            identifier = ids[-1]  # all of them have gone meanwhile
        self._second = None
        size = PAGE
        while True:
            try:
                most = PAGE_BYTES if size > 1 else None
                found = self._find(query, after, size, most=most, beyond=True)
            except TooLarge:
                size = max(size // 2, 1)
                continue
            fresh = [one for one in found if one["time_created"] != time]
            return fresh, size if len(found) == size else 0

    def _by_ids(self, ids: list[str]) -> list[Document]:
        """The first of the existing documents with these ids; all, unless they are large."""
        while True:
            body = msgspec.json.encode({"keys": ids})
            most = PAGE_BYTES if len(ids) > 1 else None
            try:
                _, data = self._request(
                    "post", "_all_docs", body=body, most=most, include_docs=True
                )
            except TooLarge:
                ids = ids[: len(ids) // 2]
                continue
            rows = self._link.read(_Rows, data).rows
            return [row.doc for row in rows if row.doc is not None]

    def _find(
        self,
        query: Query,
        after: tuple[Any, str] | None,
        limit: int,
        *,
        most: int | None = None,
        at: bool = False,
        beyond: bool = False,
        **more: Any,
    ) -> list[Document]:
        """Up to ``limit`` documents from the time of ``after`` on, in the query's order.

        They include all those after ``after``, and perhaps some before it. ``at``: only those of
        that time; ``beyond``: none of that time. ``more`` is added to the request. Raises
        TooLarge when they are more than ``most`` bytes.
        """
        first: float = query.since
        last: float = query.until - 1
        if after is not None:
            # Bounds are inclusive: some servers apply the limit before they exclude a bound.
            is_up, time = query.order == "asc", after[0]
            edge = time + (NEXT if is_up else -NEXT) if beyond else time
            first = max(first, edge) if is_up or at else first
            last = min(last, edge) if not is_up or at else last
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
            **more,
        }
        documents = self._answer(msgspec.json.encode(question), most, ddoc)
        if not all("_id" in one and "time_created" in one for one in documents):
            raise self._link.unavailable(
                "answered a query with something other than archived documents: check archive.uri"
            )
        return documents

    def _answer(self, question: bytes, most: int | None, ddoc: str) -> list[Document]:
        """The answer to a question that needs the index ``ddoc``.

        A node that was away when the index was made lacks it for a while: the others are asked.
        """
        tried = set[int]()
        while True:
            try:
                _, data = self._link.request("post", "_find", body=question, most=most)
            except CouchRefused as refused:
                if "index" not in refused.error:
                    raise self._link.explain(refused) from None
            else:
                found: _Found = self._link.read(_Found, data)
                if "no matching index" not in str(found.warning).lower():
                    return found.docs
            tried.add(self._cluster.current)
            if not self._cluster.turn_from(tried):
                raise self._no_index(ddoc)

    def _no_index(self, ddoc: str) -> ArchiveError:
        link = self._link
        return ArchiveError(
            f"CouchDB at {link.base} has no index {ddoc} in {link.database!r} for this query:"
            f" have an admin run {couch_design.admin_command(link)}"
        )

    def _request(self, method: Any, *path: str, **parameters: Any) -> tuple[int, bytes]:
        try:
            return self._link.request(method, *path, **parameters)
        except CouchRefused as refused:
            raise self._link.explain(refused) from None


_INDEXES = couch_design.indexes()


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
    doc_count: int = 0
    sizes: dict[str, int] = {}


def _position(sequence: Any) -> str:
    """A sequence as text for ``since``: strings as they are, anything else as JSON."""
    return sequence if isinstance(sequence, str) else msgspec.json.encode(sequence).decode()


def _is_behind(document: Document, after: tuple[Any, str], order: str) -> bool:
    place = document["time_created"], document["_id"]
    return place > after if order == "asc" else place < after
