"""Uploads while the embedded archive lets a year of messages go.

    python -m benchmarks.retention [--rows 10000000] [--pairs 6] [--seconds 12] [--file PATH]

Makes an archive of two years, unless ``--file`` has one, and measures uploads to a gateway on it in
interleaved rounds, with ``archive.keep`` and without. Then it waits until the year is gone, and
says how long that takes beside a trickle of uploads and how large the file is.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.beside import Beside
from habitat_like.archive.sqlite import SqliteArchive
from habitat_like.archive.sqlite_tables import INSERT
from tests.support.gateway import Habitat
from tests.support.load import upload
from tests.support.net import short_directory

DAY = 86400
SPAN = 730 * DAY
KEEP = 365
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


def measure(path: Path, pairs: int, seconds: float) -> None:
    before = path.stat().st_size
    gateway = Habitat({"archive": {"uri": f"sqlite:{path}"}})
    dropped = 0

    def switch(keeps: bool) -> None:
        gateway.config["archive"]["keep"] = KEEP if keeps else None

    def count(keeps: bool) -> str:
        nonlocal dropped
        if keeps:
            dropped += gateway.status()["archive"]["counts"]["dropped"]
        return f"; {dropped} dropped so far" if keeps else ""

    now = int(time.time())
    beside = Beside(gateway, lambda number: upload(number, created=now))
    try:
        beside.compare(pairs, seconds, switch, count)
        switch(True)
        gateway.start()
        begun = time.monotonic()
        was, at, size = -TAIL, 0, 0
        # Until nothing goes but what turns too old meanwhile, and the file gets no smaller.
        while at - was >= TAIL or path.stat().st_size < size:
            was, size = at, path.stat().st_size
            at = gateway.status()["archive"]["counts"].get("dropped", 0)
            beside.load(0.2)
            time.sleep(20)
            print(
                f"{dropped + at} dropped after {time.monotonic() - begun:.0f} s,"
                f" {path.stat().st_size / 1e6:.0f} MB",
                flush=True,
            )
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
