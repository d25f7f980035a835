"""BulkWriter: stores batches of documents in a CouchDB database.

The rules it relies on are CouchDB's (3.x): ``_bulk_docs`` answers one row for each document
(https://docs.couchdb.org/en/stable/api/database/bulk-api.html#db-bulk-docs), 202 means that fewer
nodes than the write quorum have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from habitat_like.archive import couch_local, couch_place
from habitat_like.archive.base import ArchiveUnavailable, Rejected
from habitat_like.archive.batch import BatchDocument, sort_out
from habitat_like.archive.couch_cluster import NodeStill
from habitat_like.archive.couch_connection import CouchRefused, one_line
from habitat_like.archive.couch_http import CouchLink
from habitat_like.archive.couch_place import RefusedDocument

#: Maximum bytes of documents in one request, unless a single document is larger.
REQUEST_BYTES = 8 * 1024 * 1024

#: Row errors that the same document would get again as long as the database stays the same.
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


class BulkWriter:
    """Stores batches over ``link``; ``make_database`` recreates a lost database.

    One thread at a time.
    """

    def __init__(self, link: CouchLink, make_database: Callable[[], object]) -> None:
        self._link = link
        self._make_database = make_database
        # After a 202, or among several nodes, known documents are no proof of a quorum.
        self._doubts_quorum = link.cluster.is_several

    def store(self, documents: Sequence[bytes]) -> list[Rejected]:
        """Store the batch with as few ``_bulk_docs`` as its size allows; see ``Archive.store``.

        A conflict means that the document is already archived. Refused for good are: anything but
        a JSON object with a usable ``_id``; what CouchDB or a validation function of the database
        forbids; what is too large. A request refused as a whole for its content (400, 413) is
        halved until the faulty documents are isolated. A lost database is recreated. A fault of
        the database rather than of the documents raises ArchiveUnavailable (``couch_place``).
        """
        entries, rejected = sort_out(documents)
        rejected += self.store_entries(entries)
        return sorted(rejected, key=lambda one: one.index)

    def store_entries(self, entries: list[BatchDocument]) -> list[Rejected]:
        """Store documents that are sorted out already; their ``index`` can be any."""
        rejected: list[Rejected] = []
        refusals: list[RefusedDocument] = []
        # By id: the indexes of CouchDB follow in the order of the documents, which is then theirs.
        for run in _runs(sorted(entries, key=lambda entry: entry.id)):
            refusals += self._send(run)
        if refusals:
            try:
                problem = couch_place.fault(self._link, refusals, len(entries) - len(refusals))
            except CouchRefused as refused:
                raise self._link.explain(refused) from None
            if problem is not None:
                raise self._link.unavailable(problem)
        for entry, why in refusals:
            said = one_line(f"{why.error}: {why.reason}") if not why.status else str(why)
            rejected += entry.rejected(f"CouchDB refused the document: {said}")
        return rejected

    def _send(self, entries: list[BatchDocument]) -> list[RefusedDocument]:
        """Store the entries, on another node if one fails to."""
        cluster = self._link.cluster
        tried = set[int]()
        is_still = False
        while True:
            try:
                # One that hangs holds up the others too, for as long as CouchDB takes it for alive
                # (up to a minute): they answer a conflict only when all copies have.
                some = self._unknown(entries) if is_still else entries
                return self._try(some, once=not is_still)
            except NodeStill:
                is_still = True
            except _BadAnswer as error:  # the cluster has seen to all else
                tried.add(cluster.current)
                cluster.leave(str(error).removeprefix(f"CouchDB at {cluster.base} "))
                if not cluster.turn_from(tried):
                    raise
                # Also if it can't be reached, and the request then ends at another.
                tried.add(cluster.current)

    def _unknown(self, entries: list[BatchDocument]) -> list[BatchDocument]:
        """The entries that are not archived yet, as a quorum of each one's copies has it.

        CouchDB reads each of these keys as it reads a document (``fabric_view_all_docs.erl``).
        """
        body = msgspec.json.encode({"keys": [entry.id for entry in entries]})
        try:
            _, data = self._link.request("post", "_all_docs", body=body)
        except CouchRefused as refused:
            if refused.status == 404:
                return entries
            raise self._link.explain(refused) from None
        rows = self._link.read(_Known, data).rows
        known = {row.id for row in rows if row.value is not None and not row.value.deleted}
        self._check_quorum(201, 0, len(known))
        return [entry for entry in entries if entry.id not in known]

    def _try(self, entries: list[BatchDocument], *, once: bool) -> list[RefusedDocument]:
        """Store the entries in one request, or halve it, recursively."""
        if not entries:
            return []
        try:
            status, data = self._post(entries, once=once)
        except CouchRefused as refused:
            # A 400 that isn't CouchDB's own says nothing about the documents.
            if not (refused.status == 413 or (refused.status == 400 and refused.error)):
                raise self._link.explain(refused) from None
            if len(entries) == 1:
                return [(entries[0], refused)]
            middle = len(entries) // 2
            return self._send(entries[:middle]) + self._send(entries[middle:])
        return self._judge(entries, status, data)

    def _post(self, entries: list[BatchDocument], *, once: bool) -> tuple[int, bytes]:
        """The answer to ``_bulk_docs``. A missing database is created, once."""
        body = b'{"docs":[' + b",".join([entry.body for entry in entries]) + b"]}"
        try:
            return self._link.request("post", "_bulk_docs", body=body, once=once)
        except CouchRefused as refused:
            if refused.status != 404:
                raise
        self._make_database()
        return self._link.request("post", "_bulk_docs", body=body, once=once)

    def _judge(
        self, entries: list[BatchDocument], status: int, data: bytes
    ) -> list[RefusedDocument]:
        """Read the rows: raise ArchiveUnavailable unless each document is stored or refused."""
        rows = self._read(entries, data)
        refusals: list[RefusedDocument] = []
        failed: list[_Row] = []
        fresh = 0
        for entry in entries:
            row = rows[entry.id]
            if row.error is None and row.ok is True:
                fresh += 1
            elif row.error in _FOR_GOOD:
                # A row has no status of its own.
                refusals.append((entry, CouchRefused(0, row.error, str(row.reason or ""))))
            elif row.error != "conflict":
                failed.append(row)
        if failed:
            first = one_line(f"{failed[0].error}: {failed[0].reason}")
            raise self._bad(
                f"could not store {len(failed)} of {len(entries)} documents ({first}):"
                " look at its log"
            )
        self._check_quorum(status, fresh, len(entries) - len(refusals) - fresh)
        return refusals

    def _read(self, entries: list[BatchDocument], data: bytes) -> dict[str, _Row]:
        """The rows by id: by position they can't be told, as CouchDB's relatives sort them."""
        try:
            rows = self._link.read(list[_Row], data)
        except ArchiveUnavailable as error:
            raise _BadAnswer(str(error)) from None
        by_id = {row.id: row for row in rows}
        if len(rows) != len(entries) or by_id.keys() != {entry.id for entry in entries}:
            raise self._bad(
                f"answered {len(rows)} rows for {len(entries)} documents, or for others than were"
                " sent: check what stands between it and the gateway"
            )
        return by_id

    def _check_quorum(self, status: int, fresh: int, known: int) -> None:
        """Raise ArchiveUnavailable unless enough nodes have the ``fresh`` and ``known`` ones."""
        if status == 202 and (fresh or known):
            self._doubts_quorum = True
            raise self._bad(
                f"has {fresh or known} documents on too few nodes (202, the write quorum was not"
                " met): look at the nodes of the cluster"
            )
        if fresh and status != 201:
            raise self._bad(
                f"answered {status} instead of 201: check what stands between it and the gateway"
            )
        if known and not fresh and self._doubts_quorum:
            try:
                met = couch_local.quorum_met(self._link.request)
            except CouchRefused as refused:
                raise self._link.explain(refused) from None
            if not met:
                raise self._bad(
                    f"has {known} documents, but no write reaches the quorum (202): look at the"
                    " nodes of the cluster"
                )
            self._doubts_quorum = self._link.cluster.is_several

    def _bad(self, what: str) -> _BadAnswer:
        return _BadAnswer(str(self._link.unavailable(what)))


class _BadAnswer(ArchiveUnavailable):
    """A node answered, but what it says is no success; another may do better."""


class _Row(msgspec.Struct):
    """One row of the answer to ``_bulk_docs``."""

    id: str
    ok: Any = None
    error: str | None = None
    reason: Any = None


class _Revision(msgspec.Struct):
    deleted: bool = False


class _KnownRow(msgspec.Struct):
    """One row of the answer to ``_all_docs``; no ``value`` where there is no such document."""

    id: str = ""
    value: _Revision | None = None


class _Known(msgspec.Struct):
    rows: list[_KnownRow]


def _runs(entries: list[BatchDocument]) -> Iterator[list[BatchDocument]]:
    """The batch in pieces of at most ``REQUEST_BYTES``."""
    run: list[BatchDocument] = []
    size = 0
    for entry in entries:
        if run and size + len(entry.body) > REQUEST_BYTES:
            yield run
            run, size = [], 0
        run.append(entry)
        size += len(entry.body) + 1
    if run:
        yield run
