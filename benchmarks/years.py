"""An archive of many months in CouchDB: what queries, exports and the console's pages take.

    python -m benchmarks.years [--documents 1000000] [--months 24]

Spreads documents over databases of the CouchDB-protocol server of the tests, behind a proxy that
counts requests. Then: a query for one day, and the databases it touches; an export of everything,
and the memory of its process; every page of the console with messages on it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time

import msgspec

from habitat_like.archive import Query, months, open_archive
from habitat_like.config.keys import ArchiveConfig
from tests.support.cli import environment
from tests.support.console import Visitor, with_console
from tests.support.couch import CouchServer
from tests.support.proxy import Proxy

BATCH = 1000
PAGES = (
    "/overview",
    "/messages",
    "/messages?callsign=M0007",
    "/messages?type=LISTENER_TELEM",
    "/messages?since=2026-03-01&until=2026-03-02",
    "/messages?callsign=NOBODY",
    "/packets",
)
TIMES = 9


def fill(uri: str, count: int, span: int) -> None:
    """Spread so many documents over so many months up to now."""
    now = int(time.time())
    begin = months.begin(months.following(months.month_of(now), 1 - span))
    source = random.Random(3)
    with contextlib.closing(open_archive(ArchiveConfig(uri=uri, timeout=600))) as archive:
        archive.prepare()
        for at in range(0, count, BATCH):
            made = []
            for number in range(at, min(at + BATCH, count)):
                created = begin + (now - begin) * number // count
                made.append(
                    json.dumps(
                        {
                            "_id": f"{created:010d}-{source.getrandbits(96):024x}",
                            "type": "RECEIVED_TELEM" if number % 5 else "LISTENER_TELEM",
                            "callsign": f"M0{number % 200:03d}",
                            "time_created": created,
                            "time_uploaded": created + 2,
                            "data": {"string": f"JCRo{number:028d}", "frequency": 434e6},
                        }
                    ).encode()
                )
            assert archive.store(made) == []
            if at % (BATCH * 50) == 0:
                print(f"{at} stored", flush=True)


def build_indexes(uri: str, span: int) -> None:
    """Ask each month once by each index, as a server that is in use has been asked."""
    config = ArchiveConfig(uri=uri, timeout=1800)
    now = int(time.time())
    with contextlib.closing(open_archive(config)) as archive:
        for month in list(
            months.between(months.following(months.month_of(now), 1 - span), months.month_of(now))
        ):
            since = months.begin(month) + 86400
            for one in (Query(), Query(callsign="M0007"), Query(type="LISTENER_TELEM")):
                short = msgspec.structs.replace(one, since=since, until=since + 9)
                list(archive.query(short))
            print(f"{month} is indexed", flush=True)


def measure(proxy: Proxy, uri: str) -> None:
    now = int(time.time())
    with contextlib.closing(open_archive(ArchiveConfig(uri=uri, timeout=600))) as archive:
        day = months.begin(months.following(months.month_of(now), -2)) + 14 * 86400
        before = len(proxy.requests)
        found = len(list(archive.query(Query(since=day, until=day + 86400))))
        paths = [one.path for one in proxy.requests[before:]]
        touched = {path.split("/")[1] for path in paths}
        print(f"a day: {found} documents, {len(paths)} requests to {len(touched)} database(s)")
    before = len(proxy.requests)
    begun = time.monotonic()
    peaks = {}
    for limit in ("1000", "all"):
        command = [sys.executable, "-m", "habitat_like.cli", "query", "--limit", limit]
        command += ["--order", "asc", "--format", "ndjson"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=environment(HABITAT_ARCHIVE_URI=uri)
        ) as process:
            assert process.stdout is not None
            last, count = 0, 0
            for line in process.stdout:
                created = json.loads(line)["time_created"]
                assert created >= last, "out of order"
                last, count = created, count + 1
            _, _, used = os.wait4(process.pid, 0)
            process.returncode = 0
        peaks[limit] = used.ru_maxrss
        print(f"{count} documents in order, {used.ru_maxrss // 1024} MB at most", flush=True)
    print(f"that took {time.monotonic() - begun:.0f} s, {len(proxy.requests) - before} requests")


def pages(uri: str) -> None:
    gateway = with_console(archive={"uri": uri})
    try:
        gateway.start()
        visitor = Visitor(gateway)
        assert visitor.sign_in().status == 303
        for page in PAGES:
            took = []
            for _ in range(TIMES):
                begun = time.monotonic()
                status = visitor.get(f"/console{page}").status
                took.append(time.monotonic() - begun)
            median = statistics.median(took) * 1000
            print(f"{page}: {status}, median {median:.0f} ms, worst {max(took) * 1000:.0f} ms")
        gateway.stop()
    finally:
        gateway.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--months", type=int, default=24)
    chosen = parser.parse_args()
    with contextlib.closing(CouchServer()) as couch:
        couch.start()
        proxy = Proxy(couch)
        with contextlib.closing(proxy):
            direct, uri = couch.uri("years-{month}"), proxy.uri("years-{month}")
            fill(direct, chosen.documents, chosen.months)
            build_indexes(direct, chosen.months)
            measure(proxy, uri)
        pages(direct)


if __name__ == "__main__":
    main()
