"""MonthlyArchive: a CouchDB database for each month, seen as one archive.

``months`` says which database a document belongs to, and which ones a query looks into. The
databases are made when they are needed, with the rights of the ones before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from habitat_like.archive import couch_design, couch_elsewhere, couch_rights, months
from habitat_like.archive.base import (
    ArchiveError,
    ArchiveUnavailable,
    Document,
    Dropped,
    Node,
    Portion,
    Query,
    Rejected,
    to_json,
)
from habitat_like.archive.batch import BatchDocument, sort_out
from habitat_like.archive.couch import CouchArchive
from habitat_like.archive.couch_cluster import CouchCluster
from habitat_like.archive.couch_connection import CouchRefused
from habitat_like.archive.couch_http import CouchLink, NoDatabase
from habitat_like.archive.couch_listing import Listing
from habitat_like.archive.couch_retention import CouchRetention
from habitat_like.archive.months import FIRST, PLACE, TEMPLATE, UNDATED, Step
from habitat_like.times import is_set

#: A query over more months than this first asks which ones there are.
FEW = 3
#: Known documents of the undated database that are looked for by range; more are looked for by id.
_RANGE = 1000


class MonthlyArchive:
    """An ``Archive`` in the databases that ``pattern`` names, with a month for ``{month}``.

    ``views`` are made in each. ``clock`` gives UNIX seconds. Any number of gateways may write to
    the same databases. One thread at a time, except ``interrupt`` and ``nodes``.
    """

    def __init__(
        self,
        cluster: CouchCluster,
        pattern: str,
        views: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Remember where the archive is; no I/O."""
        self._cluster = cluster
        self._pattern = pattern
        self._views = views
        self._clock = clock
        self._listing = Listing(cluster)
        self._databases: dict[str, CouchArchive] = {}
        self._retention = CouchRetention(self._existing, self._database, clock)
        # Notes known to be there: the month asked for, and the one that it is noted with.
        self._noted: set[tuple[str, str]] = set()

    @property
    def name(self) -> str:
        """The URI with the user but not the password."""
        return self._cluster.name_of(self._pattern)

    def prepare(self) -> list[str]:
        """Make the databases of this month, the next one and what has no date.

        Returns a warning where the next month's can't be made by this account. Raises
        ArchiveUnavailable where the others can't.
        """
        warnings = self._make(UNDATED)
        if not is_set(self._clock()):
            return warnings
        this = months.month_of(self._clock())
        warnings += self._make(this)
        following = months.following(this)
        try:
            warnings += self._make(following)
        except ArchiveUnavailable as error:
            warnings.append(f"before {following} begins: {error}")
        return warnings

    def make(self, month: str) -> list[str]:
        """Make the database of a month, or what lacks in it; returns warnings as ``prepare``.

        Raises ArchiveUnavailable.
        """
        return self._make(month)

    def store(self, documents: Sequence[bytes]) -> list[Rejected]:
        """Store the batch, month by month; see ``Archive.store``."""
        entries, rejected = sort_out(documents)
        now = self._clock()
        by_month: dict[str, list[BatchDocument]] = {}
        for entry in entries:
            times = months.times_of(entry.body)
            month = months.home(entry.id, times.time_uploaded, now)
            by_month.setdefault(month, []).append(entry)
            self._note(months.where_asked(times.time_created, now), month, times.time_created)
        for month, some in sorted(by_month.items()):
            fresh = some if month == UNDATED else self._without_undated(some)
            if fresh:
                rejected += self._database(month).store_entries(fresh)
        return sorted(rejected, key=lambda one: one.index)

    def query(self, query: Query) -> Iterator[Document]:
        """Yield the documents that match; see ``Archive.query``.

        Goes through the months of the query's times in its order. Each database is read from the
        first month on in which it can have documents, beside the few others that can.
        """
        now = self._clock()
        steps = months.steps(query, now)
        known: set[str] | None = None
        notes: dict[str, list[str]] | None = None
        if len(steps) > FEW:
            known, notes = self._existing(), couch_elsewhere.read_all(self._undated)
        left = query.limit
        missing = set[str]()
        asked = set[str]()
        heads: list[_Head] = []
        choose = min if query.order == "asc" else max
        for step in steps:
            for month in sorted(self._places(step, query, known, notes) - asked):
                asked.add(month)
                part = self._from(step, query, left)
                stream = self._stream(month, part, known, missing)
                if (first := next(stream, None)) is not None:
                    heads.append(_Head(first, stream))
            while heads:
                place = choose(one.place for one in heads)
                if not step.since <= place[0] < step.until:
                    break
                # More than one only if a document lies in two databases.
                at = [one for one in heads if one.place == place]
                yield at[0].document
                left = None if left is None else left - 1
                if left == 0:
                    return
                heads = [one for one in heads if one not in at or one.move_on()]
        if asked and asked == missing:
            self._check_there()

    @staticmethod
    def _from(step: Step, query: Query, left: int | None) -> Query:
        """The query from a step on."""
        if query.order == "asc":
            return msgspec.structs.replace(query, since=step.since, limit=left)
        return msgspec.structs.replace(query, until=step.until, limit=left)

    def lines(self, query: Query) -> Iterator[bytes]:
        """Yield them as JSON; see ``Archive.lines``."""
        return map(to_json, self.query(query))

    def get(self, identifier: str) -> Document | None:
        """The document with this ``_id``; see ``Archive.get``."""
        return self._first(identifier, CouchArchive.get)

    def read_back(self, identifier: str) -> Document | None:
        """As ``get``, from as many nodes as make a quorum."""
        return self._first(identifier, CouchArchive.read_back)

    def position(self) -> str:
        """The position of ``follow``: the sequence of each database."""
        known = {month: self._database(month).position() for month in sorted(self._there())}
        return msgspec.json.encode(known).decode()

    def follow(self, position: str) -> tuple[list[Document], str]:
        """Some documents archived since ``position``, of one month; call again for more."""
        there = self._there()
        try:
            known = msgspec.json.decode(position, type=dict[str, str])
        except msgspec.DecodeError:
            raise ArchiveError(f"{self.name}: {position!r} is no position of this feed") from None
        for month in sorted(there, reverse=True):
            try:
                documents, at = self._database(month).follow(known.get(month, "0"))
            except NoDatabase:  # dropped meanwhile
                continue
            known[month] = at
            if documents:
                return documents, msgspec.json.encode(known).decode()
        return [], msgspec.json.encode(known).decode()

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
        """See ``AgingArchive``; ``name`` is a month, or UNDATED."""
        return self._retention.drop(name)

    def hold(self) -> AbstractContextManager[None]:
        """See ``AgingArchive``."""
        return self._retention.hold()

    def nodes(self) -> list[Node]:
        """See ``ClusterArchive``."""
        return self._cluster.states()

    def ask_nodes(self) -> list[Node]:
        """See ``ClusterArchive``."""
        return self._database(UNDATED).ask_nodes()

    def tend_nodes(self) -> None:
        """See ``ClusterArchive``."""
        self._database(UNDATED).tend_nodes()

    def interrupt(self) -> None:
        """Abort a request another thread is waiting for; see ``Archive.interrupt``."""
        self._cluster.interrupt()

    def close(self) -> None:
        """Close the connections. The next call reopens one."""
        self._cluster.close()

    def _database(self, month: str) -> CouchArchive:
        if month not in self._databases:
            database = self._pattern.replace(PLACE, month)
            command = couch_design.as_admin(self.name, f"habitat archive make {month}")
            link = CouchLink(self._cluster, database, command)
            self._databases[month] = CouchArchive(
                self._cluster, link, self._views, make=lambda: self._make(month)
            )
        return self._databases[month]

    def _make(self, month: str) -> list[str]:
        """Make a month's database with its indexes and rights, or what lacks of them."""
        database = self._database(month)
        couch_design.make_database(database.link)
        self._listing.made(database.link.database)
        warnings = []
        template = self._template(month)
        if template is not None:
            try:
                couch_rights.copy(template, database.link)
            except CouchRefused as refused:
                if refused.status not in (401, 403):
                    raise database.link.explain(refused) from None
                warnings.append(
                    f"user {self._cluster.user!r} may not copy the rights of {template.database!r}"
                    f" to {database.link.database!r}: have an admin run {database.link.command}"
                )
        return warnings + couch_design.sync(database.link, self._views)

    def _template(self, month: str) -> CouchLink | None:
        """The database whose rights a new one gets: the template, else the first of all."""
        name = self._pattern.replace(PLACE, TEMPLATE)
        try:
            if self._listing.existing([name]):
                return CouchLink(self._cluster, name)
        except CouchRefused:
            pass
        there = self._existing()
        others = sorted(there - {month, UNDATED}) + sorted(there & {UNDATED} - {month})
        return self._database(others[0]).link if others else None

    def _existing(self) -> set[str]:
        """The months that have a database. Raises ArchiveUnavailable."""
        # A month ahead, as the next one's is made early.
        last = months.following(months.month_of(months.latest(self._clock())))
        candidates = [*months.between(months.month_of(FIRST), last), UNDATED]
        names = {self._pattern.replace(PLACE, month): month for month in candidates}
        try:
            found = self._listing.existing(sorted(names))
        except CouchRefused as refused:
            raise self._database(UNDATED).link.explain(refused) from None
        except msgspec.DecodeError as error:
            raise self._database(UNDATED).link.unreadable(error) from None
        return {names[name] for name in found}

    def _places(
        self,
        step: Step,
        query: Query,
        known: Collection[str] | None,
        notes: dict[str, list[str]] | None,
    ) -> set[str]:
        """The months whose databases can have documents of the step's times.

        Without ``notes`` of all months they are read; ``known`` are those that exist, if known.
        """

        def noted(month: str) -> set[str]:
            if notes is None:
                return set(couch_elsewhere.read(self._database(month).link))
            return set(notes.get(month, ()))

        places = noted(step.month)
        if step.month != UNDATED:
            places |= set(months.near(step.since, step.until))
        if step.month == UNDATED or query.suspicious:
            # What is suspicious may have been stored before its time had come.
            places |= {UNDATED, *noted(UNDATED)}
        return places if known is None else places & {*known, UNDATED}

    @property
    def _undated(self) -> CouchLink:
        return self._database(UNDATED).link

    def _stream(
        self, month: str, query: Query, known: Collection[str] | None, missing: set[str]
    ) -> Iterator[Document]:
        """What one database has; nothing if there is none, which is then ``missing``."""
        database = self._database(month)
        last: tuple[Any, str] | None = None
        while True:
            try:
                for document in database.query(query):
                    self._retention.renew()
                    yield document
                    last = _place(document)
            except NoDatabase:
                if couch_design.is_elsewhere(database.link):
                    query = msgspec.structs.replace(query, after=last or query.after)
                    continue
                # Once something came out of it, an end would look like the whole.
                if last is not None or (known is not None and month in known):
                    raise
                missing.add(month)
            return

    def _there(self) -> set[str]:
        """As ``_existing``, but raises ArchiveUnavailable if there is no archive at all."""
        found = self._existing()
        if not found:
            self._check_there()
        return found

    def _check_there(self) -> None:
        """Raise ArchiveUnavailable if there is no archive at all, rather than an empty one."""
        link = self._database(UNDATED).link
        try:
            link.request("get")
        except CouchRefused as refused:
            if refused.status != 404 or not self._existing():
                raise link.explain(refused) from None

    def _note(self, asked: str, month: str, created: Any) -> None:
        """See that a query for ``created`` looks into the database of ``month``."""
        if asked == month or (asked, month) in self._noted:
            return
        if asked != UNDATED and month in months.near(created, created + 1):
            return
        link = self._database(asked).link
        couch_elsewhere.note(link, month, lambda: self._make(asked))
        if asked != UNDATED:
            couch_elsewhere.note_in_all(self._undated, asked, month, lambda: self._make(UNDATED))
        self._noted.add((asked, month))

    def _without_undated(self, entries: list[BatchDocument]) -> list[BatchDocument]:
        """The entries that were not archived without a date, when their time lay ahead."""
        ids = sorted(entry.id for entry in entries)
        link = self._database(UNDATED).link
        ends = {"startkey": ids[0], "endkey": ids[-1]}
        parameters: dict[str, Any] = {
            key: msgspec.json.encode(one).decode() for key, one in ends.items()
        }
        try:
            _, data = link.request("get", "_all_docs", limit=_RANGE, **parameters)
            rows = link.read(_Rows, data).rows
            if len(rows) == _RANGE:
                body = msgspec.json.encode({"keys": ids})
                _, data = link.request("post", "_all_docs", body=body)
                rows = link.read(_Rows, data).rows
        except CouchRefused as refused:
            if refused.status == 404 and not couch_design.is_elsewhere(link):
                return entries
            raise link.explain(refused) from None
        known = {row.id for row in rows if row.error is None}
        return [entry for entry in entries if entry.id not in known]

    def _first(
        self, identifier: str, read: Callable[[CouchArchive, str], Document | None]
    ) -> Document | None:
        month = months.home(identifier, None, self._clock())
        for place in dict.fromkeys((month, UNDATED)):
            try:
                found = read(self._database(place), identifier)
            except NoDatabase:
                if place == UNDATED:
                    self._check_there()
                continue
            if found is not None:
                return found
        return None


class _Row(msgspec.Struct):
    id: str = ""
    error: str | None = None


class _Rows(msgspec.Struct):
    rows: list[_Row]


class _Head:
    """The next ``document`` of one database, at its ``place``, and the ``stream`` behind it."""

    def __init__(self, document: Document, stream: Iterator[Document]) -> None:
        self.document = document
        self.place = _place(document)
        self._stream = stream

    def move_on(self) -> bool:
        """Go to the next document; False if there is none."""
        document = next(self._stream, None)
        if document is None:
            return False
        self.document, self.place = document, _place(document)
        return True


def _place(document: Document) -> tuple[Any, str]:
    return document["time_created"], document["_id"]
