"""Faults of the archive: away, restarted, slow, cut off, refusing, forgetful."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace

from tests.faults.gateway_faults import BETWEEN
from tests.faults.messages import number_of
from tests.faults.rig import Rig
from tests.faults.run import Run, scenario
from tests.faults.stations import Mix
from tests.support.cluster import Cluster
from tests.support.proxy import (
    Action,
    Answer,
    CutOff,
    Drop,
    Hang,
    Narrow,
    Rewrite,
    Rule,
    Slow,
    on,
    times,
)
from tests.support.wait import eventually

#: A CouchDB-protocol server takes fewer documents a second than the gateway does messages.
LIGHT = Mix(bulk=0.05, size=10)
SMALL_BATCHES = {"archive": {"batch": 20, "timeout": 1}}


@scenario("archive.down", "the archive is down for the whole load, then comes back", 3, 1)
def down(run: Run) -> None:
    rig = run.rig(archive="proxy", config=SMALL_BATCHES).start()
    for number in range(run.faults):
        rig.toxic.refuse()
        run.inject(f"outage {number}")
        with run.stations(rig, mix=LIGHT) as stations:
            stations.wait_for(run.rng.randint(5, 15) * BETWEEN)
        rig.toxic.start()
        run.judge(rig)
    del run.verdicts[:-1]


@scenario("archive.restart", "the archive is restarted or killed every few seconds", 15)
def restart(run: Run) -> None:
    rig = run.rig(archive="couch", config=SMALL_BATCHES).start()
    with run.stations(rig, mix=LIGHT) as stations:
        for number in range(run.faults):
            stations.wait_for(BETWEEN)
            kill = run.rng.random() < 0.6
            run.pause(0.2, 1.0)
            run.inject(f"{'kill' if kill else 'restart'} {number}")
            rig.couch.restart(kill=kill)
    run.judge(rig)


def rows(change: Callable[[dict[str, object]], dict[str, object]]) -> Callable[[bytes], bytes]:
    """Changes every row of an answer of ``_bulk_docs``."""

    def changed(body: bytes) -> bytes:
        return json.dumps([change(row) for row in json.loads(body)]).encode()

    return changed


def not_stored(error: str) -> Rule:
    """A rule that answers for every document that it was not stored, and stores none."""

    def rule(method: str, path: str, body: bytes) -> Action | None:
        if method != "POST" or "_bulk_docs" not in path:
            return None
        documents = json.loads(body)["docs"]
        said = [{"id": one["_id"], "error": error, "reason": "not now"} for one in documents]
        return Answer(201, json.dumps(said).encode())

    return rule


def too_few_nodes(method: str, path: str, body: bytes) -> Action | None:
    """202 with rows that say ok, by nodes that then forget everything."""
    if method != "POST" or "_bulk_docs" not in path:
        return None
    documents = json.loads(body)["docs"]
    said = [{"ok": True, "id": one["_id"], "rev": "1-0"} for one in documents]
    return Answer(202, json.dumps(said).encode())


def bulk(action: Action) -> Rule:
    """A rule for uploads of documents."""
    return on("POST", "/_bulk_docs", action)


#: What an archive may do to a batch, and what stands between it and the gateway. A short run meets
#: those at the top.
TOXINS: dict[str, Rule] = {
    "500": bulk(Answer(500)),
    "500 after it was stored": bulk(Rewrite(500)),
    "401 in mid-flight": bulk(Answer(401)),
    "404 although the database is there": bulk(Answer(404)),
    "202 by nodes that forget it": too_few_nodes,
    "rows that say error": not_stored("internal_server_error"),
    "stored, rows say error": bulk(Rewrite(body=rows(lambda r: {"id": r["id"], "error": "boom"}))),
    "rows missing": bulk(Rewrite(body=lambda body: json.dumps(json.loads(body)[1:]).encode())),
    "cut off in the middle": bulk(CutOff(0.5)),
    "stored, then reset": bulk(Drop(forward=True, reset=True)),
    "a page of something else": bulk(Answer(200, b"<html>welcome</html>", "text/html")),
    "503": bulk(Answer(503)),
    "403": bulk(Answer(403)),
    "429": bulk(Answer(429)),
    "202 although stored": bulk(Rewrite(202)),
    "rows that say timeout": not_stored("timeout"),
    "cut off before the body": bulk(CutOff(0)),
    "reset in the middle": bulk(CutOff(0.5, reset=True)),
    "closed without an answer": bulk(Drop()),
    "reset without an answer": bulk(Drop(reset=True)),
    "stored, then closed": bulk(Drop(forward=True)),
    "hangs": bulk(Hang()),
    "stored, then hangs": bulk(Hang(forward=True)),
    "latency": bulk(Slow(0.3)),
    "latency over the timeout": bulk(Slow(2)),
    "bandwidth": bulk(Narrow(20_000)),
    "bandwidth that takes longer than the timeout": bulk(Narrow(2_000)),
    "503 on everything": on("*", "", Answer(503)),
}


@scenario("archive.toxic", f"a proxy that does one of {len(TOXINS)} things to batches", 112, 11)
def toxic(run: Run) -> None:
    rig = run.rig(archive="proxy", config=SMALL_BATCHES).start()
    names = list(TOXINS)[: run.faults]
    with run.stations(rig, mix=LIGHT) as stations:
        for number in range(run.faults):
            if number % len(names) == 0:
                run.rng.shuffle(names)
            name = names[number % len(names)]
            count = run.rng.randint(1, 3)
            before = rig.toxic.count("POST", "/_bulk_docs")
            rig.toxic.rule = times(count, TOXINS[name])
            stations.wait_for(run.rng.randint(1, BETWEEN))
            eventually(
                lambda: rig.toxic.count("POST", "/_bulk_docs") >= before + count,  # noqa: B023
                f"batches meet: {name}",
            )
            run.inject(f"{name}, {count} times")
            rig.toxic.rule = None
            rig.toxic.release()
            # The next one shall meet a batch that it is the first to meet.
            clean = rig.toxic.count("POST", "/_bulk_docs")
            eventually(
                lambda: rig.toxic.count("POST", "/_bulk_docs") > clean,  # noqa: B023
                f"the batch is taken after: {name}",
            )
            if run.rng.random() < 0.1:
                rig.crash()
                rig.up()
    run.judge(rig)


#: What a node of a cluster may do to everything, besides.
NODE_TOXINS: dict[str, Rule] = {
    **TOXINS,
    "closed": on("*", "", Drop()),
    "hangs at everything": on("*", "", Hang()),
    "forgets its database": on("*", "", Answer(404)),
}


@scenario("archive.cluster", "one or two of three nodes do such things, by the month", 60, 6)
def cluster(run: Run) -> None:
    """Each month's database is on all nodes, which are proxies in front of one server."""
    rig = run.rig(archive="couch", config=SMALL_BATCHES)
    with contextlib.closing(Cluster(rig.couch)) as nodes:
        rig.months = True
        rig.habitat.config["archive"]["uri"] = nodes.uri(f"{rig.database}-{{month}}")
        rig.start()
        names = list(NODE_TOXINS)
        with run.stations(rig, mix=LIGHT) as stations:
            for _ in range(run.faults):
                name = run.rng.choice(names)
                sick = run.rng.sample(range(3), run.rng.randint(1, 2))
                nodes.rule(NODE_TOXINS[name], sick)
                stations.wait_for(run.rng.randint(1, BETWEEN))
                run.inject(f"{name}: {sick}")
                nodes.heal()
                if run.rng.random() < 0.1:
                    rig.crash()
                    rig.up()
        run.judge(rig)


@scenario("archive.413", "413 for requests over 4 documents, the gateway halves them", 6)
def too_large(run: Run) -> None:
    rig = run.rig(archive="proxy", config=SMALL_BATCHES).start()

    def rule(method: str, path: str, body: bytes) -> Action | None:
        if method != "POST" or "_bulk_docs" not in path:
            return None
        return Answer(413) if len(json.loads(body)["docs"]) > 4 else None

    for number in range(run.faults):
        with run.stations(rig, mix=LIGHT) as stations:
            rig.toxic.rule = rule
            run.inject(f"413 from now on, {number}")
            stations.wait_for(4 * BETWEEN)
        rig.drain()
        rig.toxic.rule = None
    run.judge(rig)


#: The archive's own rule: every seventh message is forbidden.
VALIDATION = """function (doc) {
  var n = doc.data.number;
  if (n === undefined) { n = doc.type === 'LISTENER_INFO' ? +doc.data.name : doc.data.altitude; }
  if (n % 7 === 3) { throw({forbidden: 'every seventh'}); }
}"""


def is_forbidden(number: int) -> bool:
    """What VALIDATION forbids."""
    return number % 7 == 3


@scenario("archive.forbids", "a validation function forbids every seventh document", 6, 2)
def forbids(run: Run) -> None:
    rig = run.rig(archive="couch", config={"archive": {"batch": 20}}).start()
    rig.drain()
    design = {"validate_doc_update": VALIDATION}
    assert rig.couch.request("PUT", f"/{rig.database}/_design/guard", design).status == 201
    with run.stations(rig, mix=replace(LIGHT, repeat=0.5)) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            run.inject(f"kill {number} between dead letters")
            rig.crash()
            rig.up()
        stations.wait_for(BETWEEN)
    run.judge(rig, forbidden=is_forbidden)


@scenario("archive.known", "documents that are archived already: the journal is replayed", 4, 1)
def known(run: Run) -> None:
    """Two gateways get every upload, one of them later; both archive into one database."""
    rig = run.rig(archive="couch", config={"archive": {"batch": 20}}).start()
    other: Rig = run.rig(front=False)
    other.habitat.config["archive"]["uri"] = rig.habitat.config["archive"]["uri"]
    other.habitat.start()
    for number in range(run.faults):
        first = len(run.ledger)
        with run.stations(rig, mix=Mix(bulk=0, bad=0)) as stations:
            stations.wait_for(2 * BETWEEN)
        rig.drain()
        for again in range(first, len(run.ledger)):
            reply = other.habitat.scgi("POST", "/message", run.messages.body(again))
            assert reply.status == 200, reply
        run.inject(f"{len(run.ledger) - first} known documents, {number}")
    other.drain()
    assert not other.dead_letters(), "a document that was known became a dead letter"
    run.judge(rig)


@scenario("archive.lost", "the database is deleted under load and made anew", 5)
def lost(run: Run) -> None:
    """What was archived before is the deleter's to miss; nothing that came later may be."""
    rig = run.rig(archive="couch", config={"archive": {"batch": 20}}).start()
    for number in range(run.faults):
        with run.stations(rig, mix=LIGHT) as stations:
            stations.wait_for(BETWEEN)
        rig.drain()
        gone = {number_of(document) for document in rig.documents()}
        with run.stations(rig, mix=LIGHT) as stations:
            deleter = threading.Thread(target=rig.couch.delete, args=(rig.database,))
            rig.crash()  # so that no batch is half-way while the database goes
            deleter.start()
            deleter.join()
            rig.up()
            run.inject(f"database deleted {number}")
            stations.wait_for(BETWEEN)
        rig.drain()
        later = {number_of(document) for document in rig.documents()}
        missing = [n for n in run.ledger.numbers(2) if n not in gone and n not in later]
        assert not missing, f"lost beside the database: {missing[:5]}"
        run.ledger.forget(gone - later)
    run.judge(rig)
