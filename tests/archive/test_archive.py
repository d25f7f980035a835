"""What every archive must do, tried on both, each on its real store."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from habitat_like.archive import Archive, ArchiveUnavailable, Query, open_archive
from habitat_like.config.keys import ArchiveConfig, ConfigError
from tests.support.archive import ORDERS, Order, Place, document, encode, everything, ids


def test_what_is_stored_is_found_as_it_was(archive: Archive) -> None:
    documents = [
        document(1, 1001, data={"frequency": 434075199.23, "tiny": 5e-324, "snr": -0.1}),
        document(2, 1002, name='Zoë 日本 🎈 \u2028 " \\ / \n \x7f', empty="", nothing=None),
        document(3, 1003, data={"z": 1, "a": [1, {"b": []}], "big": 2**53, "yes": True}),
    ]
    assert archive.store(encode(documents)) == []
    found = everything(archive)
    assert found == documents
    assert type(found[0]["data"]["frequency"]) is float
    assert list(found[2]["data"]) == ["z", "a", "big", "yes"]


def test_an_empty_batch_and_an_empty_archive(archive: Archive) -> None:
    assert archive.store([]) == []
    assert everything(archive) == []
    assert archive.follow(archive.position()) == ([], archive.position())


def test_repeats_are_stored_once_and_the_first_stays(place: Place, archive: Archive) -> None:
    first = [document(1), document(2)]
    assert archive.store(encode([*first, *first])) == []
    changed = [document(2, data={"string": "other"}), document(3)]
    assert archive.store(encode(changed)) == []
    assert place.open().store(encode([*changed, *first])) == []
    assert everything(archive) == [*first, changed[1]]


def test_two_writers_of_the_same_batch(place: Place, archive: Archive) -> None:
    batch = encode([document(number) for number in range(400)])
    failures: list[BaseException] = []

    def write() -> None:
        try:
            assert place.open().store(batch) == []
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(everything(archive)) == 400


@pytest.mark.parametrize("order", ORDERS)
def test_order_is_by_time_then_id(archive: Archive, order: Order) -> None:
    documents = [document(number * 7 % 40, 1000 + number % 4) for number in range(40)]
    archive.store(encode(documents))
    expected = sorted(documents, key=lambda one: (one["time_created"], one["_id"]))
    if order == "desc":
        expected.reverse()
    assert list(archive.query(Query(order=order))) == expected


@pytest.mark.parametrize("order", ORDERS)
def test_many_documents_at_the_same_second(archive: Archive, order: Order) -> None:
    documents = [document(number, 2000) for number in range(1200)]
    documents += [document(number, 1999) for number in range(30)]
    documents += [document(number, 2001) for number in range(30)]
    for start in range(0, len(documents), 500):
        archive.store(encode(documents[start : start + 500]))
    expected = sorted(ids(documents), reverse=order == "desc")
    assert ids(archive.query(Query(order=order))) == expected
    for limit in (1, 500, 501, 1030, 1260, 9999):
        assert ids(archive.query(Query(order=order, limit=limit))) == expected[:limit]
    assert len(ids(archive.query(Query(order=order, since=2000, until=2001)))) == 1200


@pytest.mark.parametrize("order", ORDERS)
def test_filters_and_limits(archive: Archive, order: Order) -> None:
    documents = [
        document(
            number,
            1000 + number // 3,
            callsign=("M0ZDR", "M0ZDR-1", "G/X_1")[number % 3],
            type=("RECEIVED_TELEM", "LISTENER_INFO")[number // 3 % 2],
        )
        for number in range(90)
    ]
    archive.store(encode(documents))
    documents.sort(key=lambda one: (one["time_created"], one["_id"]), reverse=order == "desc")
    for callsign in (None, "M0ZDR", "G/X_1", "NOBODY"):
        for kind in (None, "LISTENER_INFO", "TELEM"):
            for since, until in ((0, 10**10), (1010, 1020), (1010, 1011), (1020, 1020), (5, 1)):
                expected = [
                    one["_id"]
                    for one in documents
                    if callsign in (None, one["callsign"])
                    and kind in (None, one["type"])
                    and since <= one["time_created"] < until
                ]
                for limit in (None, 0, 1, 7):
                    query = Query(
                        callsign=callsign,
                        type=kind,
                        since=since,
                        until=until,
                        limit=limit,
                        order=order,
                    )
                    assert ids(archive.query(query)) == expected[:limit], query


@pytest.mark.parametrize("order", ORDERS)
def test_suspicious_documents_are_left_out_unless_asked_for(archive: Archive, order: Order) -> None:
    """Long runs of them, longer than a page, hide nothing that lies behind."""
    runs = [(0, 3, False), (3, 1203, True), (1203, 1206, False), (1206, 1906, True)]
    documents = [
        document(number, number, **({"suspicious": "dated 1980"} if marked else {}))
        for begin, end, marked in runs
        for number in range(begin, end)
    ]
    assert archive.store(encode(documents)) == []
    good = [one["_id"] for one in documents if "suspicious" not in one]
    everyone = ids(documents)
    if order == "desc":
        good.reverse()
        everyone.reverse()
    for kind in (Query(), Query(callsign="M0ZDR"), Query(type="RECEIVED_TELEM")):
        query = msgspec.structs.replace(kind, order=order)
        assert ids(archive.query(query)) == good
        assert ids(archive.query(msgspec.structs.replace(query, limit=4))) == good[:4]
        assert ids(archive.query(msgspec.structs.replace(query, suspicious=True))) == everyone
    assert ids(archive.query(Query(order=order, since=10, until=1000))) == []
    some = archive.query(Query(order=order, limit=700, suspicious=True))
    assert ids(some) == everyone[:700]


def test_filters_are_values_not_patterns_or_code(archive: Archive) -> None:
    archive.store(encode([document(1)]))
    for text in ("M0%", "' OR 1=1 --", '{"$gt":null}', "", "m0zdr", "$ne"):
        assert ids(archive.query(Query(callsign=text))) == []
        assert ids(archive.query(Query(type=text))) == []


def test_the_ends_of_time(archive: Archive) -> None:
    documents = [document(1, 0), document(2, 9_999_999_999)]
    archive.store(encode(documents))
    assert everything(archive) == documents
    assert ids(archive.query(Query(until=9_999_999_999))) == ids(documents[:1])


def test_a_query_streams_and_bears_new_documents(archive: Archive) -> None:
    archive.store(encode([document(number, 1000) for number in range(1200)]))
    answers = archive.query(Query(order="asc"))
    begun = ids(islice(answers, 550))
    # Before the present one: not shown any more. Behind it: shown.
    archive.store(encode([document(1, 999), document(10**6, 1000), document(1, 1001)]))
    assert len(begun) == 550
    assert ids(answers) == [
        *(f"{1000:010d}-{number:024x}" for number in (*range(550, 1200), 10**6)),
        f"{1001:010d}-{1:024x}",
    ]


def test_a_document_put_among_ties_already_given_hides_no_other(archive: Archive) -> None:
    archive.store(encode([document(2 * number, 1000) for number in range(1200)]))
    answers = archive.query(Query(order="asc"))
    given = ids(islice(answers, 700))
    archive.store(encode([document(1, 1000), document(3, 1000)]))
    given += ids(answers)
    assert given == [f"{1000:010d}-{2 * number:024x}" for number in range(1200)]


def test_queries_may_be_left_and_interleaved(archive: Archive) -> None:
    archive.store(encode([document(number, number) for number in range(700)]))
    one, other = archive.query(Query(order="asc")), archive.query(Query(order="desc"))
    assert next(one)["time_created"] == 0
    assert next(other)["time_created"] == 699
    archive.store(encode([document(1, 5000)]))
    assert next(one)["time_created"] == 1
    del other
    assert len(list(one)) == 699


def test_follow_gives_arrivals_in_order_and_once(archive: Archive) -> None:
    archive.store(encode([document(1, 3000)]))
    position = archive.position()
    assert archive.follow(position)[0] == []
    arrivals = [document(number, 2000 - number) for number in range(1200)]
    for start in range(0, 1200, 400):
        archive.store(encode(arrivals[start : start + 400]))
    archive.store(encode(arrivals[:10]))
    got: list[dict[str, Any]] = []
    while True:
        documents, position = archive.follow(position)
        if not documents:
            break
        got += documents
    assert len(got) == 1200
    for start in range(0, 1200, 400):  # in the order of the batches; inside one it is CouchDB's own
        batch = sorted(got[start : start + 400], key=lambda one: -one["time_created"])
        assert batch == arrivals[start : start + 400]
    assert archive.follow(position) == ([], position)


def test_a_position_outlives_the_archive_object(place: Place, archive: Archive) -> None:
    position = archive.position()
    archive.store(encode([document(1)]))
    assert ids(place.open().follow(position)[0]) == ids([document(1)])


BAD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"{}",
    b'{"_id": 5}',
    b'{"_id": ""}',
    b'{"_id": "_design/x"}',
    b'{"_id": "a\\u0000b"}',
    b'{"_id": "a", "x": NaN}',
    b'{"_id": "a", "x": "\\ud800"}',
    b'{"_id": "a", "x": "\xff"}',
    b'{"_id": "a"} {"_id": "b"}',
    b'{"_id": "a"}, {"_id": "b"}',
    b'{"_id": "a", "x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("bad", BAD, ids=[str(one[:30]) for one in BAD])
def test_a_bad_document_is_rejected_alone(archive: Archive, bad: bytes) -> None:
    good = [document(number) for number in range(5)]
    batch = encode(good)
    rejected = archive.store([*batch[:2], bad, *batch[2:], bad])
    assert [one.index for one in rejected] == [2, 6]
    for one in rejected:
        assert one.reason
        assert "\n" not in one.reason
        assert len(one.reason) < 400
    assert everything(archive) == good


def test_documents_without_the_indexed_fields_hurt_nobody(archive: Archive) -> None:
    odd: list[dict[str, Any]] = [
        {"_id": "odd1"},
        {"_id": "odd2", "time_created": "1000", "type": 5, "callsign": {}},
    ]
    position = archive.position()
    assert archive.store(encode([*odd, document(1)])) == []
    assert everything(archive) == [document(1)]
    arrived = archive.follow(position)[0]
    assert sorted(arrived, key=lambda one: str(one["_id"])) == [document(1), *odd]


def test_preparing_again_changes_nothing(place: Place, archive: Archive) -> None:
    archive.store(encode([document(1)]))
    before = state(place)
    assert archive.prepare() == []
    assert place.open().prepare() == []
    assert state(place) == before
    assert everything(archive) == [document(1)]


def state(place: Place) -> Any:
    """The schema with all versions: design documents with ``_rev``, or SQLite's schema cookie."""
    if place.couch is not None:
        documents = place.couch.all_docs(place.database, design=True)
        return [one for one in documents if one["_id"].startswith("_design/")]
    with closing(sqlite3.connect(place.path)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        return rows, connection.execute("PRAGMA schema_version").fetchone()


def test_a_lost_database_is_made_anew(place: Place, archive: Archive) -> None:
    archive.store(encode([document(1)]))
    schema = state(place)
    place.lose()
    assert archive.store(encode([document(2)])) == []
    assert everything(archive) == [document(2)]
    assert ids(archive.query(Query(callsign="M0ZDR", order="asc"))) == ids([document(2)])
    if place.couch is not None:
        assert [one["_id"] for one in state(place)] == [one["_id"] for one in schema]


def test_an_archive_that_was_never_prepared(place: Place) -> None:
    archive = place.open()
    calls = (
        lambda: list(archive.query(Query())),
        archive.position,
        lambda: archive.follow("0"),
    )
    for call in calls:
        with pytest.raises(ArchiveUnavailable, match=r"no (archive|database).*habitat serve"):
            call()
    assert archive.store(encode([document(1)])) == []
    assert everything(archive) == [document(1)]


def test_after_interrupt_every_call_fails_at_once(place: Place, archive: Archive) -> None:
    archive.store(encode([document(1)]))
    archive.interrupt()
    calls = (
        archive.prepare,
        lambda: archive.store(encode([document(2)])),
        lambda: list(archive.query(Query())),
        archive.position,
        lambda: archive.follow("0"),
    )
    for call in calls:
        with pytest.raises(ArchiveUnavailable, match="interrupted"):
            call()
    assert everything(place.open()) == [document(1)]


def test_a_closed_archive_opens_again(archive: Archive) -> None:
    archive.close()
    archive.close()
    assert archive.store(encode([document(1)])) == []
    archive.close()
    assert everything(archive) == [document(1)]


def test_the_name_shows_no_password(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cr3t\n")
    uri = "couchdb://user@[::1]:5984/a-b"
    archive = open_archive(ArchiveConfig(uri=uri, password_file=str(secret)))
    assert archive.name == uri
    archive = open_archive(ArchiveConfig(uri="couchdbs://user:s3cr3t@host/a"))
    assert archive.name == "couchdbs://user@host:6984/a"
    with pytest.raises(ConfigError):
        open_archive(ArchiveConfig(uri="mysql://x"))


def test_reading_needs_neither_the_message_server_nor_the_other_archive() -> None:
    code = (
        "import sys; from habitat_like.archive import open_archive;"
        "from habitat_like.config import ArchiveConfig;"
        "open_archive(ArchiveConfig());"
        "bad = [m for m in sys.modules if m.startswith(('couchdb', 'habitat_like.message_server',"
        " 'habitat_like.journal', 'habitat_like.archive.sink'))];"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
