"""How long after its 200 a message is visible in the archive of an idle system."""

from __future__ import annotations

import contextlib
import http.client
import json
import sqlite3
import time
from collections.abc import Callable

from benchmarks import load, place, scgi, systems
from benchmarks.place import BenchError
from benchmarks.results import Figure
from benchmarks.rows.context import Context
from benchmarks.systems import Place, running

DATABASE = "bench-visible"
PATIENCE = 10.0
#: Seconds between two messages: long enough for everything to fall asleep again.
PAUSE = 0.05


def visible(context: Context) -> dict[str, Figure]:
    """Send one message at a time and look for it without a pause."""
    figures = {"visible: embedded": _embedded(context)}
    if context.couch is not None:
        figures["visible: couch"] = _couch(context)
    return figures


def _embedded(context: Context) -> Figure:
    with place.data("visible") as directory:
        where = Place(context.sockets / "visible.sock", directory, None)
        with running(systems.gateway("visible", systems.embedded), where):
            path = directory / "archive.sqlite"
            _wait(path.exists)
            with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:

                def count() -> int:
                    query = "SELECT coalesce(max(arrival), 0) FROM document"
                    return int(connection.execute(query).fetchone()[0])

                table = "SELECT count(*) FROM sqlite_master WHERE name = 'document'"
                _wait(lambda: connection.execute(table).fetchone()[0] and count())
                return _times(context, where, count, "p50 from 200 to a reader of the file")


def _couch(context: Context) -> Figure:
    server = context.couch_server()
    server.delete(DATABASE)
    connection = http.client.HTTPConnection(*server.address, timeout=10)

    def count() -> int:
        connection.request("GET", f"/{DATABASE}")
        reply = connection.getresponse()
        text = reply.read()
        return int(json.loads(text)["doc_count"]) if reply.status == 200 else 0

    with place.data("visible") as directory:
        where = Place(context.sockets / "visible.sock", directory, server)
        system = systems.gateway("visible", lambda _: server.uri(DATABASE))
        with running(system, where), contextlib.closing(connection):
            _wait(lambda: systems.status(where.socket)["backlog"] == 0 and count())
            return _times(context, where, count, "p50 from 200 to a reader over HTTP")


def _times(context: Context, where: Place, count: Callable[[], int], what: str) -> Figure:
    medians = []
    serial = int(time.time() * 1000) % 10**10
    for _ in range(context.rounds):
        took = []
        for _ in range(context.size.times):
            time.sleep(PAUSE)
            before, serial = count(), serial + 1
            answer, _ = scgi.request(where.socket, "POST", "/message", load.message(serial))
            begin = time.perf_counter()
            if answer != 200:
                raise BenchError(f"/message answered {answer}")
            while count() == before:
                if time.perf_counter() - begin > PATIENCE:
                    raise BenchError(f"not visible after {PATIENCE:g} s")
            took.append((time.perf_counter() - begin) * 1000)
        medians.append(sorted(took)[len(took) // 2])
    return Figure(values=medians, unit="ms", better="lower", what=what)


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"the archive was not made in {PATIENCE:g} s")
        time.sleep(0.02)
