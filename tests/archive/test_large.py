"""Large documents in both archives: read and followed in pages that are bounded in bytes."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest

from habitat_like.archive import Archive, Query
from habitat_like.archive.couch import PAGE_BYTES
from habitat_like.archive.couch_connection import TooLarge
from tests.support.archive import ORDERS, Order, Place
from tests.support.large import MB, large, row

COUNT = 40
IDS = [large(number, 1)["_id"] for number in range(COUNT)]


@pytest.fixture
def full(archive: Archive) -> Archive:
    """An archive with documents of a megabyte, and then as many small ones."""
    for number in range(COUNT):
        assert archive.store([row(number)[1]]) == []
    return archive


def most_memory(work: Callable[[], object]) -> int:
    """The most bytes that Python has at once for ``work``."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("order", ORDERS)
def test_a_query_is_whole_and_in_order_and_needs_little_memory(full: Archive, order: Order) -> None:
    found: list[str] = []
    lines = full.lines(Query(order=order))

    def read() -> None:
        found.extend(json.loads(line)["_id"] for line in lines)

    # A page is there as bytes, as text and as objects.
    assert most_memory(read) < 6 * PAGE_BYTES
    assert found == (IDS if order == "asc" else IDS[::-1])


def test_one_document_alone_may_have_any_size(archive: Archive) -> None:
    sizes = [100, PAGE_BYTES + MB, PAGE_BYTES + MB, 100, 100, PAGE_BYTES + MB]
    for number, size in enumerate(sizes):
        assert archive.store([row(number, size)[1]]) == []
    for order in ORDERS:
        found = [one["_id"] for one in archive.query(Query(order=order))]
        assert found == (IDS[:6] if order == "asc" else IDS[:6][::-1])
        two = Query(order=order, limit=2)
        assert [one["_id"] for one in archive.query(two)] == found[:2]
    document = archive.get(IDS[1])
    assert document is not None
    assert document["data"] == large(1, sizes[1])["data"]


def test_many_large_documents_of_one_second_are_found(archive: Archive) -> None:
    for number in range(20):
        same = large(number, MB, time_created=1_700_000_000)
        assert archive.store([msgspec.json.encode(same)]) == []
    for order in ORDERS:
        found = [one["_id"] for one in archive.query(Query(order=order))]
        assert found == (IDS[:20] if order == "asc" else IDS[:20][::-1])


def test_what_is_archived_is_followed_in_such_pages(archive: Archive) -> None:
    position = archive.position()
    for number in range(COUNT):
        assert archive.store([row(number)[1]]) == []
    found: list[str] = []

    def follow() -> None:
        at = position
        while len(found) < COUNT:
            documents, at = archive.follow(at)
            assert documents
            found.extend(one["_id"] for one in documents)

    assert most_memory(follow) < 6 * PAGE_BYTES
    assert found == IDS


def test_an_answer_with_a_length_is_not_even_read(place: Place) -> None:
    if place.couch is None:
        pytest.skip("the embedded archive sends nothing")
    archive = place.open()
    archive.prepare()
    link = getattr(archive, "_link", None)
    if link is None:
        pytest.skip("each of its months is an archive as the other")
    with pytest.raises(TooLarge):
        link.request("get", most=10)
    assert archive.position()  # on another connection
