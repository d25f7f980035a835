"""What CouchArchive makes in a database, and with which rights: design documents and indexes."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from habitat_like.archive import ArchiveError, Query
from habitat_like.archive.couch import CouchArchive
from habitat_like.archive.couch_design import indexes, views
from habitat_like.config.keys import View
from tests.conftest import CouchOpener
from tests.support.archive import batch, fails, found_ids, message, sent_ids
from tests.support.couch import CouchServer
from tests.support.proxy import Action, Answer, Proxy, Rewrite, on, times

SECRET = "p@ss:w/rd é%41"
VIEWS: tuple[View, ...] = ("hours", "last_heard", "receptions")


@pytest.fixture
def archive(couch_opener: CouchOpener) -> CouchArchive:
    archive = couch_opener(views=VIEWS)
    assert archive.prepare() == []
    return archive


def test_passwords_with_every_character(proxy: Proxy, couch_opener: CouchOpener) -> None:
    proxy.credentials = ("gate way", SECRET)
    archive = couch_opener(user="gate%20way", password=SECRET)
    assert archive.prepare() == []
    assert archive.store(batch(2)) == []
    assert found_ids(archive) == sent_ids(batch(2))


def test_wrong_and_missing_passwords(proxy: Proxy, couch_opener: CouchOpener) -> None:
    proxy.credentials = ("gateway", SECRET)
    for archive in (
        couch_opener(user="gateway", password=SECRET + "x"),
        couch_opener(user="gateway"),
    ):
        text = fails(archive.prepare)
        assert f"CouchDB at {proxy.url} refused the password of user 'gateway' (401)" in text
        assert "check archive.uri and archive.password_file" in text
        assert SECRET not in text
        assert fails(lambda: archive.store(batch(1))) == text  # noqa: B023 (called at once)
    assert "requires a password" in fails(couch_opener().prepare)


def test_a_user_who_may_not_make_the_database(
    proxy: Proxy, couch_opener: CouchOpener, database: str
) -> None:
    proxy.rule = lambda method, path, body: Answer(401) if method == "PUT" else None
    text = fails(couch_opener(user="u", password=SECRET).prepare)
    assert (
        f"user 'u' may not create it (401): have an admin run curl -X PUT -u ADMIN {proxy.url}"
        in text
    )


def test_a_database_closed_to_the_user(proxy: Proxy, archive: CouchArchive) -> None:
    reason = "You are not allowed to access this db."
    proxy.rule = on("*", "", Answer(403, reason=reason))
    for call in (archive.prepare, lambda: archive.store(batch(1))):
        text = fails(call)
        assert reason in text
        assert "/_security" in text


def unsaved(why: str) -> Answer:
    """What CouchDB 3 answers to ``_index`` when it can't save the design document."""
    said = {"error": "error_saving_ddoc", "reason": why}
    return Answer(500, json.dumps(said).encode())


FORBIDDEN = unsaved("Unknown error while saving the design document: forbidden")
CONFLICT = unsaved("Encountered a conflict while saving the design document.")


@pytest.mark.parametrize("refusal", [Answer(403, reason="You are not an admin."), FORBIDDEN])
def test_a_user_without_rights_to_design_documents_archives_all_the_same(
    proxy: Proxy, couch: CouchServer, couch_opener: CouchOpener, database: str, refusal: Answer
) -> None:
    def rule(method: str, path: str, body: bytes) -> Action | None:
        if method == "PUT" and "_design" in path:
            return Answer(403, reason="You are not a db or server admin.")
        return refusal if method == "POST" and "_index" in path else None

    proxy.rule = rule
    archive = couch_opener(user="gateway", password=SECRET, views=("hours",))
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
    assert found_ids(archive) == sent_ids(batch(2))


def test_an_answer_without_index_is_not_taken(proxy: Proxy, archive: CouchArchive) -> None:
    archive.store(batch(2))
    warning = {"docs": [], "warning": "No matching index found, create an index to optimize."}
    proxy.rule = times(1, on("POST", "/_find", Answer(200, json.dumps(warning).encode())))
    assert "has no index" in fails(lambda: list(archive.query(Query())), ArchiveError)

    def remark(body: bytes) -> bytes:
        text = "The number of documents examined is high"
        return json.dumps({**json.loads(body), "warning": [text]}).encode()

    proxy.rule = on("POST", "/_find", Rewrite(None, remark))
    assert found_ids(archive) == sent_ids(batch(2))


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
    assert statistic["views"] == views(VIEWS)
    before = proxy.count()
    assert archive.prepare() == []
    assert {one.method for one in proxy.requests[before:]} == {"GET"}


def test_an_index_with_other_fields_is_replaced(
    couch: CouchServer, database: str, couch_opener: CouchOpener
) -> None:
    couch.create(database)
    other = {"index": {"fields": ["ip"]}, "ddoc": "habitat-time", "name": "time", "type": "json"}
    assert couch.request("POST", f"/{database}/_index", other).status == 200
    archive = couch_opener()
    assert archive.prepare() == []
    assert archive.store(batch(2)) == []
    assert found_ids(archive) == sent_ids(batch(2))


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("PUT", "_design", Answer(409)),
        ("POST", "_index", Answer(409)),
        ("POST", "_index", CONFLICT),
    ],
)
def test_another_gateway_that_syncs_at_the_same_time(
    proxy: Proxy, couch_opener: CouchOpener, method: str, path: str, answer: Answer
) -> None:
    proxy.rule = times(2, on(method, path, answer))
    assert couch_opener(views=VIEWS).prepare() == []
    proxy.rule = on(method, path, answer)
    other = couch_opener(views=VIEWS)
    assert other.prepare() == []  # all is there: nothing to put


def test_design_documents_that_never_settle(proxy: Proxy, couch_opener: CouchOpener) -> None:
    proxy.rule = on("PUT", "_design", Answer(409))
    archive = couch_opener(views=VIEWS)
    assert "keeps changing the design documents" in fails(archive.prepare)
    assert proxy.count("PUT", "_design") == 5


def test_a_database_that_another_gateway_made_meanwhile(
    proxy: Proxy, couch_opener: CouchOpener
) -> None:
    archive = couch_opener(views=VIEWS)
    archive.prepare()
    proxy.rule = times(1, lambda method, path, body: Answer(404) if method == "GET" else None)
    assert archive.prepare() == []  # the PUT meets a 412
    assert proxy.count("PUT") == 3
    as_fast = Answer(500, b'{"error":"error","reason":"conflict"}')
    answers = iter([Answer(404), as_fast])
    proxy.rule = lambda *asked: next(answers, None)
    assert archive.prepare() == []


def test_many_gateways_start_at_once(
    couch_opener: CouchOpener, couch: CouchServer, database: str
) -> None:
    archives = [couch_opener() for _ in range(6)]
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
    assert len(designs(couch, database)) == 3


def test_views_are_made_only_where_they_are_named(
    couch_opener: CouchOpener, couch: CouchServer, database: str
) -> None:
    assert couch_opener().prepare() == []
    assert set(designs(couch, database)) == {f"_design/{name}" for name in indexes()}
    assert couch_opener(views=("hours",)).prepare() == []
    assert couch_opener(views=("receptions",)).prepare() == []
    made = designs(couch, database)["_design/habitat-statistics"]
    assert made["views"] == views(("hours", "receptions"))
    assert couch_opener().prepare() == []  # what a database has stays
    assert designs(couch, database)["_design/habitat-statistics"] == made


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
