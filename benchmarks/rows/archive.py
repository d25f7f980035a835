"""Reading a large embedded archive from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import place, prepared
from benchmarks.place import BenchError
from benchmarks.results import Figure
from benchmarks.rows.context import Context
from benchmarks.rows.start import HABITAT

LIMIT = 100
#: The same rows in the same order with nothing around them.
BARE = """
import sqlite3, sys
out = sys.stdout.buffer
query = "SELECT document FROM document INDEXED BY by_time ORDER BY time_created DESC, id DESC"
for (document,) in sqlite3.connect(sys.argv[1]).execute(query):
    out.write(document.encode() + b"\\n")
"""


def query(context: Context) -> dict[str, Figure]:
    """The newest messages of one callsign."""
    count = context.size.documents
    path = prepared.archive(count)
    with place.data("query") as directory:
        find = [*_query(directory, path), "--callsign", prepared.callsign(7), f"--limit={LIMIT}"]
        lines = subprocess.run(find, capture_output=True, check=True).stdout.splitlines()
        wanted = min(LIMIT, count // prepared.CALLSIGNS)
        if len(lines) != wanted:
            raise BenchError(f"habitat query printed {len(lines)} documents instead of {wanted}")
        start, usage, whole = [], [], []
        for _ in range(context.rounds * context.size.times):
            start.append(_took([sys.executable, "-c", "pass"])[0] * 1000)
            usage.append(_took([*HABITAT, "query", "--help"])[0] * 1000)
            whole.append(_took(find)[0] * 1000)
    beyond = [a - b for a, b in zip(whole, start, strict=True)]
    search = [a - b for a, b in zip(whole, usage, strict=True)]

    def figure(values: list[float], what: str) -> Figure:
        return Figure(values=values, unit="ms", better="lower", what=what)

    return {
        "query: whole": figure(whole, f"newest {LIMIT} of a callsign in {count:,} documents"),
        "query: beyond the interpreter": figure(beyond, "less that of `python -c pass`"),
        "query: beyond its --help": figure(search, "less that of `habitat query --help`"),
    }


def stream(context: Context) -> dict[str, Figure]:
    """All of it as NDJSON, beside a bare loop over the same rows."""
    count = context.size.documents
    path = prepared.archive(count)
    rates, ratios, memory = [], [], []
    with place.data("query") as directory:
        for _ in range(context.rounds):
            bare, _ = _took([sys.executable, "-c", BARE, str(path)])
            took, rss = _took(_query(directory, path))
            rates.append(count / took)
            ratios.append(bare / took)
            memory.append(rss)
    return {
        "stream: rate": Figure(
            values=rates, unit="/s", better="higher", what=f"{count:,} documents to NDJSON"
        ),
        "stream: vs bare loop": Figure(values=ratios, unit="", better="higher"),
        "stream: RSS": Figure(values=memory, unit="MB", better="lower"),
    }


def _query(directory: Path, path: Path) -> list[str]:
    config = directory / "config.yml"
    config.write_text(json.dumps({"archive": {"uri": f"sqlite:{path}"}}), encoding="utf-8")
    return [*HABITAT, "query", "--config", str(config), "--format", "ndjson"]


def _took(command: list[str]) -> tuple[float, float]:
    """Seconds and the largest resident memory, in MB, of a command whose output is thrown away."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=place.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{' '.join(command[:3])} ended with exit code {process.returncode}")
    return took, usage.ru_maxrss * 1024 / 1e6
