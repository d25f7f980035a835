"""Large messages on the console's pages and in its downloads: bounded in bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from habitat_like.console.messages import BYTES
from habitat_like.journal.journal import Journal
from tests.support.console import Visitor, console_over
from tests.support.couch import CouchServer
from tests.support.large import MB, large, peak, row

COUNT = 120
IDS = [large(number, 1)["_id"] for number in range(COUNT)]


@pytest.fixture(scope="module")
def visitor() -> Iterator[Visitor]:
    with console_over([large(number) for number in range(COUNT)]) as visitor:
        visitor.page("/console/overview")
        yield visitor


def walk(visitor: Visitor, page: dict[str, Any], way: str, link: str) -> list[dict[str, Any]]:
    """The pages that follow ``page`` by its ``way``."""
    pages = []
    while page[way]:
        page = visitor.json(f"/console/messages.json?{link}={page[way]}")
        pages.append(page)
    return pages


def test_a_page_of_messages_ends_where_it_has_bytes_enough(visitor: Visitor) -> None:
    first = visitor.json("/console/messages.json")
    pages = [first, *walk(visitor, first, "next", "after")]
    assert [one["_id"] for page in pages for one in page["messages"]] == IDS[::-1]
    for page in pages:
        assert len(json.dumps(page["messages"])) <= BYTES * 1.1
    back = walk(visitor, pages[-1], "previous", "before")
    found = [one["_id"] for page in reversed(back) for one in page["messages"]]
    assert found == IDS[::-1][: len(found)]
    assert len(found) + len(pages[-1]["messages"]) == COUNT
    assert back[-1]["previous"] is None


def test_a_message_larger_than_a_page_has_one_for_itself() -> None:
    documents = [large(0, 100), large(1, 3 * BYTES), large(2, 100)]
    with console_over(documents) as visitor:
        page = visitor.json("/console/messages.json?order=asc")
        pages = [page]
        while page["next"]:
            page = visitor.json(f"/console/messages.json?order=asc&after={page['next']}")
            pages.append(page)
    assert [[one["_id"] for one in page["messages"]] for page in pages] == [[i] for i in IDS[:3]]


def test_every_packet_is_on_some_page(visitor: Visitor) -> None:
    found: list[str] = []
    path: str | None = "/console/packets.json"
    while path:
        page = visitor.json(path)
        found += [one["id"] for one in page["packets"]]
        assert [one["bytes"] > MB // 2 for one in page["packets"]] == [True] * len(page["packets"])
        path = page["next"] and f"/console/packets.json?after={page['next']}"
    assert found == IDS[::-1]


def test_pages_and_downloads_need_bounded_memory(visitor: Visitor) -> None:
    gateway = visitor.gateway
    before = peak(gateway.pid)
    for path in (
        "/console/packets",
        "/console/packets.json",
        "/console/messages",
        f"/console/messages/{IDS[3]}",
        f"/console/packets/{IDS[3]}",
    ):
        visitor.page(path)
    for form in ("csv", "ndjson", "json"):
        reply = visitor.get(f"/console/messages/download?format={form}")
        assert reply.body.count(b"LARGE") >= COUNT
    assert peak(gateway.pid) - before < 150 * MB


def test_so_do_pages_and_downloads_of_dead_letters(visitor: Visitor) -> None:
    gateway = visitor.gateway
    gateway.stop()
    journal = Journal(gateway.journal_path)
    for number in range(COUNT):
        with journal.dead_letters() as letters:
            letters.add("some.Sink", [(number + 1, row(number)[1], "no")])
    journal.close()
    gateway.start()
    visitor.page("/console/overview")
    before = peak(gateway.pid)
    page = visitor.json("/console/dead-letters.json")
    assert [one["message"] for one in page["dead_letters"]] == IDS[::-1][:50]
    assert visitor.json("/console/dead-letters/1.json")["document"] == large(0)
    assert visitor.get("/console/dead-letters/export").body.count(b"\n") == COUNT
    assert peak(gateway.pid) - before < 60 * MB


def test_the_same_over_couchdb(couch: CouchServer, database: str) -> None:
    documents = [large(number) for number in range(25)]
    with console_over(documents, couch.uri(database)) as visitor:
        visitor.page("/console/overview")
        before = peak(visitor.gateway.pid)
        body = visitor.get("/console/messages/download?format=ndjson&order=asc").body
        assert [json.loads(line)["_id"] for line in body.splitlines()] == IDS[:25]
        assert len(visitor.json("/console/packets.json")["packets"]) > 1
        assert peak(visitor.gateway.pid) - before < 60 * MB
