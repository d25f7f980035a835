"""Promise 2: each accepted message becomes one document."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter

from tests.conftest import HabitatFactory
from tests.support.couch import CouchServer
from tests.support.load import counted, post, sent, upload
from tests.support.wait import eventually


def test_2_a_repeat_is_one_document_whenever_it_comes(habitat: HabitatFactory) -> None:
    gateway = habitat()
    first = json.loads(upload(1))

    def repeat(later: int) -> None:
        body = json.dumps({**first, "time_uploaded": first["time_uploaded"] + later})
        reply = gateway.scgi("POST", "/message", body)
        assert (reply.status, reply.body) == (200, b"OK")

    repeat(0)
    (document,) = gateway.documents()
    # An id must not hang on the gateway's clock.
    eventually(lambda: time.time() >= document["time_uploaded"] + 1, "the next second begins")
    repeat(0)
    repeat(60)
    gateway.restart()
    repeat(120)
    gateway.restart(kill=True)
    repeat(180)
    assert gateway.scgi("POST", "/messages", b"[%b]" % upload(1)).status == 200
    assert gateway.documents() == [document], "the first document is the one that stays"


def test_2_a_journal_that_is_replayed_doubles_nothing(
    habitat: HabitatFactory, couch: CouchServer, database: str
) -> None:
    gateway = habitat({"archive": {"uri": couch.uri(database)}})
    for number in range(20):
        assert post(gateway, number).status == 200
    gateway.wait_until_archived()
    before = couch.all_docs(database)
    gateway.stop()
    journal = sqlite3.connect(gateway.journal_path)
    with contextlib.closing(journal), journal:
        # As after a crash between the archive's answer and the commit of the cursor.
        assert journal.execute("UPDATE cursor SET seq = 0").rowcount == 2
    gateway.start()
    eventually(lambda: gateway.status()["archive"]["messages"] == 20, "all is sent again")
    assert couch.all_docs(database) == before
    assert len(before) == 20
    assert gateway.status()["dead_letters"] == 0


def test_2_two_gateways_that_get_the_same_uploads_make_one_document_of_each(
    habitat: HabitatFactory, couch: CouchServer, database: str
) -> None:
    config = {"archive": {"uri": couch.uri(database), "batch": 7}}
    gateways = [habitat(config), habitat(config)]
    for number in range(50):
        for gateway in gateways:
            assert post(gateway, number).status == 200
    for gateway in gateways:
        gateway.wait_until_archived()
        assert gateway.status()["dead_letters"] == 0
    found = counted(couch.all_docs(database))
    assert found == Counter(sent(upload(number) for number in range(50)))
