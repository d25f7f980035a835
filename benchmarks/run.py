"""One run: cells round by round, then the rows, then what became of the goals."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks import goals, machine, place
from benchmarks.cells import NGINX, Bench, Job, jobs
from benchmarks.front import Front
from benchmarks.place import BenchError
from benchmarks.results import Report
from benchmarks.rows import ROWS, Context
from benchmarks.sizes import Size
from benchmarks.systems import RESPONDER
from habitat_like.archive import ArchiveError
from habitat_like.journal.file import JournalError
from tests.support.couch import SERVER, CouchServer

#: What ends a row, and not the run.
FAILURES = (
    BenchError,
    OSError,
    sqlite3.Error,
    subprocess.SubprocessError,
    http.client.HTTPException,
    JournalError,
    ArchiveError,
)

METHOD = {
    "load": "wrk, 1 thread, keep-alive, through nginx; or a loader in C straight at the socket",
    "message": "223 bytes of JSON, every one different",
    "order": "in each round every cell once, side by side, its server started anew",
    "reference": "a responder in C behind the same nginx, before and after every cell",
    "ratio": "the cell's rate by the mean of the two, median over the rounds",
    "nginx": "1 worker, no access log, the location block of `habitat nginx` for every server",
    "gateway": "as shipped: journal.sync full, metrics, log to a file; journal.max_backlog raised",
}


def names(size: Size, only: re.Pattern[str]) -> list[str]:
    """The names of the cells and rows that a run would measure."""
    return [job.cell.name for job in _wanted(size, only)] + _rows(only)


def run(size: Size, only: re.Pattern[str], rounds: int) -> Report:
    """Measure everything whose name ``only`` finds. Raises BenchError."""
    console = Console(stderr=True)
    begin = time.monotonic()
    report = Report(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        size=size.name,
        rounds=rounds,
        method=METHOD,
        machine=machine.describe(),
    )

    def failed(text: str) -> None:
        report.failed.append(text)
        console.print(f"[red]failed:[/] {text}", highlight=False)

    todo = _available(_wanted(size, only), report, console)
    report.cells = [job.cell for job in todo]
    with contextlib.ExitStack() as stack:
        stack.callback(place.clean)
        sockets = stack.enter_context(place.sockets())
        couch = stack.enter_context(_couch(report, console))
        if couch is None:
            todo = [job for job in todo if not job.system.name.endswith("+ couch")]
        names = dict.fromkeys([RESPONDER.name, *(job.system.name for job in todo)])
        names.pop(NGINX.name, None)
        front = Front(sockets, names)
        stack.callback(front.stop)
        bench = Bench(size, sockets, front, couch)
        with console.status("") as status, bench.reference():
            for number in range(rounds if todo else 0):
                if not console.is_terminal:
                    console.print(f"round {number + 1} of {rounds}: {len(todo)} cells")
                for at, (job, sample) in enumerate(bench.round(todo, failed), 1):
                    job.cell.samples.append(sample)
                    if sample.problem:
                        failed(f"{job.cell.name}: {sample.problem}")
                    status.update(
                        f"round {number + 1} of {rounds}: {at} of {len(todo)} cells"
                        f" ({job.cell.name}: {sample.rate:.0f}/s, {sample.ratio:.2f})"
                    )
            context = Context(size=size, rounds=rounds, sockets=sockets, couch=couch, report=report)
            for name in _rows(only):
                status.update(f"row: {name}")
                if not console.is_terminal:
                    console.print(f"row: {name}")
                try:
                    report.figures.update(ROWS[name](context))
                except FAILURES as error:
                    failed(f"{name}: {error}")
    report.cells = [cell for cell in report.cells if cell.samples]
    report.seconds = round(time.monotonic() - begin, 1)
    report.goals = goals.judge(report)
    return report


def default_path(report: Report) -> Path:
    """Where a result goes that nobody named."""
    moment = re.sub(r"[^0-9T]", "", report.date.partition("+")[0])
    revision = report.machine["revision"].partition(" ")[0]
    return place.RESULTS / f"{moment}-{revision}.json"


def _wanted(size: Size, only: re.Pattern[str]) -> list[Job]:
    return [job for job in jobs(size) if only.search(job.cell.name)]


def _rows(only: re.Pattern[str]) -> list[str]:
    return [name for name in ROWS if only.search(name)]


def _available(todo: list[Job], report: Report, console: Console) -> list[Job]:
    """The jobs that can be done here; what others need is told in one line each."""
    reasons = {job.system.name: job.system.missing() for job in todo}
    for name, reason in reasons.items():
        if reason:
            report.missing.append(f"{name}: missing {reason}")
            console.print(f"[yellow]missing:[/] {name}: {reason}", highlight=False)
    return [job for job in todo if not reasons[job.system.name]]


@contextlib.contextmanager
def _couch(report: Report, console: Console) -> Iterator[CouchServer | None]:
    """The CouchDB-protocol server of the tests, with its data on the disk."""
    if place.find("node") is None or not (SERVER.parent / "node_modules").is_dir():
        report.missing.append("CouchDB-protocol server: missing node or its packages")
        console.print("[yellow]missing:[/] CouchDB-protocol server: node and npm", highlight=False)
        yield None
        return
    server = CouchServer()
    with place.data("couch") as directory:
        server.data = directory
        try:
            server.start()
            yield server
        except AssertionError as error:
            raise BenchError(str(error).splitlines()[0]) from None
        finally:
            server.close()
