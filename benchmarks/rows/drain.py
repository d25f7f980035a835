"""How fast the archive sink drains the journal into the CouchDB-protocol server."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import couchdb
import msgspec

from benchmarks import place, prepared, systems
from benchmarks.place import BenchError
from benchmarks.results import Figure
from benchmarks.rows.context import Context
from benchmarks.systems import Place, running
from habitat_like.archive import open_archive
from habitat_like.config.keys import ArchiveConfig
from tests.support.couch import CouchServer

BATCH = ArchiveConfig().batch
#: One `save` a message is so slow that it gets a part of the messages.
SAVED = 10
DATABASE = "bench-drain"
PATIENCE = 120.0


def couch(context: Context) -> dict[str, Figure]:
    """By turns: prebuilt ``_bulk_docs`` bodies on one connection, the gateway, ``save``."""
    server, count = context.couch_server(), context.size.couch
    found: dict[str, list[float]] = {"bulk": [], "gateway": [], "save": []}
    for _ in range(context.rounds):
        for name, measure in (("bulk", _bulk), ("gateway", _gateway), ("save", _save)):
            prepare(server, DATABASE)
            found[name].append(measure(context, server, count))
            _check(server, count // SAVED if name == "save" else count)
    server.delete(DATABASE)

    def rate(name: str, what: str) -> Figure:
        return Figure(values=found[name], unit="/s", better="higher", what=what)

    def against(name: str) -> Figure:
        values = [a / b for a, b in zip(found["gateway"], found[name], strict=True)]
        return Figure(values=values, unit="", better="higher")

    return {
        "couch: _bulk_docs": rate("bulk", f"prebuilt bodies of {BATCH}, one connection"),
        "couch: draining": rate("gateway", f"the gateway, {count} messages"),
        "couch: save": rate("save", "couchdb-python, one message each"),
        "couch: draining vs _bulk_docs": against("bulk"),
        "couch: draining vs save": against("save"),
    }


def prepare(server: CouchServer, database: str) -> None:
    """Make a new database as the gateway has it: what a write costs depends on its design."""
    server.delete(database)
    archive = open_archive(ArchiveConfig(uri=server.uri(database)))
    archive.prepare()
    archive.close()


def bulk_bodies(count: int, size: int, first: int = 0) -> list[bytes]:
    """The ``_bulk_docs`` bodies of so many documents, ``size`` in each."""
    return [
        b'{"docs":[' + b",".join(document for _, document in batch) + b"]}"
        for batch in prepared.batches(prepared.rows(count, first), size)
    ]


def bulk_seconds(server: CouchServer, database: str, bodies: list[bytes]) -> float:
    """How long the server takes for the bodies on one connection, but for the first of them."""
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    begin = 0.0
    for body in bodies:
        connection.request(
            "POST", f"/{database}/_bulk_docs", body, {"Content-Type": "application/json"}
        )
        reply = connection.getresponse()
        reply.read()
        if reply.status != 201:
            raise BenchError(f"_bulk_docs answered {reply.status}")
        begin = begin or time.perf_counter()
    took = time.perf_counter() - begin
    connection.close()
    return took


def _bulk(_: Context, server: CouchServer, count: int) -> float:
    """The first batch isn't counted, as it isn't of the gateway's draining."""
    size = min(BATCH, count // 8)
    return (count - size) / bulk_seconds(server, DATABASE, bulk_bodies(count, size))


def _gateway(context: Context, server: CouchServer, count: int) -> float:
    system = systems.gateway(
        "drain",
        lambda _: server.uri(DATABASE),
        configuration={"archive": {"batch": min(BATCH, count // 8)}},
    )
    with place.data("drain") as directory:
        prepared.journal(directory / "journal.sqlite", count)
        where = Place(context.sockets / "drain.sock", directory, server)
        with running(msgspec.structs.replace(system, checks=False), where):
            return _watch(where.socket, count)


def _watch(socket: Path, count: int) -> float:
    """The rate from the first batch that is seen archived to the last."""
    begin, at_first = 0.0, 0
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        archived = systems.status(socket)["archive"]["messages"]
        now = time.perf_counter()
        if archived >= count:
            if at_first == count or not at_first:
                raise BenchError("the journal was drained before it could be watched")
            return (count - at_first) / (now - begin)
        if archived and not at_first:
            begin, at_first = now, archived
        time.sleep(0.005)
    raise BenchError(f"{count} messages were not archived in {PATIENCE:g} s")


def _save(_: Context, server: CouchServer, count: int) -> float:
    database = couchdb.Database(f"{server.url}/{DATABASE}")
    documents = [msgspec.json.decode(document) for _, document in prepared.rows(count // SAVED)]
    begin = time.perf_counter()
    for document in documents:
        database.save(document)
    return len(documents) / (time.perf_counter() - begin)


def _check(server: CouchServer, count: int) -> None:
    found = len(server.all_docs(DATABASE))
    if found != count:
        raise BenchError(f"{found} documents are archived instead of {count}")
