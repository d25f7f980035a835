"""What can go wrong with a CouchDB, over real HTTP: one clear line, nothing lost, no poison."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from habitat_like.archive import Query, Rejected, open_archive
from habitat_like.archive.couch import CouchArchive
from habitat_like.config.keys import ArchiveConfig
from tests.conftest import CouchOpener
from tests.support.archive import batch, fails, found_ids, message, sent_ids
from tests.support.couch import CouchServer
from tests.support.proxy import Action, Answer, CutOff, Drop, Hang, Proxy, Rewrite, Slow, on, times
from tests.support.wait import eventually


@pytest.fixture
def archive(couch_opener: CouchOpener) -> CouchArchive:
    archive = couch_opener()
    assert archive.prepare() == []
    return archive


FAILURES: list[tuple[Action, str]] = [
    (Answer(500), r"can't serve now \(500, the proxy says so\)"),
    (Answer(502, b"<html>\n<h1>Bad Gateway</h1></html>", "text/html"), "502, <html> <h1>Bad"),
    (Answer(503, b"", None), "can't serve now"),
    (Answer(503, b"x" * 20_000, None), "503"),
    (Answer(500, b'{"error":"e","reason":"' + b"r" * 20_000 + b'"}'), "500, rrr"),
    (Answer(500, b'["a list"]'), "500"),
    (Answer(500, b"\xff\xfe not text \x1b[31m"), "500"),
    (Answer(500, b'{"error":null,"reason":{"deep":1}}'), "500"),
    (Answer(429), "429"),
    (Answer(401), "requires a password"),
    (Answer(403), "gives a request without user no right to database"),
    (Answer(404), "has no database"),
    (Answer(301, headers={"Location": "http://127.0.0.1:1/"}), "redirects elsewhere"),
    (Answer(303, headers={"Location": "/x"}), "redirects elsewhere"),
    (Answer(304, b"", None), "redirects elsewhere"),
    (Answer(415), "refused the request"),
    (Answer(200, b"<html>login here</html>", "text/html"), "can't be read"),
    (Answer(201, b"[]"), "0 rows for 3 documents"),
    (Answer(201, b"{}"), "can't be read"),
    (Answer(201, b""), "can't be read"),
    (Answer(201, b'[{"ok":true}]'), "can't be read"),
    (Answer(204, b"", None), "can't be read"),
    (Drop(), "can't be reached"),
    (Drop(reset=True), "can't be reached"),
    (Drop(forward=True, reset=True), "can't be reached"),
    (CutOff(0.5), "cut-off answer"),
    (CutOff(0.0), "cut-off answer"),
    (CutOff(0.5, reset=True), "can't be reached|cut-off"),
]


@pytest.mark.parametrize(("action", "words"), FAILURES, ids=[str(one)[:60] for one, _ in FAILURES])
def test_a_store_that_fails_says_why_and_harms_nothing(
    proxy: Proxy, archive: CouchArchive, action: Action, words: str
) -> None:
    documents = batch(3)
    proxy.rule = on("POST", "/_bulk_docs", action)
    for _ in range(2):
        text = fails(lambda: archive.store(documents))
        assert text.startswith(f"CouchDB at {proxy.url}")
        assert re.search(words, text), text
    assert proxy.count("POST", "/_bulk_docs") <= 4
    proxy.rule = None
    assert archive.store([*documents, message(9)]) == []
    assert found_ids(archive) == sent_ids([*documents, message(9)])


@pytest.mark.parametrize(("action", "words"), FAILURES, ids=[str(one)[:60] for one, _ in FAILURES])
def test_every_other_call_fails_as_clearly(
    proxy: Proxy, archive: CouchArchive, action: Action, words: str
) -> None:
    assert archive.store(batch(1)) == []
    proxy.rule = on("*", "", action)
    fails(archive.prepare)
    fails(lambda: list(archive.query(Query())))
    fails(archive.position)
    fails(lambda: archive.follow("0"))
    proxy.rule = None
    assert found_ids(archive) == sent_ids(batch(1))


def test_a_server_that_is_killed_and_comes_back(couch: CouchServer, database: str) -> None:
    archive = open_archive(ArchiveConfig(uri=f"couchdb://127.0.0.1:{couch.port}/{database}"))
    assert archive.prepare() == []
    assert archive.store(batch(2)) == []
    couch.kill()
    assert "refused): check that it runs" in fails(lambda: archive.store(batch(4)))
    couch.start()
    assert archive.store(batch(4)) == []
    assert len(couch.all_docs(database)) == 4
    archive.close()


def test_a_refused_connection(proxy: Proxy, archive: CouchArchive) -> None:
    proxy.refuse()
    assert "refused): check that it runs" in fails(lambda: archive.store(batch(2)))
    proxy.start()
    assert archive.store(batch(2)) == []
    assert found_ids(archive) == sent_ids(batch(2))


def test_a_host_without_address() -> None:
    archive = open_archive(ArchiveConfig(uri="couchdb://no-such-host.invalid/a", timeout=5))
    assert "check the host in archive.uri" in fails(archive.prepare)


def test_a_hung_request_ends_with_the_timeout(proxy: Proxy, couch_opener: CouchOpener) -> None:
    archive = couch_opener(timeout=0.2)
    couch_opener().prepare()
    proxy.rule = on("POST", "/_bulk_docs", Hang(forward=True))
    assert "did not answer within 0.2 s" in fails(lambda: archive.store(batch(2)))
    proxy.rule = None
    # On a busy machine the archive takes longer than that, too.
    eventually(lambda: archive.store(batch(2)) == [])
    assert found_ids(archive) == sent_ids(batch(2))


def test_a_slow_answer_is_an_answer(proxy: Proxy, archive: CouchArchive) -> None:
    proxy.rule = times(1, on("POST", "/_bulk_docs", Slow(0.1)))
    assert archive.store(batch(2)) == []


def test_interrupt_ends_a_hung_request(proxy: Proxy, couch_opener: CouchOpener) -> None:
    archive = couch_opener(timeout=3600)
    archive.prepare()
    arrived = threading.Event()

    def rule(method: str, path: str, body: bytes) -> Action | None:
        if "_bulk_docs" not in path:
            return None
        arrived.set()
        return Hang()

    proxy.rule = rule
    caught: list[str] = []

    def store() -> None:
        caught.append(fails(lambda: archive.store(batch(2))))

    thread = threading.Thread(target=store)
    thread.start()
    arrived.wait()
    archive.interrupt()
    thread.join()
    assert "interrupted" in caught[0]
    assert "interrupted" in fails(archive.prepare)


def test_a_connection_that_died_while_waiting_costs_nothing(
    proxy: Proxy, couch: CouchServer, archive: CouchArchive
) -> None:
    assert archive.store(batch(2)) == []
    proxy.refuse()
    proxy.start()
    before = proxy.count()
    assert archive.store(batch(2, 2)) == []
    assert proxy.count() == before + 1
    assert found_ids(archive) == sent_ids(batch(4))


def rows(change: Callable[[list[dict[str, Any]]], Any], status: int | None = None) -> Rewrite:
    return Rewrite(status, lambda body: json.dumps(change(json.loads(body))).encode())


def test_documents_that_the_database_forbids(couch: CouchServer, archive: CouchArchive) -> None:
    database = archive.name.rpartition("/")[2]
    function = (
        "function (doc) { if (doc.bad) { throw({forbidden: 'no\\n bad ones'}); }"
        " if (doc.who) { throw({unauthorized: 'not you'}); } }"
    )
    path = f"/{database}/_design/guard"
    assert couch.request("PUT", path, {"validate_doc_update": function}).status == 201
    documents = [message(0), message(1, bad=1), message(2), message(3, who=1), message(4)]
    assert archive.store(documents) == [
        Rejected(1, "CouchDB refused the document: forbidden: no bad ones"),
        Rejected(3, "CouchDB refused the document: unauthorized: not you"),
    ]
    assert found_ids(archive) == sent_ids([documents[0], documents[2], documents[4]])
    assert [one.index for one in archive.store(documents)] == [1, 3]
    repeated = [documents[1], documents[0], documents[1]]
    assert [one.index for one in archive.store(repeated)] == [0, 2]


@pytest.mark.parametrize(
    "error", ["internal_server_error", "timeout", "unknown_error", "error", "", None]
)
def test_a_row_that_failed_for_now_is_tried_again(
    proxy: Proxy, archive: CouchArchive, error: str | None
) -> None:
    def change(given: list[dict[str, Any]]) -> Any:
        return [{"id": given[0]["id"], "error": error, "reason": "why"}, *given[1:]]

    proxy.rule = times(1, on("POST", "/_bulk_docs", rows(change)))
    assert "could not store 1 of 3 documents" in fails(lambda: archive.store(batch(3)))
    assert archive.store(batch(3)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given[:-1],
        lambda given: [*given, given[0]],
        lambda given: [given[0], given[0], given[2]],
        lambda given: [*given[:-1], {**given[-1], "id": "other"}],
        lambda given: [],
        lambda given: {"error": "odd"},
    ],
)
def test_rows_that_do_not_fit_the_batch(
    proxy: Proxy, archive: CouchArchive, change: Callable[[list[dict[str, Any]]], Any]
) -> None:
    proxy.rule = times(1, on("POST", "/_bulk_docs", rows(change)))
    fails(lambda: archive.store(batch(3)))
    assert archive.store(batch(3)) == []


def test_a_quorum_that_was_not_met_is_not_durable(proxy: Proxy, archive: CouchArchive) -> None:
    proxy.rule = on("POST", "/_bulk_docs", Rewrite(202))
    assert "202, the write quorum was not met" in fails(lambda: archive.store(batch(3)))
    assert "202" in fails(lambda: archive.store(batch(3)))  # the same batch: conflicts alone
    proxy.rule = None
    assert archive.store(batch(3)) == []
    assert found_ids(archive) == sent_ids(batch(3))


def test_known_documents_are_no_proof_of_a_quorum_after_a_202(
    proxy: Proxy, archive: CouchArchive
) -> None:
    """One node that lives alone answers 201 for a batch of conflicts, but 202 for a new note."""
    proxy.rule = times(1, on("POST", "/_bulk_docs", Rewrite(202)))
    fails(lambda: archive.store(batch(3)))
    proxy.rule = on("PUT", "/_local/", Rewrite(202))
    assert "no write reaches the quorum" in fails(lambda: archive.store(batch(3)))
    proxy.rule = None
    assert archive.store(batch(3)) == []
    before = proxy.count("PUT", "/_local/")
    assert archive.store(batch(3)) == []
    assert proxy.count("PUT", "/_local/") == before, "it is asked again without a doubt"


def test_another_success_than_201_is_no_proof(proxy: Proxy, archive: CouchArchive) -> None:
    proxy.rule = times(1, on("POST", "/_bulk_docs", Rewrite(200)))
    assert "answered 200 instead of 201" in fails(lambda: archive.store(batch(3)))
    assert archive.store(batch(3)) == []


@pytest.mark.parametrize(
    ("status", "content_type"),
    [
        (400, "application/json"),
        (400, "text/html"),
        (413, "application/json"),
        (413, "text/html"),
        (413, None),
    ],
)
def test_a_batch_refused_as_a_whole_is_halved(
    proxy: Proxy, archive: CouchArchive, status: int, content_type: str | None
) -> None:
    documents = batch(60)
    bad = {3, 4, 41}
    for number in bad:
        documents[number] = message(number, poison=1)

    def rule(method: str, path: str, body: bytes) -> Action | None:
        if b"poison" not in body:
            return None
        return Answer(status, None if content_type else b"no", content_type)

    proxy.rule = rule
    rejected = archive.store(documents)
    assert [one.index for one in rejected] == sorted(bad)
    assert all(str(status) in one.reason for one in rejected)
    good = [one for number, one in enumerate(documents) if number not in bad]
    assert found_ids(archive) == sent_ids(good)


def test_large_batches_go_in_several_requests(proxy: Proxy, archive: CouchArchive) -> None:
    documents = [message(number, data="x" * 3_000_000) for number in range(4)]
    before = proxy.count("POST", "/_bulk_docs")
    assert archive.store(documents) == []
    assert proxy.count("POST", "/_bulk_docs") == before + 2
    assert found_ids(archive) == sent_ids(documents)


def test_a_lost_database_that_cannot_be_made_again(
    proxy: Proxy, couch: CouchServer, database: str, archive: CouchArchive
) -> None:
    couch.delete(database)
    proxy.rule = lambda method, path, body: Answer(403) if method == "PUT" else None
    text = fails(lambda: archive.store(batch(2)))
    assert f"curl -X PUT -u ADMIN {proxy.url}/{database}" in text
    proxy.rule = on("POST", "/_bulk_docs", Answer(404))
    assert "has no database" in fails(lambda: archive.store(batch(2)))
    assert proxy.count("POST", "/_bulk_docs") == 3
    proxy.rule = None
    assert archive.store(batch(2)) == []


def test_documents_go_out_as_the_bytes_they_are(proxy: Proxy, archive: CouchArchive) -> None:
    odd = b'{ "_id" : "x1","n":1.50, "s":"\\u00e9"}'
    archive.store([odd, message(1)])
    sent = proxy.seen("POST", "/_bulk_docs")[-1]
    assert sent.body == b'{"docs":[' + message(1) + b"," + odd + b"]}", "by id, and as they are"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["content-length"] == str(len(sent.body))


def test_ids_of_one_second_are_compared_by_their_bytes(proxy: Proxy, archive: CouchArchive) -> None:
    """As CouchDB sorts them; what a selector compares goes by ICU, so none is given an id."""
    names = ["-", "0-A", "0-B", "0-a", "0-b", "0-ab", "1", "B", "Z", "a", "aa", "b", "é"]
    held: list[dict[str, Any]] = [{"_id": name, "time_created": 7} for name in sorted(names)]

    def rule(method: str, path: str, body: bytes) -> Action | None:
        if "_find" not in path:
            return None
        asked = json.loads(body)
        assert asked["selector"].keys() == {"time_created"}
        found = held if asked["sort"][0]["time_created"] == "asc" else held[::-1]
        return Answer(200, json.dumps({"docs": found[: asked["limit"]]}).encode())

    proxy.rule = rule
    for place in range(len(held)):
        after = (7, held[place]["_id"])
        for limit in (2, 100):
            query = Query(order="asc", after=after, limit=limit)
            assert list(archive.query(query)) == held[place + 1 :][:limit]
            query = Query(order="desc", after=after, limit=limit)
            assert list(archive.query(query)) == held[:place][::-1][:limit]
