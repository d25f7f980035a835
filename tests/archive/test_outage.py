"""What the gateway does while the archive can't be used: it serves stations, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.couch import CouchServer
from tests.support.gateway import ARCHIVE_SINK, Habitat
from tests.support.load import identity, upload
from tests.support.log import logged, wait_for_log
from tests.support.nginx import Nginx
from tests.support.proxy import (
    Action,
    Answer,
    CutOff,
    Drop,
    Hang,
    Proxy,
    Rewrite,
    Rule,
    Slow,
    on,
    times,
)
from tests.support.wait import PATIENCE, eventually

#: Tries that an outage lasts for at least.
TRIES = 4
#: What the log says when an outage begins, and when it ends.
BEGINS = "sink can't go on, messages wait in the journal"
ENDS = "sink works again"


@dataclass
class Site:
    """A gateway behind nginx whose archive is behind the proxy."""

    gateway: Habitat
    front: Nginx
    proxy: Proxy
    couch: CouchServer
    database: str
    uploaded: int = 0

    def upload(self, count: int = 10) -> None:
        """Upload messages that were never uploaded before; each must get its 200."""
        for _ in range(count):
            reply = self.front.request("POST", "/message", upload(self.uploaded))
            assert (reply.status, reply.body) == (200, b"OK")
            self.uploaded += 1

    def archive(self) -> dict[str, Any]:
        state: dict[str, Any] = self.gateway.status()["archive"]
        return state

    def metric(self, name: str) -> float:
        """A metric of the archive's sink."""
        text = self.front.request("GET", "/metrics").text
        start = f'habitat_{name}{{sink="{ARCHIVE_SINK}"}} '
        values = [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]
        assert len(values) == 1, text
        return float(values[0])

    def documents(self) -> list[dict[str, Any]]:
        """What is archived once the journal is empty."""
        eventually(lambda: self.archive()["backlog"] == 0, "all is archived")
        return self.couch.all_docs(self.database)

    def outages(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The log's entries of their begins and of their ends."""
        return logged(self.gateway, BEGINS), logged(self.gateway, ENDS)

    def is_out(self) -> bool:
        """Whether an outage is logged whose end is not."""
        begins, ends = self.outages()
        return len(begins) > len(ends)

    def wait_for_outage(self, says: str, tries: int = TRIES) -> None:
        """Wait until the outage was met again and again, and look at all that shows it."""
        eventually(lambda: self.archive()["state"] == "waiting", "the outage is met")
        # The log is written by a thread of its own, a moment later.
        eventually(self.is_out, "the outage is logged")
        told, before = self.gateway.log, self.archive()["retries"]
        eventually(lambda: self.archive()["retries"] >= before + tries, f"{tries} tries")
        assert self.gateway.log == told, "tries are logged, not only the change of state"
        state = self.archive()
        assert state["state"] == "waiting"
        assert says in state["problem"]
        assert state["backlog"] > 0
        assert state["problem_since"] >= self.gateway.status()["started"]
        assert self.front.request("GET", "/readyz").status == 200
        assert self.front.request("GET", "/healthz").status == 200
        assert self.metric("sink_up") == 0
        assert self.metric("sink_backlog") == state["backlog"]
        assert self.metric("sink_retries_total") >= tries

    def check_recovered(self, outages: int | None = 1) -> None:
        """All that was uploaded is archived once, and the log told it in one line each way.

        ``outages`` is how many there were, None where a slow machine can make more of them.
        """
        found = sorted(identity(document) for document in self.documents())
        assert found == sorted(identity(json.loads(upload(n))) for n in range(self.uploaded))
        eventually(lambda: self.archive()["state"] == "ok")
        assert self.archive()["problem"] is None
        assert self.archive()["problem_since"] is None
        assert self.archive()["dead_letters"] == 0
        assert self.metric("sink_up") == 1
        assert self.metric("sink_backlog") == 0
        wait_for_log(self.gateway, ENDS)
        eventually(lambda: not self.is_out(), "the end of each is logged")
        begins, ends = self.outages()
        assert len(begins) == outages if outages is not None else begins, begins
        assert len(ends) == len(begins)


@pytest.fixture
def patience() -> float:
    """Seconds that the gateway waits for the archive, far more than that ever takes."""
    return PATIENCE


@pytest.fixture
def site(
    habitat: HabitatFactory,
    nginx: NginxFactory,
    proxy: Proxy,
    couch: CouchServer,
    database: str,
    patience: float,
) -> Site:
    config = {
        "archive": {
            "uri": proxy.uri(database),
            "batch": 5,
            "timeout": patience,
            "retry_min": 0.05,
            "retry_max": 0.1,
        },
        "log": {"level": "info"},
    }
    gateway = habitat(config)
    made = Site(gateway, nginx(gateway), proxy, couch, database)
    made.upload()
    assert len(made.documents()) == made.uploaded
    return made


def bulk(action: Action) -> Rule:
    return on("POST", "/_bulk_docs", action)


def row_errors(error: str) -> Callable[[bytes], bytes]:
    """Turns every row of an answer into one that says that the document was not stored."""

    def change(body: bytes) -> bytes:
        rows = json.loads(body)
        return json.dumps(
            [{"id": row["id"], "error": error, "reason": "not now"} for row in rows]
        ).encode()

    return change


def first_row_only(body: bytes) -> bytes:
    return json.dumps(json.loads(body)[:1]).encode()


OUTAGES = {
    "401": (bulk(Answer(401, reason="who?")), "(401)"),
    "403": (bulk(Answer(403, reason="not you")), "(403, not you)"),
    "429": (bulk(Answer(429)), "(429,"),
    "500": (bulk(Answer(500)), "(500,"),
    "500 after the batch was stored": (bulk(Rewrite(500)), "(500,"),
    "503": (bulk(Answer(503)), "(503,"),
    "503 on everything": (on("*", "", Answer(503)), "(503,"),
    "an error without a content type": (bulk(Answer(502, b"<p>", content_type=None)), "(502,"),
    "202, too few nodes": (bulk(Answer(202, b"[]")), "0 rows for 5 documents"),
    "200 for 201": (bulk(Answer(200, b"<html>welcome</html>")), "can't be read"),
    "rows that say later": (bulk(Rewrite(None, row_errors("timeout"))), "could not store 5 of 5"),
    "an internal error in each row": (
        bulk(Rewrite(None, row_errors("internal_server_error"))),
        "could not store 5 of 5",
    ),
    "rows missing": (bulk(Rewrite(None, first_row_only)), "1 rows for 5 documents"),
    "an answer cut off": (bulk(CutOff(0.5)), "cut-off"),
    "an answer reset half-way": (bulk(CutOff(0.5, reset=True)), "CouchDB at"),
    "an answer cut off before its body": (bulk(CutOff(0)), "cut-off"),
    "closed without an answer": (bulk(Drop()), "CouchDB at"),
    "stored, then closed without an answer": (bulk(Drop(forward=True)), "CouchDB at"),
    "stored, then reset": (bulk(Drop(forward=True, reset=True)), "CouchDB at"),
}
HANGS = {
    "a hang": bulk(Hang()),
    "stored, then a hang": bulk(Hang(forward=True)),
    "too slow": bulk(Slow(5)),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_an_archive_that_fails_costs_a_station_nothing(site: Site, name: str) -> None:
    site.proxy.rule, says = OUTAGES[name]
    site.upload(12)
    site.wait_for_outage(says)
    site.upload(3)
    site.proxy.rule = None
    site.upload(2)
    site.check_recovered()


@pytest.mark.parametrize("patience", [1.0])
@pytest.mark.parametrize("name", HANGS)
def test_an_archive_that_hangs_costs_a_station_nothing(site: Site, name: str) -> None:
    site.proxy.rule = HANGS[name]
    site.upload(12)
    site.wait_for_outage("did not answer within 1 s", tries=2)
    site.upload(3)
    site.proxy.rule = None
    site.proxy.release()
    site.upload(2)
    # A second is short: the archive of a busy machine may take longer once more.
    site.check_recovered(outages=None)


def test_an_archive_that_refuses_connections(site: Site) -> None:
    site.proxy.refuse()
    site.upload(12)
    site.wait_for_outage("Connection refused")
    site.proxy.start()
    site.check_recovered()


def test_an_archive_that_fails_in_several_ways_is_one_outage(site: Site) -> None:
    site.proxy.rule = bulk(Answer(503))
    site.upload(12)
    site.wait_for_outage("(503,")
    site.proxy.refuse()
    site.wait_for_outage("Connection refused")
    site.proxy.start()
    site.proxy.rule = bulk(Answer(401))
    site.wait_for_outage("(401)")
    site.proxy.rule = None
    site.check_recovered()


def test_two_outages_are_told_twice(site: Site) -> None:
    for outages in (1, 2):
        site.proxy.rule = bulk(Answer(500))
        site.upload(6)
        site.wait_for_outage("(500,")
        site.proxy.rule = None
        site.check_recovered(outages)


def test_documents_on_too_few_nodes_are_sent_until_the_quorum_has_them(site: Site) -> None:
    # A 202 whose rows say ok: stored, but on fewer nodes than the quorum.
    site.proxy.rule = times(2, bulk(Rewrite(202)))
    before = site.proxy.count("POST", "/_bulk_docs")
    site.upload(5)
    found = [identity(document) for document in site.documents()]
    assert len(found) == len(set(found)) == site.uploaded
    assert site.proxy.count("POST", "/_bulk_docs") > before + 1, "a 202 was taken for durable"
    assert site.archive()["retries"] > 0


def test_a_lost_database_is_made_anew_and_what_comes_later_is_archived(site: Site) -> None:
    site.couch.delete(site.database)
    site.upload(7)
    documents = site.documents()
    expected = sorted(identity(json.loads(upload(n))) for n in range(10, 17))
    assert sorted(identity(document) for document in documents) == expected
    designs = site.couch.all_docs(site.database, design=True)
    assert len(designs) > len(documents), "the indexes were not made again"


def test_a_database_lost_during_an_outage(site: Site) -> None:
    site.proxy.rule = bulk(Answer(503))
    site.upload(7)
    site.wait_for_outage("(503,")
    site.couch.delete(site.database)
    site.proxy.rule = None
    expected = sorted(identity(json.loads(upload(n))) for n in range(10, 17))
    assert sorted(identity(document) for document in site.documents()) == expected


FORBIDDING = """function (doc) {
  if (doc.callsign === 'BAD') { throw({forbidden: 'no bad ones'}); }
}"""


def test_a_document_that_the_archive_forbids_is_a_dead_letter_and_holds_up_nobody(
    site: Site,
) -> None:
    design = {"validate_doc_update": FORBIDDING}
    assert site.couch.request("PUT", f"/{site.database}/_design/guard", design).status == 201
    for number in range(10, 22):
        body = upload(number, callsign="bad" if number % 4 == 2 else None)
        assert site.front.request("POST", "/message", body).status == 200
    found = [identity(document) for document in site.documents()]
    assert len(found) == len(set(found)) == 10 + 12 - 3
    assert not [callsign for callsign, _ in found if callsign == "BAD"]
    eventually(lambda: site.archive()["dead_letters"] == 3, "dead letters are counted")
    assert site.archive()["state"] == "ok"
    assert site.metric("sink_dead_letters") == 3
    assert site.metric("sink_up") == 1
    letters = wait_for_log(site.gateway, "dead letter", 3)
    assert len(letters) == 3
    assert all("forbidden: no bad ones" in letter["why"] for letter in letters)


def test_a_request_that_is_too_large_for_the_archive_is_sent_in_halves(site: Site) -> None:
    # Only one of the documents is too large by itself.
    def rule(method: str, path: str, body: bytes) -> Action | None:
        documents = json.loads(body)["docs"] if "_bulk_docs" in path else []
        large = any(document["callsign"] == "LARGE" for document in documents)
        return Answer(413) if large or len(documents) > 2 else None

    site.proxy.rule = rule
    for number in range(10, 20):
        body = upload(number, callsign="large" if number == 13 else None)
        assert site.front.request("POST", "/message", body).status == 200
    found = [identity(document) for document in site.documents()]
    assert len(found) == len(set(found)) == 10 + 10 - 1
    eventually(lambda: site.archive()["dead_letters"] == 1, "the dead letter is counted")


def test_a_page_of_something_else_in_between_makes_no_dead_letters(site: Site) -> None:
    # What nginx says when it is spoken to in plain HTTP where it wants TLS.
    page = b"<html><h1>400 The plain HTTP request was sent to HTTPS port</h1></html>"
    site.proxy.rule = bulk(Answer(400, page, content_type="text/html"))
    site.upload(6)
    site.wait_for_outage("400")
    site.proxy.rule = None
    site.check_recovered()


def test_a_gateway_killed_after_the_archive_stored_its_batch_doubles_nothing(site: Site) -> None:
    site.proxy.rule = bulk(Drop(forward=True))
    site.upload(12)
    site.wait_for_outage("CouchDB at")
    site.gateway.kill()
    site.proxy.rule = None
    site.gateway.start()
    found = sorted(identity(document) for document in site.documents())
    assert found == sorted(identity(json.loads(upload(n))) for n in range(site.uploaded))


def test_a_gateway_stops_in_order_while_its_archive_hangs(site: Site) -> None:
    site.gateway.config["archive"]["timeout"] = 600
    site.gateway.config["gateway"]["shutdown_timeout"] = 30
    site.gateway.restart()
    site.proxy.rule = bulk(Hang())
    before = site.proxy.count("POST", "/_bulk_docs")
    site.upload(5)
    eventually(lambda: site.proxy.count("POST", "/_bulk_docs") > before, "a batch hangs")
    assert site.gateway.stop() == 0
    site.proxy.rule = None
    site.proxy.release()
    site.gateway.start()
    found = sorted(identity(document) for document in site.documents())
    assert found == sorted(identity(json.loads(upload(n))) for n in range(site.uploaded))


@pytest.fixture
def locked(proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, which wants a user and a password."""
    proxy.credentials = ("habitat", "right")
    yield proxy
    proxy.credentials = None


def test_a_gateway_with_a_wrong_password_serves_stations_and_says_so(
    habitat: HabitatFactory, nginx: NginxFactory, locked: Proxy, couch: CouchServer, database: str
) -> None:
    gateway = habitat(start=False)
    secret = gateway.directory / "password"
    secret.write_text("wrong-one\n")
    gateway.config["archive"].update(uri=locked.uri(database, "habitat"), password_file=str(secret))
    gateway.start()
    site = Site(gateway, nginx(gateway), locked, couch, database)
    site.upload()
    site.wait_for_outage("refused the password of user 'habitat' (401)")
    (line,), _ = site.outages()
    assert line["level"] == "error"
    assert "401" in line["why"]
    assert "wrong-one" not in gateway.log
    secret.write_text("right\n")
    gateway.restart()
    found = [identity(document) for document in site.documents()]
    assert len(found) == len(set(found)) == site.uploaded
    assert "right" not in gateway.log.replace("right to", "")


def test_an_outage_is_not_tried_in_a_busy_loop(site: Site) -> None:
    site.gateway.config["archive"].update(retry_min=600, retry_max=600)
    site.gateway.restart()
    site.proxy.rule = bulk(Answer(503))
    before = site.proxy.count("POST", "/_bulk_docs")
    site.upload(12)
    eventually(lambda: site.archive()["state"] == "waiting", "the outage is met")
    site.upload(12)
    assert site.proxy.count("POST", "/_bulk_docs") == before + 1
    assert site.gateway.stop() == 0, "a long wait held up the stop"
