"""archive.verify: documents that come back as something else, or not at all, are noticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive import Archive, Rejected
from habitat_like.archive.couch import CouchArchive
from habitat_like.archive.sqlite import SqliteArchive
from habitat_like.archive.verify import verify
from tests.conftest import CouchOpener, HabitatFactory
from tests.support.archive import document, encode, fails
from tests.support.couch import CouchServer
from tests.support.load import upload
from tests.support.proxy import Action, Answer, Proxy, Rewrite
from tests.support.wait import eventually

SENT = [document(n, time_uploaded=2000, ip=None, gateway="a") for n in range(10)]


@pytest.fixture(params=["sqlite", "couch"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    if request.param == "sqlite":
        with closing(SqliteArchive(str(tmp_path / "a.sqlite"))) as archive:
            archive.store(encode(SENT))
            yield archive
    else:
        opener: CouchOpener = request.getfixturevalue("couch_opener")
        couch = opener()
        couch.store(encode(SENT))
        yield couch


def changed(number: int, **more: Any) -> list[bytes]:
    """The batch, in which a document was something else than what is archived."""
    return encode([{**one, **more} if at == number else one for at, one in enumerate(SENT)])


def test_what_is_the_same_is_right(stored: Archive) -> None:
    assert verify(stored, encode(SENT), [], 10) == []
    assert verify(stored, encode(SENT), [], 3) == []
    assert verify(stored, [], [], 3) == []


def test_what_comes_back_different_is_told(stored: Archive) -> None:
    (found,) = verify(stored, changed(4, data={"string": "x"}), [], 10)
    assert found.index == 4
    assert SENT[4]["_id"] in found.reason
    (found,) = verify(stored, changed(5, callsign="OTHER", time_uploaded=9), [], 10)
    assert found.index == 5


def test_an_earlier_upload_of_the_same_message_is_right(stored: Archive) -> None:
    assert verify(stored, changed(4, time_uploaded=3000, gateway="b", time_created=7), [], 10) == []


def test_what_is_missing_has_its_batch_stored_again(stored: Archive) -> None:
    text = fails(lambda: verify(stored, encode([*SENT, document(99)]), [], 100))
    assert f"{document(99)['_id']} was stored and can't be read back" in text
    rejected = [Rejected(10, "refused")]
    assert verify(stored, encode([*SENT, document(99)]), rejected, 100) == []


def test_reading_back_asks_for_each_document_by_itself(
    proxy: Proxy, couch_opener: CouchOpener, database: str
) -> None:
    """Only such a request is answered from a quorum of nodes."""
    archive = couch_opener()
    archive.store(encode(SENT))
    before = len(proxy.requests)
    assert verify(archive, encode(SENT), [], 4) == []
    asked = [(one.method, one.path) for one in proxy.requests[before:]]
    assert len(asked) == 4
    assert {path for _, path in asked} <= {f"/{database}/{one['_id']}" for one in SENT}


def test_a_lost_database_is_no_missing_document(archive: CouchArchive) -> None:
    assert "has no database" in fails(lambda: verify(archive, encode(SENT), [], 1))


@pytest.fixture
def archive(couch_opener: CouchOpener) -> CouchArchive:
    return couch_opener()


def test_a_gateway_keeps_what_came_back_different(
    habitat: HabitatFactory, proxy: Proxy, couch: CouchServer, database: str
) -> None:
    config = {"uri": proxy.uri(database), "verify": 50, "retry_min": 0.05, "retry_max": 0.1}
    gateway = habitat({"archive": config})

    def spoilt(body: bytes) -> bytes:
        tree = json.loads(body)
        if tree.get("callsign") == "LOAD3":
            tree["data"] = {"string": "spoilt"}
        return json.dumps(tree).encode()

    misses = iter([True, True])

    def rule(method: str, path: str, body: bytes) -> Action | None:
        if method != "GET" or f"/{database}/1295" not in path:
            return None
        missing = json.dumps({"error": "not_found", "reason": "missing"}).encode()
        return Answer(404, missing) if next(misses, False) else Rewrite(body=spoilt)

    proxy.rule = rule
    for number in range(10):
        assert gateway.scgi("POST", "/message", upload(number)).status == 200
    eventually(lambda: gateway.status()["archive"]["backlog"] == 0, "all is taken")
    eventually(lambda: gateway.status()["dead_letters"] == 1, "one is kept as a dead letter")
    counts = gateway.status()["archive"]["counts"]
    assert counts["different"] == 1
    assert counts["verified"] >= 10
    assert gateway.status()["archive"]["retries"] >= 1, "a missing one is stored again"
    assert len(couch.all_docs(database)) == 10
