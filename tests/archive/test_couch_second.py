"""Many documents of one second in CouchDB: each is asked for once, however many pages they make."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from habitat_like.archive import Query
from habitat_like.archive import couch as couch_module
from habitat_like.archive import couch_second as second_module
from habitat_like.archive.couch import CouchArchive
from tests.conftest import CouchOpener
from tests.support.archive import ORDERS, Order, document, encode
from tests.support.proxy import Action, Proxy, Rewrite

NUMBER = 600


class Sent:
    """What the server sends: how often each whole document, how many ids, and how much at once."""

    def __init__(self) -> None:
        self.documents: Counter[str] = Counter()
        self.ids = 0
        self.largest = 0

    def rule(self, method: str, path: str, body: bytes) -> Action | None:
        return Rewrite(body=self._look) if "_find" in path or "_all_docs" in path else None

    def _look(self, answer: bytes) -> bytes:
        told: dict[str, Any] = json.loads(answer)
        found = told.get("docs") or [row["doc"] for row in told.get("rows", ())]
        whole = [one["_id"] for one in found if "data" in one]
        self.documents.update(whole)
        self.ids += len(found) - len(whole)
        self.largest = max(self.largest, len(whole))
        return answer


@pytest.fixture
def archive(couch_opener: CouchOpener, monkeypatch: pytest.MonkeyPatch) -> CouchArchive:
    """An archive with 600 documents of one second between two others, and small pages."""
    archive = couch_opener()
    assert archive.prepare() == []
    group = [document(n, 1000, callsign=("A", "B")[n % 2]) for n in range(NUMBER)]
    for begin in range(0, NUMBER, 200):
        assert archive.store(encode(group[begin : begin + 200])) == []
    assert archive.store(encode([document(1, 999), document(1, 1001)])) == []
    monkeypatch.setattr(couch_module, "PAGE", 20)
    return archive


@pytest.mark.parametrize("piece", [45, 20_000])
@pytest.mark.parametrize("order", ORDERS)
def test_a_query_asks_for_each_document_once(
    proxy: Proxy,
    archive: CouchArchive,
    monkeypatch: pytest.MonkeyPatch,
    order: Order,
    piece: int,
) -> None:
    monkeypatch.setattr(second_module, "IDS", piece)
    sent = Sent()
    proxy.rule = sent.rule
    found = [one["_id"] for one in archive.query(Query(order=order))]
    assert found == sorted(found, reverse=order == "desc")
    assert len(found) == NUMBER + 2
    # The first pages are passed over before the ids are asked for.
    assert sum(sent.documents.values()) <= NUMBER + 10 * couch_module.PAGE
    assert sent.ids <= NUMBER
    assert sent.largest <= 3 * couch_module.PAGE


@pytest.mark.parametrize("order", ORDERS)
def test_a_query_of_one_station_goes_through_the_second_too(
    proxy: Proxy, archive: CouchArchive, order: Order
) -> None:
    found = [one["_id"] for one in archive.query(Query(callsign="A", order=order))]
    assert found == sorted(found, reverse=order == "desc")
    assert len(found) == NUMBER // 2


@pytest.mark.parametrize("order", ORDERS)
def test_pages_from_any_place_in_the_second_go_on_from_there(
    archive: CouchArchive, order: Order
) -> None:
    whole = [(one["time_created"], one["_id"]) for one in archive.query(Query(order=order))]
    for at in (0, 19, 20, 61, 300, 580, NUMBER, NUMBER + 1):
        query = Query(order=order, after=whole[at], limit=50)
        found = [(one["time_created"], one["_id"]) for one in archive.query(query)]
        assert found == whole[at + 1 :][:50]


def test_two_queries_beside_each_other(archive: CouchArchive) -> None:
    first, second = archive.query(Query(order="asc")), archive.query(Query(order="desc"))
    pairs = list(zip(first, second, strict=True))
    assert len({one["_id"] for one, _ in pairs}) == NUMBER + 2
    assert [one["_id"] for one, _ in pairs] == [two["_id"] for _, two in reversed(pairs)]
