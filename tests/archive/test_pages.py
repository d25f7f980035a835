"""Paging through an archive by ``Query.after``, and single documents, on both archives."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from habitat_like.archive import Archive, ArchiveUnavailable, Query
from habitat_like.archive import couch as couch_module
from habitat_like.archive import sqlite as sqlite_module
from tests.support.archive import ORDERS, Order, Place, document, encode, ids

#: A document's place in the order: its time and its id.
At = tuple[int, str]

#: Ids that bytes and dictionaries put into different orders, all of one second.
ODD_IDS = [
    ".",
    "0000001001-F",
    "0000001001-f",
    "0000001001-é",
    "X",
    "a b/c?",
    "x",
    "~",
    "ß",
    "日本",
]


def place_of(one: dict[str, Any]) -> At:
    return one["time_created"], one["_id"]


def pages(archive: Archive, query: Query, size: int) -> list[dict[str, Any]]:
    """All that ``query`` finds, asked for page by page."""
    joined: list[dict[str, Any]] = []
    query = msgspec.structs.replace(query, limit=size)
    while page := list(archive.query(query)):
        joined += page
        assert len(page) <= size
        query = msgspec.structs.replace(query, after=place_of(page[-1]))
    return joined


def some_documents() -> list[dict[str, Any]]:
    """A few seconds with many documents each, of several stations and types, some marked."""
    documents = [
        document(
            number * 7919 % 1000,
            1000 + number % 4,
            callsign=("M0ZDR", "2E0UPU")[number % 3 % 2],
            type=("RECEIVED_TELEM", "LISTENER_INFO")[number % 5 % 2],
            **({"suspicious": "dated 1980"} if number % 11 == 0 else {}),
        )
        for number in range(60)
    ]
    odd = [document(0, 1001) | {"_id": name} for name in ODD_IDS]
    return [*documents, *odd, document(1, 1002) | {"_id": "Y"}]


QUERIES = st.builds(
    Query,
    callsign=st.sampled_from([None, "M0ZDR", "2E0UPU"]),
    type=st.sampled_from([None, "RECEIVED_TELEM"]),
    since=st.sampled_from([0, 1001, 1002]),
    until=st.sampled_from([1002, 1003, 9999]),
    order=st.sampled_from(ORDERS),
    suspicious=st.booleans(),
)
ON_A_REAL_ARCHIVE = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_pages_of_any_size_make_the_whole(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the archive itself has to read its own pages within one second."""
    monkeypatch.setattr(sqlite_module, "PAGE", 7)
    monkeypatch.setattr(couch_module, "PAGE", 7)
    documents = some_documents()
    assert archive.store(encode(documents)) == []
    documents.sort(key=place_of)

    @ON_A_REAL_ARCHIVE
    @given(query=QUERIES, size=st.integers(3, 80))
    def check(query: Query, size: int) -> None:
        expected = [
            one["_id"]
            for one in documents
            if query.callsign in (None, one["callsign"])
            and query.type in (None, one["type"])
            and query.since <= one["time_created"] < query.until
            and (query.suspicious or "suspicious" not in one)
        ]
        if query.order == "desc":
            expected.reverse()
        assert ids(archive.query(query)) == expected
        assert ids(pages(archive, query, size)) == expected

    check()


@pytest.mark.parametrize("order", ORDERS)
def test_after_any_place_comes_what_is_behind_it(archive: Archive, order: Order) -> None:
    """Also after a place at which no document is, and one outside of the query's times."""
    documents = [one for one in some_documents() if "suspicious" not in one]
    assert archive.store(encode(documents)) == []
    places = [
        *[(1001, name) for name in (*ODD_IDS, "", "0000001001-8", "0000001001-G", "zz", "🎈")],
        (0, ""),
        (1000, "zz"),
        (1003, ""),
        (10**10, "x"),
    ]
    for since, until in ((0, 10**10), (1001, 1003)):
        for after in places:
            query = Query(since=since, until=until, order=order, after=after)
            within = sorted(
                place_of(one) for one in documents if since <= one["time_created"] < until
            )
            expected = [name for time, name in within if (time, name) > after]
            if order == "desc":
                expected = [name for time, name in reversed(within) if (time, name) < after]
            assert ids(archive.query(query)) == expected, query
            assert list(map(msgspec.json.decode, archive.lines(query))) == list(
                archive.query(query)
            )


@pytest.mark.parametrize("order", ORDERS)
def test_thousands_of_documents_in_one_second(archive: Archive, order: Order) -> None:
    documents = [document(number, 2000) for number in range(1300)]
    documents += [document(1, 1999), document(1, 2001)]
    for start in range(0, len(documents), 500):
        assert archive.store(encode(documents[start : start + 500])) == []
    expected = sorted(ids(documents), reverse=order == "desc")
    assert ids(pages(archive, Query(order=order), 700)) == expected
    middle = Query(order=order, after=(2000, expected[1100]), limit=50)
    assert ids(archive.query(middle)) == expected[1101:1151]


@pytest.mark.parametrize("order", ORDERS)
def test_pages_bear_documents_that_come_in_between(archive: Archive, order: Order) -> None:
    """What was there at first is given once, and so is what is put in behind the present page."""
    first = [document(2 * number, 1000 + number // 30) for number in range(90)]
    assert archive.store(encode(first)) == []
    given: list[At] = []
    behind: list[At] = []
    query = Query(order=order, limit=20)
    numbers = iter(range(1, 10_000, 18))
    while page := list(archive.query(query)):
        given += [place_of(one) for one in page]
        last = given[-1]
        query = msgspec.structs.replace(query, after=last)
        if len(given) > 80:
            continue
        for time in (999, 1000, 1001, 1002, 1003):
            one = document(next(numbers) % 180, time)
            archive.store(encode([one]))
            if (place_of(one) > last) == (order == "asc"):
                behind.append(place_of(one))
    assert given == sorted(given, reverse=order == "desc")
    assert len(given) == len(set(given))
    assert set(given) == {*map(place_of, first), *behind}


def test_one_document_by_its_id(place: Place, archive: Archive) -> None:
    documents = [document(1, nothing=None, name="Zoë 日本"), *some_documents()]
    assert archive.store(encode(documents)) == []
    assert archive.get(documents[0]["_id"]) == documents[0]
    for name in ODD_IDS:
        found = archive.get(name)
        assert found is not None
        assert found["_id"] == name
    for name in (
        "",
        "_design/habitat-time",
        "_all_docs",
        "nobody",
        "..",
        "x\0y",
        "x" * 2000,
        "%2e",
    ):
        assert archive.get(name) is None, name
    assert place.open().get("x") == archive.get("x")


def test_one_document_of_an_archive_that_is_gone(place: Place, archive: Archive) -> None:
    archive.store(encode([document(1)]))
    place.lose()
    with pytest.raises(ArchiveUnavailable, match=r"no (archive|database)"):
        archive.get(document(1)["_id"])
    archive.interrupt()
    with pytest.raises(ArchiveUnavailable, match="interrupted"):
        archive.get("x")
