"""Uploads while the embedded archive lets a year of messages go.

    python -m benchmarks.retention [--rows 10000000] [--pairs 6] [--seconds 12] [--file PATH]

Makes an archive of two years, unless ``--file`` has one, and measures uploads to a gateway on it in
interleaved rounds, with ``archive.keep`` and without. Then it waits until the year is gone, and
says how long that takes beside a trickle of uploads and how large the file is.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from habitat_like.archive.sqlite import SqliteArchive
from habitat_like.archive.sqlite_tables import INSERT
from tests.support.gateway import Habitat
from tests.support.load import upload
from tests.support.net import short_directory

DAY = 86400
SPAN = 730 * DAY
KEEP = 365
STATIONS = 4
#: Fewer in 20 s are those that turn too old meanwhile.
TAIL = 100
#: Rows in one statement while the archive is made.
BATCH = 10_000


def rows(count: int, now: int) -> Iterator[str]:
    """The JSON arrays of so many messages, spread over two years."""
    source = random.Random(7)
    for begin in range(0, count, BATCH):
        made = []
        for number in range(begin, min(begin + BATCH, count)):
            created = now - SPAN + number * SPAN // count
            made.append(
                f'{{"_id":"{created:010d}-{source.getrandbits(96):024x}","type":"RECEIVED_TELEM",'
                f'"callsign":"M0{number % 500:03d}","ip":"203.0.113.7","time_created":{created},'
                f'"time_uploaded":{created + 3},"data":{{"frequency":434075199.23,'
                f'"string":"JCRoYWJpdGF0LDEyMyw1MS41MDgsLTAuMTI4"}},"gateway":"a1"}}'
            )
        yield f"[{','.join(made)}]"


def make(path: Path, count: int) -> None:
    """An archive with so many messages; its indexes are made last, which is faster."""
    with contextlib.closing(SqliteArchive(str(path))) as archive:
        archive.prepare()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        found = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        indexes = connection.execute(found).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        for array in rows(count, int(time.time())):
            connection.execute(INSERT, (array,))
        for _, sql in indexes:
            connection.execute(sql)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def load(gateway: Habitat, seconds: float, numbers: Iterator[int]) -> list[float]:
    """Upload for so long; returns the seconds that each took."""
    took: list[float] = []
    until = time.monotonic() + seconds
    now = int(time.time())

    def station() -> None:
        while time.monotonic() < until:
            body = upload(next(numbers), created=now)
            begun = time.monotonic()
            assert gateway.scgi("POST", "/message", body).status == 200
            took.append(time.monotonic() - begun)

    threads = [threading.Thread(target=station) for _ in range(STATIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def busy(gateway: Habitat) -> float:
    """The processor time of the gateway so far, in seconds."""
    assert gateway.process is not None
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def p99(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100] * 1000


def measure(path: Path, pairs: int, seconds: float) -> None:
    numbers = itertools.count()
    before = path.stat().st_size
    gateway = Habitat({"archive": {"uri": f"sqlite:{path}"}})
    dropped = 0
    rates: list[float] = []
    slowest: list[float] = []
    costs: list[float] = []
    try:
        for pair in range(pairs):
            found: dict[bool, list[float]] = {}
            used: dict[bool, float] = {}
            for keeps in (False, True) if pair % 2 else (True, False):
                gateway.config["archive"]["keep"] = KEEP if keeps else None
                gateway.start()
                load(gateway, 1, numbers)
                begun = busy(gateway)
                found[keeps] = load(gateway, seconds, numbers)
                used[keeps] = (busy(gateway) - begun) / len(found[keeps])
                if keeps:
                    dropped += gateway.status()["archive"]["counts"]["dropped"]
                gateway.stop()
            rates.append(len(found[True]) / len(found[False]))
            slowest.append(p99(found[True]) / p99(found[False]))
            costs.append(used[True] / used[False])
            print(
                f"pair {pair}: {len(found[False]) / seconds:.0f}/s without,"
                f" {len(found[True]) / seconds:.0f}/s with ({rates[-1]:.2f}); p99"
                f" {p99(found[False]):.1f} ms, {p99(found[True]):.1f} ms ({slowest[-1]:.2f});"
                f" {dropped} dropped so far",
                flush=True,
            )
        print(
            f"median of {pairs} pairs: rate {statistics.median(rates):.2f},"
            f" p99 {statistics.median(slowest):.2f},"
            f" processor time an upload {statistics.median(costs):.2f}"
        )
        gateway.config["archive"]["keep"] = KEEP
        gateway.start()
        begun = time.monotonic()
        was, now = -TAIL, 0
        while now - was >= TAIL:
            was, now = now, gateway.status()["archive"]["counts"].get("dropped", 0)
            load(gateway, 0.2, numbers)
            time.sleep(20)
            print(f"{dropped + now} dropped after {time.monotonic() - begun:.0f} s", flush=True)
        gateway.stop()
    finally:
        gateway.close()
    print(f"the file had {before / 1e6:.0f} MB and has {path.stat().st_size / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--file", type=Path, help="use this archive, which loses messages")
    chosen = parser.parse_args()
    directory = short_directory()
    try:
        path = chosen.file or directory / "archive.sqlite"
        if not path.exists():
            make(path, chosen.rows)
        measure(path, chosen.pairs, chosen.seconds)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
