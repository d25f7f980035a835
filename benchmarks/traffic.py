"""A past of many stations: their messages in an archive, and what was counted of them."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import shutil
import sqlite3
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import msgspec

from benchmarks import prepared
from benchmarks.place import DATA, BenchError
from habitat_like.archive import Query, open_archive
from habitat_like.archive.sink import ArchiveSink
from habitat_like.config.keys import ArchiveConfig
from habitat_like.journal.journal import Journal, Row
from habitat_like.statistics import tables
from habitat_like.statistics.metrics import LATENCY_BUCKETS
from habitat_like.statistics.tables import DAY, HOUR, MINUTE
from tests.support.couch import CouchServer

#: When the last of the archived messages was created, and over how many seconds all of them were.
END = 1_767_225_600
SPAN = 30 * DAY
DATABASE = "bench-console"
#: Three indexes and the views are a document each.
DESIGN_DOCUMENTS = 4
DEAD_LETTERS = 1000
#: Messages come in tens that belong together: two packets, each heard by four stations, a position
#: and a description.
TOGETHER, HEARD_BY = 10, 4
TYPES = ("RECEIVED_TELEM", "LISTENER_TELEM", "LISTENER_INFO")
#: Seconds that filling the CouchDB-protocol server may take: it gets what it takes in this time.
COUCH_SECONDS = 720.0
#: It has at least so many.
COUCH_LEAST = 100_000
#: Seconds that its making of an index may take.
INDEX_SECONDS = 1800.0
_COUCH_BATCH = 1000
_BATCH = 20_000
#: Of twenty stations one fell silent hours ago, and one weeks ago.
_SILENT, _GONE = 7, 13


def callsign(number: int) -> str:
    """The callsign of a station."""
    return f"S{number:05d}"


def documents(count: int, stations: int) -> Iterator[Row]:
    """Documents as the gateway makes them, the oldest first, each with its id."""
    for number in range(count):
        created = END - (count - number) * SPAN // count
        # Neighbours differ, and every station sends messages of all kinds.
        station = (number * 7919 + number // stations) % stations
        group, place = divmod(number, TOGETHER)
        data: dict[str, object]
        if place < 2 * HEARD_BY:
            kind = TYPES[0]
            packet = 2 * group + place % 2
            text = f"$$HABITAT,{packet},12:34:56,51.{packet % 9973:04d},-0.1284,12345,23.5,9.81\n"
            data = {"frequency": 434075199.23, "string": b64encode(text.encode()).decode()}
        elif place == 2 * HEARD_BY:
            kind = TYPES[1]
            moment = {"hour": number % 24, "minute": number % 60, "second": number % 60}
            data = {"latitude": 52.2, "longitude": 0.1, "altitude": number % 40, "time": moment}
        else:
            kind = TYPES[2]
            data = {"name": f"Station {station}", "location": "Cambridge", "radio": "ICOM IC-7000"}
        digest = blake2b(b"%d" % number, digest_size=12).hexdigest()
        identifier = f"{created:010d}-{digest}"
        document = {
            "_id": identifier,
            "type": kind,
            "callsign": callsign(station),
            "ip": f"203.0.113.{station % 250}",
            "time_created": created,
            "time_uploaded": created + 2,
            "data": data,
            "gateway": "bench",
        }
        yield identifier, msgspec.json.encode(document)


def archive(count: int, stations: int) -> Path:
    """The path of an embedded archive of ``count`` such documents; copy it, and leave it as is."""
    kept = DATA / "prepared" / f"traffic-{count}-{stations}.sqlite"
    if not kept.exists():
        with prepared.making(kept) as unfinished:
            made = open_archive(ArchiveConfig(uri=f"sqlite:{unfinished}"))
            made.prepare()
            for batch in prepared.batches(documents(count, stations), _BATCH):
                made.store([document for _, document in batch])
            made.close()
    return kept


@contextlib.contextmanager
def couch(count: int, stations: int) -> Iterator[tuple[CouchServer, int]]:
    """A CouchDB-protocol server with such a database, and how many documents are in it.

    It is given what it takes in COUCH_SECONDS, and its indexes are made.
    """
    kept = DATA / "prepared" / f"couch-{count}-{stations}"
    server = CouchServer()
    unfinished = kept.with_suffix(".unfinished")
    if not kept.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        server.data = unfinished
        server.start()
        try:
            _fill(server, count, stations)
        finally:
            server.stop()
        unfinished.rename(kept)
    server.data = kept
    server.start()
    try:
        # Not what GET of the database tells: this server reads all of it to know its size.
        listed = server.request("GET", f"/{DATABASE}/_all_docs?limit=0", timeout=INDEX_SECONDS)
        yield server, int(listed.json()["total_rows"]) - DESIGN_DOCUMENTS
    finally:
        server.stop()
        shutil.rmtree(server.directory, ignore_errors=True)


def _fill(server: CouchServer, count: int, stations: int) -> None:
    opened = open_archive(ArchiveConfig(uri=server.uri(DATABASE), timeout=INDEX_SECONDS))
    opened.prepare()
    begin = time.monotonic()
    stored = 0
    connection = http.client.HTTPConnection(*server.address, timeout=INDEX_SECONDS)
    headers = {"Content-Type": "application/json"}
    for batch in prepared.batches(documents(count, stations), _COUCH_BATCH):
        body = b'{"docs":[' + b",".join(document for _, document in batch) + b"]}"
        connection.request("POST", f"/{DATABASE}/_bulk_docs", body, headers)
        reply = connection.getresponse()
        text = reply.read()
        if reply.status != 201:
            raise BenchError(f"_bulk_docs answered {reply.status}: {text[:200]!r}")
        stored += len(batch)
        if time.monotonic() - begin > COUCH_SECONDS and stored >= min(COUCH_LEAST, count):
            break
    connection.close()
    # The first query makes its index.
    for query in (Query(), Query(type=TYPES[0]), Query(callsign=callsign(0))):
        next(opened.query(msgspec.structs.replace(query, limit=1)))
    opened.close()


def journal(stations: int, days: int) -> Path:
    """The path of a journal with statistics of so many ``days`` up to now, and dead letters.

    Copy it, and leave it as is.
    """
    today = int(time.time()) // HOUR
    kept = DATA / "prepared" / f"statistics-{stations}-{days}-{today}.sqlite"
    if not kept.exists():
        for old in kept.parent.glob(f"statistics-{stations}-{days}-*.sqlite"):
            old.unlink()
        with prepared.making(kept) as unfinished:
            _count(unfinished, stations, days)
    return kept


def _count(path: Path, stations: int, days: int) -> None:
    """Write what the collector would have written."""
    made = Journal(path, sync="normal")
    path_of_sink = f"{ArchiveSink.__module__}.{ArchiveSink.__qualname__}"
    with made.dead_letters() as letters:
        refused = itertools.islice(documents(DEAD_LETTERS, stations), DEAD_LETTERS)
        letters.add(
            path_of_sink,
            [(at, document, "forbidden: too old") for at, (_, document) in enumerate(refused, 1)],
        )
    made.update([(statement, ()) for statement in tables.SCHEMA])
    made.update([tables.insert("message_type", sorted(TYPES))])
    for table, rows in _tables(int(time.time()), stations, days):
        every = iter(rows)
        while batch := list(itertools.islice(every, _BATCH)):
            made.update([tables.insert(table, batch)])
        made.checkpoint()
    made.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    Path(f"{path}.lock").unlink()


_Rows = Iterator[tuple[object, ...]]


def _tables(now: int, stations: int, days: int) -> Iterator[tuple[str, _Rows]]:
    """The rows of every table, each in the order of its key."""
    today, hour, minute = now - now % DAY, now - now % HOUR, now - now % MINUTE
    names = [callsign(number) for number in range(stations)]
    first_day = today - (days - 1) * DAY
    minutes = range(max(minute - 2 * DAY, first_day), minute, MINUTE)
    hours = range(max(hour - 8 * DAY, first_day), hour + 1, HOUR)
    statuses = (200, 400, 413, 429, 503)

    def a_minute(at: int, kind: int) -> int:
        return stations // 60 * (8 - 3 * kind) * (100 + at // MINUTE % 37) // 100

    yield "sum_total", ((kind, 10**8 // (at + 1)) for at, kind in enumerate(TYPES))
    yield (
        "sum_minute",
        ((at, kind, a_minute(at, n)) for at in minutes for n, kind in enumerate(TYPES)),
    )
    yield (
        "sum_hour",
        (
            (at, kind, 60 * a_minute(at, n))
            for at in range(first_day, hour + 1, HOUR)
            for n, kind in enumerate(TYPES)
        ),
    )
    yield (
        "sum_station_hour",
        (
            (at, name, TYPES[0], 30 + (at // HOUR + n) % 60)
            for at in hours
            for n, name in enumerate(names)
            if at <= _last(n, now)
        ),
    )
    yield (
        "sum_station_day",
        (
            (at, name, TYPES[0], 1000 + (at // DAY * 13 + n) % 500)
            for at in range(first_day, today + 1, DAY)
            for n, name in enumerate(names)
            if at <= _last(n, now)
        ),
    )
    yield (
        "sum_requests",
        (
            (at, "message", status, 10**6 // (10**n))
            for at in range(first_day, today + 1, DAY)
            for n, status in enumerate(statuses)
        ),
    )
    yield (
        "sum_latency",
        ((at, bound, 1000 // (n + 1)) for at in minutes for n, bound in enumerate(LATENCY_BUCKETS)),
    )
    yield "sample_backlog", ((at, at // MINUTE % 50, at // MINUTE % 500) for at in minutes)
    yield (
        "sample_disk",
        (
            (at, place, 10**12 - (at - minutes[0]) * 1000, 2 * 10**12)
            for at in minutes
            for place in ("archive", "journal")
        ),
    )
    yield "station details", (_station(n, name, now) for n, name in enumerate(names))


def _last(number: int, now: int) -> int:
    """When a station was heard last."""
    kind = number % 20
    ago = 5 * HOUR if kind == _SILENT else 20 * DAY if kind == _GONE else 0
    return now - ago - number % 900


def _station(number: int, name: str, now: int) -> tuple[object, ...]:
    last = _last(number, now)
    offset = 4000 if number % 100 == 0 else number % 3
    heard = (name, now - 400 * DAY, last, 400_000 + number, last, f"203.0.113.{number % 250}")
    info = (
        last,
        f"Station {number}",
        f"Town {number % 700}",
        "ICOM IC-7000",
        "9 elements, 434 MHz",
    )
    return (*heard, offset, *info, last, 50 + number % 9, number % 12, number % 400)
