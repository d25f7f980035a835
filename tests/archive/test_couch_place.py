"""What is wrong with the place is not wrong with the message: it waits, with the reason."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from habitat_like.archive import Rejected
from habitat_like.archive.couch import CouchArchive
from tests.conftest import CouchOpener, HabitatFactory
from tests.support.archive import batch, fails, found_ids, message, sent_ids
from tests.support.couch import CouchServer
from tests.support.proxy import Action, Answer, Proxy, Rewrite, Rule
from tests.support.station import body
from tests.support.wait import eventually

ID_REASON = "Doc id must be of form partition:id"


def said(status: int, error: str, reason: str = "no") -> Answer:
    """An answer as CouchDB gives it."""
    return Answer(status, json.dumps({"error": error, "reason": reason}).encode())


def partitioned(database: str) -> Rule:
    """What CouchDB says of a database that was made with ``?partitioned=true``."""

    def described(text: bytes) -> bytes:
        return json.dumps({**json.loads(text), "props": {"partitioned": True}}).encode()

    def rule(method: str, path: str, body: bytes) -> Action | None:
        if method == "GET" and path.strip("/") == database:
            return Rewrite(body=described)
        if "_bulk_docs" in path and b"_id" in body:
            return said(400, "illegal_docid", ID_REASON)
        return None

    return rule


@pytest.fixture
def archive(couch_opener: CouchOpener) -> CouchArchive:
    archive = couch_opener()
    assert archive.prepare() == []
    return archive


def test_a_partitioned_database_is_told_before_anything_is_stored(
    proxy: Proxy, database: str, archive: CouchArchive
) -> None:
    proxy.rule = partitioned(database)
    assert "partitioned" in fails(archive.prepare)
    # It can become one under a gateway that has looked already.
    for documents in (batch(1), batch(4)):
        assert "partitioned" in fails(lambda given=documents: archive.store(given))  # type: ignore[misc]
    proxy.rule = None
    assert archive.store(batch(4)) == []


def test_a_gateway_waits_for_another_database_and_check_finds_the_partitioned_one(
    habitat: HabitatFactory, proxy: Proxy, database: str
) -> None:
    proxy.rule = partitioned(database)
    config = {"uri": proxy.uri(database), "retry_min": 0.05, "retry_max": 0.1}
    gateway = habitat({"archive": config})
    for number in range(3):
        assert gateway.scgi("POST", "/message", body(number)).status == 200
    eventually(lambda: gateway.status()["archive"]["state"] == "waiting")
    state = gateway.status()["archive"]
    assert (state["backlog"], state["dead_letters"]) == (3, 0)
    assert "partitioned" in state["problem"]
    assert "partitioned" in gateway.cli("status").stdout
    checked = gateway.cli("check")
    assert checked.returncode == 1
    assert re.search("error +archive: .*partitioned", checked.stdout)
    proxy.rule = None
    gateway.wait_until_archived()
    assert gateway.status()["dead_letters"] == 0


WHOLE = [
    said(401, "unauthorized"),
    said(402, "payment_required", "quota exceeded"),
    said(403, "forbidden", "read only"),
    said(403, "forbidden", "Writes are blocked, the quota is exceeded"),
    said(404, "not_found"),
    said(405, "method_not_allowed"),
    said(406, "not_acceptable"),
    said(409, "conflict"),
    said(410, "gone"),
    said(412, "precondition_failed"),
    said(415, "bad_content_type"),
    said(417, "expectation_failed"),
    said(423, "locked"),
    said(429, "too_many_requests"),
    said(451, "unavailable"),
    said(507, "insufficient_storage"),
    said(400, "bad_request"),
    said(400, "illegal_database_name"),
    said(413, "too_large"),
    Answer(413, b"<html>", "text/html"),
]


@pytest.mark.parametrize("answer", WHOLE, ids=[f"{one.status} {one.body!r}" for one in WHOLE])
@pytest.mark.parametrize("count", [1, 5])
def test_what_every_request_meets_makes_no_document_wait_as_a_dead_letter(
    proxy: Proxy, archive: CouchArchive, answer: Answer, count: int
) -> None:
    proxy.rule = lambda method, path, body: answer if "_bulk_docs" in path else None
    for _ in range(2):
        assert str(answer.status) in fails(lambda: archive.store(batch(count)))
    proxy.rule = None
    assert archive.store(batch(count)) == []
    assert found_ids(archive) == sent_ids(batch(count))


def test_a_limit_below_what_every_message_needs_is_the_places(
    proxy: Proxy, archive: CouchArchive
) -> None:
    large = message(9, data="x" * 100_000)

    def rule(limit: int) -> Rule:
        def limited(method: str, path: str, body: bytes) -> Action | None:
            is_over = "_bulk_docs" in path and len(body) > limit
            return said(413, "document_too_large") if is_over else None

        return limited

    proxy.rule = rule(30)
    assert "max_document_size" in fails(lambda: archive.store(batch(3)))
    proxy.rule = rule(50_000)
    # This one is larger than what others need, whether or not others are beside it.
    assert [one.index for one in archive.store([large])] == [0]
    assert [one.index for one in archive.store([*batch(3), large])] == [3]


@pytest.mark.parametrize(
    "function",
    [
        "function () { throw({forbidden: 'read only'}); }",
        "function (newDoc) { throw({forbidden: 'read only'}); }",
        "function (newDoc, oldDoc, userCtx) {\n  // newDoc may be what it likes\n"
        "  if (userCtx.roles.indexOf('writer') < 0) { throw({forbidden: 'writers only'}); }\n}",
        "function(doc, old, ctx, sec) { throw({unauthorized: 'log in'}); }",
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_function_that_lets_nobody_write_is_the_places(
    couch: CouchServer, database: str, archive: CouchArchive, function: str, count: int
) -> None:
    path = f"/{database}/_design/guard"
    made = couch.request("PUT", path, {"validate_doc_update": function})
    assert made.status == 201
    assert "not let" in fails(lambda: archive.store(batch(count)))
    revision = made.json()["rev"]
    assert couch.request("DELETE", f"{path}?rev={revision}").status == 200
    assert archive.store(batch(count)) == []


@pytest.mark.parametrize(
    "function",
    [
        "function (doc) { if (doc.bad) { throw({forbidden: 'no bad ones'}); } }",
        "function ($new, old) { if ($new['bad']) { throw({forbidden: 'no bad ones'}); } }",
        "function () { if (arguments[0].bad) { throw({forbidden: 'no bad ones'}); } }",
    ],
)
def test_a_function_that_looks_at_the_document_judges_the_document(
    couch: CouchServer, database: str, archive: CouchArchive, function: str
) -> None:
    path = f"/{database}/_design/guard"
    assert couch.request("PUT", path, {"validate_doc_update": function}).status == 201
    reason = "CouchDB refused the document: forbidden: no bad ones"
    assert archive.store([message(1, bad=1)]) == [Rejected(0, reason)]
    assert archive.store([message(1, bad=1), message(2, bad=1)]) == [
        Rejected(0, reason),
        Rejected(1, reason),
    ]
    assert archive.store([message(0), message(1, bad=1)]) == [Rejected(1, reason)]


def test_a_place_that_refuses_rows_without_any_function_is_waited_for(
    proxy: Proxy, archive: CouchArchive
) -> None:
    def refused(text: bytes) -> bytes:
        rows: list[dict[str, Any]] = json.loads(text)
        return json.dumps(
            [{"id": row["id"], "error": "forbidden", "reason": "quota"} for row in rows]
        ).encode()

    rewritten = Rewrite(body=refused)
    proxy.rule = lambda method, path, body: rewritten if "_bulk_docs" in path else None
    assert "quota" in fails(lambda: archive.store(batch(2)))


def test_a_gateway_waits_for_a_read_only_database_and_loses_nothing(
    habitat: HabitatFactory, couch: CouchServer, database: str
) -> None:
    config = {"uri": couch.uri(database), "retry_min": 0.05, "retry_max": 0.1}
    gateway = habitat({"archive": config})
    eventually(lambda: "archive ready" in gateway.log)
    path = f"/{database}/_design/guard"
    function = "function () { throw({forbidden: 'closed for the winter'}); }"
    made = couch.request("PUT", path, {"validate_doc_update": function})
    for number in range(3):
        assert gateway.scgi("POST", "/message", body(number)).status == 200
    eventually(lambda: gateway.status()["archive"]["state"] == "waiting")
    assert "closed for the winter" in gateway.status()["archive"]["problem"]
    assert couch.request("DELETE", f"{path}?rev={made.json()['rev']}").status == 200
    gateway.wait_until_archived()
    assert gateway.status()["dead_letters"] == 0
    assert sorted(one["data"]["number"] for one in couch.all_docs(database)) == [0, 1, 2]
