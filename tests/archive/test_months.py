"""A database for each month: what goes where, and what queries ask of which of them."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.archive import Query, months
from habitat_like.archive.base import Document
from habitat_like.archive.couch_cluster import CouchCluster
from habitat_like.archive.couch_months import MonthlyArchive
from habitat_like.archive.couch_uri import CouchUri
from habitat_like.archive.months import FIRST, UNDATED
from habitat_like.times import FUTURE, MAX_TIME
from tests.conftest import HabitatFactory
from tests.support.archive import ORDERS, Order, encode, everything, fails, ids
from tests.support.couch import CouchServer
from tests.support.load import identity, upload
from tests.support.proxy import Action, Answer, Proxy, Rewrite, on, times
from tests.support.wait import PATIENCE, eventually

DAY = 86400
#: What the clock of these tests says: 2026-11-15, noon.
NOW = 1_794_744_000


def at(month: str, day: int = 15, second: int = 0) -> int:
    return months.begin(month) + (day - 1) * DAY + second


def document(number: int, sent: int, created: int | None = None, **more: Any) -> Document:
    """One that a station dated ``sent`` and that was really created at ``created``."""
    created = sent if created is None else created
    tree = {"_id": f"{sent:010d}-{number:024x}", "type": "T", "callsign": "C"}
    return {**tree, "time_created": created, "time_uploaded": NOW, **more}


Opener = Callable[..., MonthlyArchive]


@pytest.fixture
def opener(proxy: Proxy, couch: CouchServer, database: str) -> Iterator[Opener]:
    opened: list[MonthlyArchive] = []

    def open_it(now: float = NOW, user: str | None = None) -> MonthlyArchive:
        uri = CouchUri("couchdb", f"{database}-{{month}}", (f"127.0.0.1:{proxy.port}",), user)
        made = MonthlyArchive(CouchCluster(uri, PATIENCE), uri.database, clock=lambda: now)
        opened.append(made)
        return made

    yield open_it
    for archive in opened:
        archive.close()
    for name in couch.databases():
        if name.startswith(f"{database}-"):
            couch.delete(name)


@pytest.fixture
def archive(opener: Opener) -> MonthlyArchive:
    made = opener()
    assert made.prepare() == []
    return made


class Asked:
    """The databases that requests go to from now on."""

    def __init__(self, proxy: Proxy, database: str) -> None:
        self._proxy = proxy
        self._begin = f"/{database}-"
        self.forget()

    def forget(self) -> None:
        self._from = len(self._proxy.requests)

    def months(self) -> set[str]:
        paths = [one.path for one in self._proxy.requests[self._from :]]
        return {
            path.removeprefix(self._begin).partition("/")[0].partition("?")[0]
            for path in paths
            if path.startswith(self._begin)
        }

    def paths(self) -> list[str]:
        return [one.path for one in self._proxy.requests[self._from :]]

    def others(self) -> list[str]:
        paths = [one.path for one in self._proxy.requests[self._from :]]
        return [path for path in paths if not path.startswith(self._begin)]


@pytest.fixture
def asked(proxy: Proxy, database: str) -> Asked:
    return Asked(proxy, database)


def stored(couch: CouchServer, database: str) -> dict[str, list[str]]:
    """The ids in each database that has any."""
    begin = f"{database}-"
    names = [name for name in couch.databases() if name.startswith(begin)]
    found = {name.removeprefix(begin): ids(couch.all_docs(name)) for name in names}
    return {month: some for month, some in found.items() if some}


def test_a_document_lies_in_the_month_of_its_id(
    archive: MonthlyArchive, couch: CouchServer, database: str
) -> None:
    places = {
        "2024-02": document(1, at("2024-02", 29, DAY - 1)),
        "2024-03": document(2, at("2024-03", 1)),
        "2000-01": document(3, FIRST),
        "2026-11": document(4, NOW + FUTURE),
        UNDATED: document(5, FIRST - 1),
    }
    late = [document(6, NOW + FUTURE + 1), {**document(7, NOW), "_id": "of somebody else"}]
    assert archive.store(encode([*places.values(), *late])) == []
    found = stored(couch, database)
    assert {month: ids([one]) for month, one in places.items() if month != UNDATED} == {
        month: some for month, some in found.items() if month != UNDATED
    }
    assert sorted(found[UNDATED]) == sorted(ids([places[UNDATED], *late]))
    everyone = [*places.values(), *late]
    assert sorted(ids(everything(archive))) == sorted(ids(everyone))
    for one in everyone:
        assert archive.get(one["_id"]) == one
    assert archive.get(f"{NOW:010d}-{99:024x}") is None


def spread() -> list[Document]:
    """Documents over two years, some of stations whose clocks are wrong, in order."""
    made = []
    for number in range(240):
        created = at("2024-11") + number * 3 * DAY
        wrong = {0: 0, 1: -3600, 2: 20 * DAY, 3: -400 * DAY, 4: 5 - created}.get(number % 10, 0)
        made.append(document(number, created + wrong, created))
    return sorted(made, key=lambda one: (one["time_created"], one["_id"]))


@pytest.mark.parametrize("order", ORDERS)
def test_a_query_is_in_order_over_all_months(archive: MonthlyArchive, order: Order) -> None:
    wanted = spread()
    assert archive.store(encode(wanted)) == []
    if order == "desc":
        wanted = wanted[::-1]
    assert list(archive.query(Query(order=order))) == wanted
    assert ids(archive.query(Query(order=order, limit=17))) == ids(wanted[:17])
    for begin, end in (("2025-03", "2025-03"), ("2025-02", "2026-01"), ("2024-11", "2026-11")):
        since, until = at(begin, 3, 5), at(end, 28, 7)
        part = [one for one in wanted if since <= one["time_created"] < until]
        assert part
        assert list(archive.query(Query(order=order, since=since, until=until))) == part
    paged: list[Document] = []
    while page := list(archive.query(Query(order=order, limit=7, after=_last(paged)))):
        paged += page
    assert paged == wanted


def _last(page: list[Document]) -> tuple[int, str] | None:
    return (page[-1]["time_created"], page[-1]["_id"]) if page else None


def test_a_day_touches_one_database(archive: MonthlyArchive, asked: Asked) -> None:
    archive.store(encode([document(n, at(f"2025-{n:02d}")) for n in range(1, 13)]))
    asked.forget()
    day = Query(since=at("2025-06", 15), until=at("2025-06", 16), order="asc")
    assert ids(archive.query(day)) == ids([document(6, at("2025-06"))])
    assert asked.months() == {"2025-06"}
    assert not asked.others()
    asked.forget()
    first = Query(since=at("2025-06", 1), until=at("2025-06", 2), order="asc")
    assert list(archive.query(first)) == []
    assert asked.months() == {"2025-05", "2025-06"}, "a clock may be wrong by a day"


def test_a_wrong_clock_is_found_where_it_was_right(archive: MonthlyArchive, asked: Asked) -> None:
    """The id has the station's own time, years off; queries ask for the corrected one."""
    slow = document(1, at("2024-01"), at("2026-05", 15, 60))
    unset = document(2, 1234, at("2026-05", 15, 61))
    archive.store(encode([slow, unset, document(3, at("2026-05"))]))
    asked.forget()
    day = Query(since=at("2026-05", 15), until=at("2026-05", 16), order="asc")
    assert ids(archive.query(day))[1:] == ids([slow, unset])
    assert asked.months() == {"2024-01", "2026-05", UNDATED}


def test_suspicious_documents_are_found_where_their_date_says(archive: MonthlyArchive) -> None:
    odd = [
        document(1, NOW, MAX_TIME, suspicious="date"),
        document(2, at("2025-05"), NOW + 40 * DAY, suspicious="date"),
        document(3, MAX_TIME, NOW + 40 * DAY, suspicious="date"),
    ]
    archive.store(encode([*odd, document(4, NOW)]))
    assert ids(everything(archive)) == ids([document(4, NOW)])
    all_of_them = list(archive.query(Query(order="asc", suspicious=True)))
    assert sorted(ids(all_of_them)) == sorted(ids([*odd, document(4, NOW)]))
    month = Query(since=NOW + 39 * DAY, until=NOW + 41 * DAY, suspicious=True)
    assert sorted(ids(archive.query(month))) == sorted(ids(odd[1:]))


def test_suspicious_documents_are_found_once_their_time_has_come(
    archive: MonthlyArchive, opener: Opener
) -> None:
    ahead = document(1, at("2025-05"), NOW + 40 * DAY, suspicious="date")
    archive.store(encode([ahead]))
    later = opener(NOW + 60 * DAY)
    month = Query(since=NOW + 39 * DAY, until=NOW + 41 * DAY, suspicious=True)
    assert list(later.query(month)) == [ahead]


def test_repeats_meet_their_first(
    archive: MonthlyArchive, opener: Opener, couch: CouchServer, database: str
) -> None:
    """Also one that was dated ahead of its time, and is sent again when that has come."""
    ahead = document(1, NOW + 5 * DAY, NOW)
    right = document(2, NOW)
    assert archive.store(encode([ahead, right])) == []
    later = opener(NOW + 10 * DAY)
    again = [{**one, "time_uploaded": NOW + 10 * DAY} for one in (ahead, right)]
    assert later.store(encode(again)) == []
    assert later.store(encode([ahead, right])) == [], "a replay"
    assert stored(couch, database) == {UNDATED: ids([ahead]), "2026-11": ids([right])}
    assert archive.get(ahead["_id"]) == ahead


def test_a_batch_over_two_months_is_two_requests(
    archive: MonthlyArchive, proxy: Proxy, couch: CouchServer, database: str
) -> None:
    two = encode([document(n, at(f"2026-{10 + n % 2}")) for n in range(10)])
    proxy.rule = times(1, on("POST", f"{database}-2026-11/_bulk_docs", Answer(503)))
    fails(lambda: archive.store(two))
    assert set(stored(couch, database)) == {"2026-10"}
    before = proxy.count("POST", "_bulk_docs")
    assert archive.store(two) == []
    assert proxy.count("POST", "_bulk_docs") == before + 2
    assert {month: len(some) for month, some in stored(couch, database).items()} == {
        "2026-10": 5,
        "2026-11": 5,
    }


def test_one_bad_document_among_months_is_rejected_alone(archive: MonthlyArchive) -> None:
    batch = encode([document(n, at(f"2026-{10 + n % 2}")) for n in range(4)])
    (rejected,) = archive.store([*batch[:2], b"{", *batch[2:]])
    assert rejected.index == 2
    assert len(everything(archive)) == 4


def closed_to_making(method: str, path: str, body: bytes) -> Action | None:
    """An account that may write documents, and make no database."""
    is_database = path.count("/") == 1 and not path.startswith("/_")
    if method in ("PUT", "DELETE") and is_database:
        return Answer(401, reason="You are not a server admin.")
    return Answer(401, reason="You are not a server admin.") if "_all_dbs" in path else None


def test_an_account_that_may_not_make_databases(
    proxy: Proxy, couch: CouchServer, database: str, archive: MonthlyArchive, opener: Opener
) -> None:
    mine = opener(user="gateway")
    proxy.rule = closed_to_making
    old = encode([document(1, at("2026-03"))])
    text = fails(lambda: mine.store(old))
    assert f"has no database '{database}-2026-03'" in text
    uri = f"HABITAT_ARCHIVE_URI='couchdb://ADMIN@127.0.0.1:{proxy.port}/{database}-{{month}}'"
    assert uri in text
    assert "habitat archive make 2026-03" in text
    assert mine.store(encode([document(2, NOW)])) == [], "what has its database goes on"
    assert ids(everything(mine)) == ids([document(2, NOW)])
    couch.delete(f"{database}-2026-12")
    (warning,) = mine.prepare()
    assert warning.startswith("before 2026-12 begins: ")
    assert "habitat archive make 2026-12" in warning
    proxy.rule = None
    assert opener().make("2026-03") == []
    proxy.rule = closed_to_making
    assert mine.store(old) == []


def test_a_new_database_has_the_rights_of_the_first(
    archive: MonthlyArchive, couch: CouchServer, database: str
) -> None:
    archive.store(encode([document(1, at("2026-02"))]))
    rights = {"admins": {"names": [], "roles": []}, "members": {"names": ["a"], "roles": []}}
    assert couch.request("PUT", f"/{database}-2026-02/_security", rights).status == 200
    guard = {"validate_doc_update": "function (doc) {}"}
    assert couch.request("PUT", f"/{database}-2026-02/_design/guard", guard).status == 201
    archive.store(encode([document(2, at("2026-03"))]))
    assert couch.request("GET", f"/{database}-2026-03/_security").json() == rights
    copied = couch.request("GET", f"/{database}-2026-03/_design/guard").json()
    assert copied["validate_doc_update"] == guard["validate_doc_update"]
    # The template comes first, where there is one.
    other = {**rights, "members": {"names": ["b"], "roles": []}}
    couch.create(f"{database}-template")
    assert couch.request("PUT", f"/{database}-template/_security", other).status == 200
    archive.store(encode([document(3, at("2026-04"))]))
    assert couch.request("GET", f"/{database}-2026-04/_security").json() == other
    assert couch.request("GET", f"/{database}-2026-03/_security").json() == rights
    assert len(everything(archive)) == 3, "the template is no month"


def test_an_account_that_may_not_copy_rights_archives_all_the_same(
    archive: MonthlyArchive, opener: Opener, couch: CouchServer, proxy: Proxy, database: str
) -> None:
    couch.create(f"{database}-template")
    rights = {"admins": {"names": [], "roles": []}, "members": {"names": ["a"], "roles": []}}
    assert couch.request("PUT", f"/{database}-template/_security", rights).status == 200
    refusal = Answer(500, b'{"error":"error","reason":"no_majority"}')
    proxy.rule = on("PUT", "/_security", refusal)
    mine = opener(user="gateway")
    assert {"may not copy the rights" in warning for warning in mine.prepare()} == {True}
    assert mine.store(encode([document(1, NOW)])) == []

    def cut_off(method: str, path: str, body: bytes) -> Action | None:
        if method == "PUT" and "/_local/" in path:
            return Rewrite(202)
        return refusal if method == "PUT" and "/_security" in path else None

    proxy.rule = cut_off
    assert "no_majority" in fails(mine.prepare)


def test_the_server_is_asked_for_all_databases_at_once(
    proxy: Proxy, archive: MonthlyArchive, asked: Asked, database: str
) -> None:
    """As CouchDB answers, which the CouchDB-protocol server of these tests doesn't."""
    archive.store(encode([document(1, at("2025-03")), document(2, at("2025-09"))]))

    def infos(method: str, path: str, body: bytes) -> Action | None:
        if path != "/_dbs_info":
            return None
        there = {f"{database}-2025-03", f"{database}-2025-09"}
        names = json.loads(body)["keys"]
        assert len(names) <= 100
        rows = [
            {"key": name, "info": {"db_name": name}} if name in there else {"key": name}
            for name in names
        ]
        return Answer(200, json.dumps(rows).encode())

    proxy.rule = infos
    fresh = MonthlyArchive(archive._cluster, f"{database}-{{month}}", clock=lambda: NOW)
    asked.forget()
    assert len(list(fresh.query(Query(order="asc", since=FIRST, until=NOW)))) == 2
    assert asked.months() == {"2025-03", "2025-09", UNDATED}, "and the notes of all months"
    assert len(asked.paths()) == 4 + 1 + 2, asked.paths()


def test_an_account_that_may_not_list_databases_asks_for_missing_ones_now_and_then(
    proxy: Proxy, archive: MonthlyArchive, asked: Asked
) -> None:
    """As a member of the databases from CouchDB 3.3 on."""

    def closed(method: str, path: str, body: bytes) -> Action | None:
        lists = path.startswith(("/_dbs_info", "/_all_dbs"))
        return Answer(401, reason="You are not a server admin.") if lists else None

    proxy.rule = closed
    every = Query(since=FIRST, until=NOW)
    fresh = MonthlyArchive(archive._cluster, archive._pattern, clock=lambda: NOW)
    assert list(fresh.query(every)) == []
    asked.forget()
    assert list(fresh.query(every)) == []
    assert asked.months() == {"2026-11", "2026-12", UNDATED}
    assert fresh.store(encode([document(1, at("2025-03"))])) == []
    assert len(list(fresh.query(every))) == 1, "one that it made itself is there at once"


def test_a_month_that_goes_while_it_is_read_is_no_silent_end(
    archive: MonthlyArchive, couch: CouchServer, database: str
) -> None:
    archive.store(encode([document(n, at("2026-01"), at("2026-01") + n) for n in range(1200)]))
    archive.store(encode([document(1, at("2026-05"))]))
    reading = archive.query(Query(order="asc"))
    next(reading)
    couch.delete(f"{database}-2026-01")
    assert "has no database" in fails(lambda: list(reading))


def test_the_feed_goes_over_all_months(archive: MonthlyArchive) -> None:
    archive.store(encode([document(1, NOW)]))
    position = archive.position()
    late = [document(2, at("2025-01")), document(3, NOW), document(4, 5)]
    archive.store(encode(late))
    found: list[Document] = []
    while True:
        some, position = archive.follow(position)
        if not some:
            break
        found += some
    assert sorted(ids(found)) == sorted(ids(late))


def test_a_note_on_too_few_nodes_is_no_note(archive: MonthlyArchive, proxy: Proxy) -> None:
    slow = encode([document(1, at("2024-01"), at("2026-05"))])
    proxy.rule = on("PUT", "_local/habitat-elsewhere", Rewrite(202))
    for _ in range(3):  # then all notes are there, but on one node
        assert "202" in fails(lambda: archive.store(slow))
    proxy.rule = None
    assert archive.store(slow) == []
    assert len(list(archive.query(Query(since=at("2026-05", 14), until=at("2026-05", 16))))) == 1


def test_a_note_that_another_gateway_replaces_is_made_again(
    archive: MonthlyArchive, proxy: Proxy, couch: CouchServer, database: str
) -> None:
    """CouchDB compares no revisions of local documents: the last of two writers wins."""
    path = f"/{database}-2026-05/_local/habitat-elsewhere"

    def replaced(body: bytes) -> bytes:
        note = couch.request("GET", path).json()
        theirs = {"months": ["2023-01"], "_rev": note["_rev"]}
        assert couch.request("PUT", path, theirs).status == 201
        return body

    proxy.rule = times(1, on("PUT", path, Rewrite(None, replaced)))
    assert archive.store(encode([document(1, at("2024-01"), at("2026-05"))])) == []
    assert couch.request("GET", path).json()["months"] == ["2023-01", "2024-01"]


TIMES = st.integers(0, MAX_TIME)


@given(TIMES, TIMES, st.none() | st.tuples(TIMES, st.just("x")), st.sampled_from(ORDERS))
def test_steps_cover_the_times_of_a_query_once_and_in_order(
    one: int, other: int, after: tuple[int, str] | None, order: Order
) -> None:
    since, until = sorted((one, other))
    made = months.steps(Query(since=since, until=until, order=order, after=after), NOW)
    if order == "desc":
        made = made[::-1]
    for earlier, later in itertools.pairwise(made):
        assert earlier.until == later.since
    if after is None and since < until:
        assert (made[0].since, made[-1].until) == (since, until)
    for step in made:
        assert step.since < step.until
        for second in (step.since, step.until - 1):
            assert months.where_asked(second, NOW) == step.month


@given(st.integers(FIRST, NOW), st.integers(-DAY, DAY))
def test_a_clock_a_day_off_needs_no_note(created: int, wrong: int) -> None:
    sent = max(created + wrong, FIRST)
    home = months.home(f"{sent:010d}-x", NOW, NOW)
    assert home == UNDATED or home in months.near(created, created + 1)


def test_a_gateway_archives_by_the_month(
    habitat: HabitatFactory, couch: CouchServer, database: str
) -> None:
    uri = f"{couch.uri(database)}-{{month}}"
    gateway = habitat({"archive": {"uri": uri, "batch": 20}})
    for number in range(40):
        assert gateway.scgi("POST", "/message", upload(number)).status == 200
    eventually(lambda: gateway.status()["archive"]["backlog"] == 0, "all is archived")
    printed = gateway.cli("query", "--limit", "all", "--format", "ndjson")
    found = [identity(json.loads(line)) for line in printed.stdout.splitlines()]
    assert sorted(found) == sorted(identity(json.loads(upload(n))) for n in range(40))
    checked = gateway.cli("check")
    assert f"{database}-{{month}} can be used" in checked.stdout
    this = time.strftime("%Y-%m", time.gmtime())
    assert {f"{database}-{this}", f"{database}-{UNDATED}"} <= set(couch.databases())
    for name in couch.databases():
        if name.startswith(f"{database}-"):
            couch.delete(name)
