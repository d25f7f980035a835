"""The limit of everything durable: how often a second the disk makes a small write durable."""

from __future__ import annotations

import os
import time

from benchmarks import place
from benchmarks.results import Figure
from benchmarks.rows.context import Context

#: What a small commit writes: SQLite's page.
PAGE = b"\xa5" * 4096
SECONDS = 1.0


def fdatasync(context: Context) -> dict[str, Figure]:
    """Append a page and fdatasync, over and over."""
    rates, times = [], []
    with place.data("disk") as directory:
        for number in range(context.rounds):
            took = _measure(str(directory / f"{number}"))
            rates.append(len(took) / sum(took))
            times.append(sorted(took)[len(took) // 2] * 1e6)
    return {
        "disk: fdatasync": Figure(
            values=rates, unit="/s", better="higher", what="append 4 KiB, fdatasync, again"
        ),
        "disk: fdatasync time": Figure(values=times, unit="µs", better="lower", what="p50"),
    }


def _measure(path: str) -> list[float]:
    took = []
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        end = time.perf_counter() + SECONDS
        while (begin := time.perf_counter()) < end:
            os.write(fd, PAGE)
            os.fdatasync(fd)
            took.append(time.perf_counter() - begin)
    finally:
        os.close(fd)
    return took
