"""How soon the console's map answers over a large archive.

    python -m benchmarks.map [--messages 1000000] [--payloads 200] [--archive sqlite|couchdb]
        [--directory DIRECTORY] [--seconds 60]

The messages are of the last 24 hours, which is what the map shows without a filter: payloads that
tell where they are (TELEM), and for each packet four receivers (RECEIVED_TELEM). The archive is
made below the directory, and kept there. Then a gateway starts, and somebody looks at the map
(/console/map) and its data (/console/map.json) again and again, at first while the gateway still
reads. Told are medians, the longest answer, the gateway's processor time for each (with what it
reads meanwhile), and when all was read.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.process import cpu, rss
from benchmarks.visitors import Visitor, make_users
from habitat_like.archive import Archive, Query, open_archive
from habitat_like.config.keys import ArchiveConfig
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.nginx import Nginx

DAY = 86400
#: Receivers of each packet, and of all.
HEARING, RECEIVERS = 4, 60
BATCH = 500
DATABASE = "map"
INDEX_SECONDS = 3600.0


def documents(count: int, payloads: int, end: int) -> Iterator[bytes]:
    """So many messages of the day before ``end``, in order of time."""
    choose = random.Random(3)
    receivers = [f"RX{number}" for number in range(RECEIVERS)]
    number = 0

    def document(kind: str, callsign: str, when: int, data: dict[str, Any]) -> bytes:
        nonlocal number
        number += 1
        return msgspec.json.encode(
            {
                "_id": f"{when:010d}-{number:024x}",
                "type": kind,
                "callsign": callsign,
                "ip": "203.0.113.7",
                "time_created": when,
                "time_uploaded": when + 1,
                "data": data,
                "gateway": "a1",
            }
        )

    clock = {"hour": 0, "minute": 0, "second": 0}
    for at, receiver in enumerate(receivers):
        place = {"latitude": 48 + at / 10, "longitude": at / 4, "altitude": 20, "time": clock}
        yield document("LISTENER_TELEM", receiver, end - DAY, place)
    packets = (count - RECEIVERS) // (HEARING + 1)
    for packet in range(packets):
        when = end - DAY + packet * DAY // packets
        payload = packet % payloads
        name = f"HAB{payload}"
        flown = (packet // payloads * 7 + payload * 40) % 1600
        altitude = 25 * flown if flown < 1200 else max(30_000 - 75 * (flown - 1200), 50)
        latitude = round(48 + payload / 20 + flown / 4000 + choose.random() / 1000, 5)
        longitude = round(payload / 10 + flown / 800 + choose.random() / 1000, 5)
        line = f"$${name},{packet},12:00:00,{latitude},{longitude},{altitude},3.6,8*1234\n"
        string = base64.b64encode(line.encode()).decode()
        for receiver in choose.sample(receivers, HEARING):
            data = {"string": string, "frequency": 434075000.5, "snr": 8.5}
            yield document("RECEIVED_TELEM", receiver, when, data)
        position = {"latitude": latitude, "longitude": longitude, "altitude": altitude}
        values = {"temperature": 20 - altitude / 500, "battery": 3.6, "satellites": 8}
        said = {"protocol": "ukhas", "payload": name, "sequence": packet, "time": "12:00:00"}
        yield document("TELEM", name, when, {**said, "position": position, "values": values})


def fill(archive: Archive, count: int, payloads: int, seconds: float) -> int:
    """Store them; how many there are now. Gives up after so many ``seconds``."""
    archive.prepare()
    begin = time.monotonic()
    batch: list[bytes] = []
    stored = 0
    # The newest first: what is left out is the oldest.
    for document in reversed(list(documents(count, payloads, int(time.time())))):
        batch.append(document)
        if len(batch) == BATCH:
            if rejected := archive.store(batch):
                raise SystemExit(f"refused: {rejected[0].reason}")
            stored += len(batch)
            batch = []
            if stored % 50_000 == 0:
                # Else the first query would wait until all are in its index.
                _index(archive)
                print(f"{stored:,} stored after {time.monotonic() - begin:.0f} s", flush=True)
            if time.monotonic() - begin > seconds:
                break
    _index(archive)
    return stored


def _index(archive: Archive) -> None:
    for query in (Query(limit=1), Query(type="TELEM", limit=1), Query(callsign="HAB0", limit=1)):
        next(archive.query(query), None)


@contextlib.contextmanager
def place(kind: str, directory: Path) -> Iterator[str]:
    """The ``archive.uri`` of an archive below the directory."""
    if kind == "sqlite":
        yield f"sqlite:{directory / 'map.sqlite'}"
        return
    server = CouchServer()
    temporary, server.data = server.directory, directory / "couch"
    server.data.mkdir(exist_ok=True)
    server.start()
    try:
        yield server.uri(DATABASE)
    finally:
        server.stop()
        shutil.rmtree(temporary, ignore_errors=True)


def measure(uri: str, seconds: float) -> None:
    """Look at the map for a while, and tell how that was."""
    with contextlib.ExitStack() as stack:
        gateway = Habitat({"archive": {"uri": uri}, "sinks": []})
        stack.callback(gateway.close)
        gateway.config["console"] = {"password_file": make_users(gateway.directory)}
        gateway.start()
        front = Nginx(gateway)
        stack.callback(front.close)
        front.start()
        visitor = stack.enter_context(Visitor(front.port))
        took: dict[str, list[tuple[float, float]]] = {}

        def ask(name: str, path: str) -> bytes:
            begin, worked = time.perf_counter(), cpu(gateway.pid)
            body = visitor.page(path)
            waited = (time.perf_counter() - begin) * 1000
            took.setdefault(name, []).append((waited, (cpu(gateway.pid) - worked) / 1000))
            return body

        begin = time.monotonic()
        cursor = ""
        read = None
        while time.monotonic() - begin < seconds:
            ask("page", "/console/map")
            whole = ask("all data", "/console/map.json")
            data = msgspec.json.decode(ask("what changed", f"/console/map.json?after={cursor}"))
            cursor = data["cursor"]
            if read is None and data["reading"] is None:
                read = time.monotonic() - begin
                took = {f"{name}, still reading": values for name, values in took.items()}
            if read is not None and len(took.get("page", ())) >= 20:
                break
            time.sleep(0.2)
        features = msgspec.json.decode(whole)["features"]
        points = sum(
            len(line)
            for one in features
            if one["properties"]["kind"] == "track"
            for line in one["geometry"]["coordinates"]
        )
        payloads = sum(one["properties"]["kind"] == "payload" for one in features)
        print(f"{payloads} payloads, {points:,} points, {len(whole):,} bytes of data")
        print("read in", "-" if read is None else f"{read:.0f} s", f"RSS {rss(gateway.pid):.0f} MB")
        for name, values in took.items():
            waited, worked = zip(*values, strict=True)
            middle, work = statistics.median(waited), statistics.mean(worked)
            print(
                f"{name:28} {len(values):4} times  p50 {middle:5.0f} ms"
                f"  longest {max(waited):5.0f} ms  processor {work:5.1f} ms each"
            )


def main(arguments: list[str]) -> None:
    """Make what is missing, and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.map")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--payloads", type=int, default=200)
    parser.add_argument("--archive", choices=("sqlite", "couchdb"), default="sqlite")
    parser.add_argument("--directory", type=Path, default=Path("var/bench/map"))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--fill-seconds", type=float, default=3600)
    chosen = parser.parse_args(arguments)
    chosen.directory.mkdir(parents=True, exist_ok=True)
    with place(chosen.archive, chosen.directory) as uri:
        noted = chosen.directory / f"{chosen.archive}.filled"
        if not noted.exists():
            archive = open_archive(ArchiveConfig(uri=uri, timeout=INDEX_SECONDS))
            with contextlib.closing(archive):
                stored = fill(archive, chosen.messages, chosen.payloads, chosen.fill_seconds)
            noted.write_text(f"{stored}\n", encoding="utf-8")
        print(f"{int(noted.read_text()):,} messages, {chosen.payloads} payloads, {chosen.archive}")
        measure(uri, chosen.seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
