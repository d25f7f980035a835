"""The operator's console alone: how fast its pages are, and what memory downloads need."""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import place, visitors
from benchmarks.place import BenchError
from benchmarks.process import rss
from benchmarks.results import Figure
from benchmarks.rows import consoles
from benchmarks.rows.consoles import Make
from benchmarks.rows.context import Context
from benchmarks.rows.start import HABITAT
from benchmarks.visitors import Visitor


def pages(context: Context) -> dict[str, Figure]:
    """Every page alone, over and over, with the embedded archive."""
    return _pages(context, "console pages", consoles.embedded)


def pages_couch(context: Context) -> dict[str, Figure]:
    """The same with the CouchDB-protocol server."""
    return _pages(context, "console pages couch", consoles.couch)


def _pages(context: Context, name: str, make: Make) -> dict[str, Figure]:
    first: dict[str, float] = {}
    took: dict[str, list[float]] = {}
    with make(context) as console, Visitor(console.port) as visitor:
        every = visitors.tour(visitor)
        pictures: dict[str, str] = {}
        for page, path in every.items():
            begin = time.perf_counter()
            text = visitor.page(path)
            first[page] = (time.perf_counter() - begin) * 1000
            for picture in visitor.pictures(text):
                # "at" names a minute: another one is another picture, which must be drawn.
                pictures[f"{page}: {Path(picture.partition('?')[0]).name}"] = picture
        data = {f"{page}, JSON": _as_json(path) for page, path in every.items()}
        every |= data | visitors.tables() | pictures
        for number in range(context.rounds * context.size.times):
            for page, path in every.items():
                fresh = f"{path}&fresh={number}" if page in pictures else path
                begin = time.perf_counter()
                visitor.page(fresh)
                took.setdefault(page, []).append((time.perf_counter() - begin) * 1000)
        count = console.documents
    what = f"{count:,} messages, {context.size.stations:,} stations; p50"
    medians = {page: statistics.median(values) for page, values in took.items()}
    html = {page: value for page, value in medians.items() if page in first}
    slowest = max(html, key=lambda page: html[page])
    figures = {
        f"{name}: slowest": Figure(
            values=took[slowest], unit="ms", better="lower", what=f"{slowest}; {what}"
        ),
        f"{name}: the median one": Figure(
            values=list(html.values()), unit="ms", better="lower", what=f"of {len(html)} pages"
        ),
    }
    for kind, chosen in (("JSON", data), ("table", visitors.tables()), ("picture", pictures)):
        last = max(chosen, key=lambda page: medians[page])
        figures[f"{name}: slowest {kind}"] = Figure(
            values=took[last], unit="ms", better="lower", what=last
        )
    slowest = max(first, key=lambda page: first[page])
    figures[f"{name}: slowest when first seen"] = Figure(
        values=[first[slowest]], unit="ms", better="lower", what=f"{slowest}, gateway just started"
    )
    for page in first:
        figures[f"{name}: {page}"] = Figure(values=took[page], unit="ms", better="lower")
    return figures


def _as_json(path: str) -> str:
    path, _, query = path.partition("?")
    return f"{path}.json?{query}"


def memory(context: Context) -> dict[str, Figure]:
    """Resident memory during downloads, and exports, of everything; the embedded archive."""
    return _memory(context, "console memory", consoles.embedded)


def memory_couch(context: Context) -> dict[str, Figure]:
    """The same with the CouchDB-protocol server."""
    return _memory(context, "console memory couch", consoles.couch)


def _memory(context: Context, name: str, make: Make) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    with make(context) as console:
        what = f"{console.documents:,} messages"
        for form in ("ndjson", "csv"):
            with Visitor(console.port) as visitor:
                visitor.page("/console/overview")
                path = f"/console/messages/download?format={form}"
                begin = time.perf_counter()
                lines, sizes = _sampled(console.child.pid, visitor.download(path))
                took = time.perf_counter() - begin
            if lines < console.documents:
                raise BenchError(f"a download of {console.documents} messages has {lines} lines")
            figures |= _flat(f"{name}: {form} download", what, sizes)
            figures[f"{name}: {form} download, rate"] = Figure(
                values=[console.documents / took], unit="/s", better="higher", what=what
            )
        with place.data("export") as directory:
            sizes = _export(directory, console.config)
        figures |= _flat(f"{name}: habitat export", what, sizes)
    return figures


def _sampled(pid: int, pieces: Iterator[bytes]) -> tuple[int, list[float]]:
    """How many lines they have, and a process's memory at moments evenly spread over them."""
    lines = 0
    found = []
    for number, piece in enumerate(pieces):
        lines += piece.count(b"\n")
        if number % 50 == 0:
            found.append(rss(pid))
    found.append(rss(pid))
    return lines, found


def _export(directory: Path, config: Path) -> list[float]:
    command = [*HABITAT, "export", "--config", str(config), str(directory / "all.ndjson")]
    found = []
    with subprocess.Popen(
        command, cwd=place.ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            while process.poll() is None:
                found.append(rss(process.pid))
                time.sleep(0.02)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            raise
    if process.returncode:
        raise BenchError(f"habitat export ended with exit code {process.returncode}")
    return [size for size in found if size]


def _flat(name: str, what: str, sizes: list[float]) -> dict[str, Figure]:
    """The largest, and how much larger the second half is than what the first fifth needed."""
    early = max(sizes[: max(len(sizes) // 5, 1)])
    late = max(sizes[len(sizes) // 2 :])
    return {
        f"{name}, RSS": Figure(values=[max(sizes)], unit="MB", better="lower", what=what),
        f"{name}, growth": Figure(
            values=[late / early],
            unit="",
            better="lower",
            what="largest RSS of the second half by that of the first fifth",
        ),
    }
