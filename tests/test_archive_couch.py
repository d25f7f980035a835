"""What can go wrong with a CouchDB, over real HTTP: one clear line, nothing lost, no poison."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive import (
    ArchiveError,
    Query,
    Rejected,
    open_archive,
)
from habitat_like.archive.couch import CouchArchive
from habitat_like.archive.couch_design import indexes, statistics
from habitat_like.config import ArchiveConfig
from tests.support.archive import batch, fails, message, sent_ids
from tests.support.couch import CouchServer
from tests.support.proxy import (
    Action,
    Answer,
    CutOff,
    Drop,
    Hang,
    Proxy,
    Rewrite,
    Slow,
    on,
    times,
)

SECRET = "p@ss:w/rd é%41"

Opener = Callable[..., CouchArchive]


@pytest.fixture
def opener(proxy: Proxy, database: str, tmp_path: Path) -> Iterator[Opener]:
    """Opens archives behind the proxy."""
    opened: list[CouchArchive] = []

    def open_it(
        *, user: str | None = None, password: str | None = None, timeout: float = 20
    ) -> CouchArchive:
        password_file = None
        if password is not None:
            password_file = tmp_path / "password"
            password_file.write_text(password + "\n")
        config = ArchiveConfig(
            uri=proxy.uri(database, user),
            password_file=str(password_file) if password_file else None,
            timeout=timeout,
        )
        archive = open_archive(config)
        assert isinstance(archive, CouchArchive)
        opened.append(archive)
        return archive

    yield open_it
    for archive in opened:
        archive.close()


@pytest.fixture
def archive(opener: Opener) -> CouchArchive:
    archive = opener()
    assert archive.prepare() == []
    return archive


def found(archive: CouchArchive) -> list[str]:
    return sorted(one["_id"] for one in archive.query(Query()))


# -- whole requests that fail, and work again afterwards

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
    (Answer(401), "wants a password"),
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
    assert found(archive) == sent_ids([*documents, message(9)])


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
    assert found(archive) == sent_ids(batch(1))


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
    assert found(archive) == sent_ids(batch(2))


def test_a_host_without_address() -> None:
    archive = open_archive(ArchiveConfig(uri="couchdb://no-such-host.invalid/a", timeout=5))
    assert "check the host in archive.uri" in fails(archive.prepare)


def test_a_hung_request_ends_with_the_timeout(proxy: Proxy, opener: Opener) -> None:
    archive = opener(timeout=0.2)
    archive.prepare()
    proxy.rule = on("POST", "/_bulk_docs", Hang(forward=True))
    assert "did not answer within 0.2 s" in fails(lambda: archive.store(batch(2)))
    proxy.rule = None
    assert archive.store(batch(2)) == []
    assert found(archive) == sent_ids(batch(2))


def test_a_slow_answer_is_an_answer(proxy: Proxy, archive: CouchArchive) -> None:
    proxy.rule = times(1, on("POST", "/_bulk_docs", Slow(0.1)))
    assert archive.store(batch(2)) == []


def test_interrupt_ends_a_hung_request(proxy: Proxy, opener: Opener) -> None:
    archive = opener(timeout=3600)
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
    assert found(archive) == sent_ids(batch(4))


# -- the rows of _bulk_docs


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
    assert found(archive) == sent_ids([documents[0], documents[2], documents[4]])
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
    assert archive.store(batch(3)) == []  # the same batch: conflicts alone
    proxy.rule = None
    assert found(archive) == sent_ids(batch(3))


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
    assert found(archive) == sent_ids(good)


def test_large_batches_go_in_several_requests(proxy: Proxy, archive: CouchArchive) -> None:
    documents = [message(number, data="x" * 3_000_000) for number in range(4)]
    before = proxy.count("POST", "/_bulk_docs")
    assert archive.store(documents) == []
    assert proxy.count("POST", "/_bulk_docs") == before + 2
    assert found(archive) == sent_ids(documents)


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
    assert sent.body == b'{"docs":[' + odd + b"," + message(1) + b"]}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["content-length"] == str(len(sent.body))


# -- passwords and rights


def test_passwords_with_every_character(proxy: Proxy, opener: Opener) -> None:
    proxy.credentials = ("gate way", SECRET)
    archive = opener(user="gate%20way", password=SECRET)
    assert archive.prepare() == []
    assert archive.store(batch(2)) == []
    assert found(archive) == sent_ids(batch(2))


def test_wrong_and_missing_passwords(proxy: Proxy, opener: Opener) -> None:
    proxy.credentials = ("gateway", SECRET)
    for archive in (opener(user="gateway", password=SECRET + "x"), opener(user="gateway")):
        text = fails(archive.prepare)
        assert f"CouchDB at {proxy.url} refused the password of user 'gateway' (401)" in text
        assert "check archive.uri and archive.password_file" in text
        assert SECRET not in text
        assert fails(lambda: archive.store(batch(1))) == text  # noqa: B023 (called at once)
    assert "wants a password" in fails(opener().prepare)


def test_a_user_who_may_not_make_the_database(proxy: Proxy, opener: Opener, database: str) -> None:
    proxy.rule = lambda method, path, body: Answer(401) if method == "PUT" else None
    text = fails(opener(user="u", password=SECRET).prepare)
    assert (
        f"user 'u' may not make it (401): have an admin run curl -X PUT -u ADMIN {proxy.url}"
        in text
    )


def test_a_database_closed_to_the_user(proxy: Proxy, archive: CouchArchive) -> None:
    reason = "You are not allowed to access this db."
    proxy.rule = on("*", "", Answer(403, reason=reason))
    for call in (archive.prepare, lambda: archive.store(batch(1))):
        text = fails(call)
        assert reason in text
        assert "/_security" in text


def test_a_user_without_rights_to_design_documents_archives_all_the_same(
    proxy: Proxy, couch: CouchServer, opener: Opener, database: str
) -> None:
    def rule(method: str, path: str, body: bytes) -> Action | None:
        design = (method == "PUT" and "_design" in path) or (method == "POST" and "_index" in path)
        return Answer(403, reason="You are not a db or server admin.") if design else None

    proxy.rule = rule
    archive = opener(user="gateway", password=SECRET)
    (warning,) = archive.prepare()
    assert "habitat-callsign-time" in warning
    assert "habitat-statistics" in warning
    command = f"HABITAT_ARCHIVE_URI='couchdb://ADMIN@127.0.0.1:{proxy.port}/{database}'"
    assert command in warning
    assert "habitat check" in warning
    assert SECRET not in warning
    assert "\n" not in warning
    assert archive.store(batch(2)) == []
    text = fails(lambda: list(archive.query(Query())), ArchiveError)
    assert "has no index habitat-time" in text
    assert command in text
    proxy.rule = None
    assert archive.prepare() == []
    assert found(archive) == sent_ids(batch(2))


def test_an_answer_without_index_is_not_taken(proxy: Proxy, archive: CouchArchive) -> None:
    archive.store(batch(2))
    warning = {"docs": [], "warning": "No matching index found, create an index to optimize."}
    proxy.rule = times(1, on("POST", "/_find", Answer(200, json.dumps(warning).encode())))
    assert "has no index" in fails(lambda: list(archive.query(Query())), ArchiveError)

    def remark(body: bytes) -> bytes:
        text = "The number of documents examined is high"
        return json.dumps({**json.loads(body), "warning": [text]}).encode()

    proxy.rule = on("POST", "/_find", Rewrite(None, remark))
    assert found(archive) == sent_ids(batch(2))


# -- design documents


def designs(couch: CouchServer, database: str) -> dict[str, Any]:
    documents = couch.all_docs(database, design=True)
    return {one["_id"]: one for one in documents if one["_id"].startswith("_design/")}


def test_only_what_differs_is_put(
    proxy: Proxy, couch: CouchServer, database: str, archive: CouchArchive
) -> None:
    made = designs(couch, database)
    assert set(made) == {f"_design/{name}" for name in (*indexes(), "habitat-statistics")}
    changed = {**made["_design/habitat-statistics"], "views": {}}
    path = f"/{database}/_design/habitat-statistics"
    assert couch.request("PUT", path, changed).status == 201
    gone = made["_design/habitat-time"]
    path = f"/{database}/_design/habitat-time?rev={gone['_rev']}"
    assert couch.request("DELETE", path).status == 200
    before = proxy.count()
    assert archive.prepare() == []
    writes = [one for one in proxy.requests[before:] if one.method != "GET"]
    assert [(one.method, one.path.rpartition("/")[2]) for one in writes] == [
        ("POST", "_index"),
        ("PUT", "habitat-statistics"),
    ]
    again = designs(couch, database)
    for name in ("_design/habitat-type-time", "_design/habitat-callsign-time"):
        assert again[name] == made[name]
    statistic = again["_design/habitat-statistics"]
    assert {**statistic, "_rev": ""} == {**statistics(), "_rev": ""}
    before = proxy.count()
    assert archive.prepare() == []
    assert {one.method for one in proxy.requests[before:]} == {"GET"}


def test_an_index_with_other_fields_is_replaced(
    couch: CouchServer, database: str, opener: Opener
) -> None:
    couch.create(database)
    other = {"index": {"fields": ["ip"]}, "ddoc": "habitat-time", "name": "time", "type": "json"}
    assert couch.request("POST", f"/{database}/_index", other).status == 200
    archive = opener()
    assert archive.prepare() == []
    assert archive.store(batch(2)) == []
    assert found(archive) == sent_ids(batch(2))


@pytest.mark.parametrize(("method", "path"), [("PUT", "_design"), ("POST", "_index")])
def test_another_gateway_that_syncs_at_the_same_time(
    proxy: Proxy, opener: Opener, method: str, path: str
) -> None:
    proxy.rule = times(2, on(method, path, Answer(409)))
    assert opener().prepare() == []
    proxy.rule = on(method, path, Answer(409))
    other = opener()
    assert other.prepare() == []  # all is there: nothing to put


def test_design_documents_that_never_settle(proxy: Proxy, opener: Opener) -> None:
    proxy.rule = on("PUT", "_design", Answer(409))
    assert "keeps changing the design documents" in fails(opener().prepare)
    assert proxy.count("PUT", "_design") == 5


def test_a_database_that_another_gateway_made_meanwhile(proxy: Proxy, opener: Opener) -> None:
    archive = opener()
    archive.prepare()
    proxy.rule = times(1, lambda method, path, body: Answer(404) if method == "GET" else None)
    assert archive.prepare() == []  # the PUT meets a 412
    assert proxy.count("PUT") == 3


def test_many_gateways_start_at_once(opener: Opener, couch: CouchServer, database: str) -> None:
    archives = [opener() for _ in range(6)]
    problems: list[Any] = []

    def prepare(archive: CouchArchive) -> None:
        try:
            problems.extend(archive.prepare())
        except ArchiveError as error:
            problems.append(error)

    threads = [threading.Thread(target=prepare, args=(one,)) for one in archives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(designs(couch, database)) == 4


def test_views_count(couch: CouchServer, database: str, archive: CouchArchive) -> None:
    packets = ["AAAA", "AAAA", "B" * 300 + "1", "B" * 300 + "1", "B" * 300 + "2"]
    documents = [
        message(number, 3600 + number * 1800, type="RECEIVED_TELEM", data={"string": packet})
        for number, packet in enumerate(packets)
    ]
    odd = [b'{"_id":"odd1"}', b'{"_id":"odd2","type":"RECEIVED_TELEM","data":null}']
    doubtful = message(10, 9_000_000, type="T", callsign="D", suspicious="dated 1970")
    assert archive.store([*documents, message(9, 4000, callsign="D"), doubtful, *odd]) == []

    def view(name: str, group: str = "group=true") -> dict[str, Any]:
        path = f"/{database}/_design/habitat-statistics/_view/{name}?{group}"
        reply = couch.request("GET", path)
        assert reply.status == 200, reply
        return {json.dumps(row["key"]): row["value"] for row in reply.json()["rows"]}

    assert view("hours") == {
        '[3600, "RECEIVED_TELEM"]': 2,
        '[3600, "T"]': 1,
        '[7200, "RECEIVED_TELEM"]': 2,
        '[10800, "RECEIVED_TELEM"]': 1,
    }
    assert view("hours", "group_level=1") == {"[3600]": 3, "[7200]": 2, "[10800]": 1}
    heard = view("last_heard")
    assert {key: value["max"] for key, value in heard.items()} == {'"C"': 10800, '"D"': 4000}
    receptions = view("receptions")
    assert sorted(receptions.values()) == [1, 2, 2]
    assert all(len(key) < 300 for key in receptions)
