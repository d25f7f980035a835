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
from benchmarks.process import rss
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
            start.append(_took([sys.executable, "-c", "pass"]) * 1000)
            usage.append(_took([*HABITAT, "query", "--help"]) * 1000)
            whole.append(_took(find) * 1000)
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
            bare = _took([sys.executable, "-c", BARE, str(path)])
            took = _took(_query(directory, path))
            rates.append(count / took)
            ratios.append(bare / took)
            memory.append(_largest(_query(directory, path)))
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


def _took(command: list[str]) -> float:
    """Seconds that a command takes whose output is thrown away."""
    begin = time.perf_counter()
    process = _start(command)
    process.wait()
    took = time.perf_counter() - begin
    _check(process)
    return took


def _largest(command: list[str]) -> float:
    """The largest resident memory, in MB, of a command whose output is thrown away.

    Looked up while it runs: what the kernel notes of the largest includes this process's own, out
    of which the command is started.
    """
    process = _start(command)
    largest = 0.0
    while process.poll() is None:
        largest = max(largest, rss(process.pid))
        time.sleep(0.01)
    _check(process)
    return largest


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    # As installed: Python keeps what it has compiled.
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        command, cwd=place.ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def _check(process: subprocess.Popen[bytes]) -> None:
    if process.returncode:
        raise BenchError(f"{process.args!r} ended with exit code {process.returncode}")
