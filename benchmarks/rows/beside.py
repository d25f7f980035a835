"""What the operator's console costs those who upload."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from benchmarks import load, place, visitors
from benchmarks.place import BenchError
from benchmarks.process import busy, children, cpu
from benchmarks.results import Figure
from benchmarks.rows import consoles
from benchmarks.rows.consoles import Console
from benchmarks.rows.context import Context
from benchmarks.visitors import Crowd, Visitor, beside

USERS = 10
#: Connections of the load that takes all it can get.
CONNECTIONS = (32, 128)
#: The even load of which the latency is told: uploads a second.
RATE = 2000
#: Pages that wait for an archive which doesn't answer, as many as there are threads for pages.
STUCK = 4


class Loaded(msgspec.Struct):
    """One load: uploads a second, their latency in ms, and how many cores others kept busy."""

    rate: float
    p50: float
    p99: float
    most: float
    others: float


def users(context: Context) -> dict[str, Figure]:
    """Uploads as fast as they are taken, with and without people who click, by turns."""
    figures: dict[str, Figure] = {}
    with consoles.embedded(context) as console:
        with Visitor(console.port) as visitor:
            every = [*visitors.tour(visitor).values()]
        crowd = Crowd(console.port, USERS, every)
        try:
            for count in CONNECTIONS:
                figures |= _clicked(context, console, crowd, count)
        finally:
            crowd.close()
    return figures


def _clicked(
    context: Context, console: Console, crowd: Crowd, connections: int
) -> dict[str, Figure]:
    took: list[float] = []

    @contextlib.contextmanager
    def clicking() -> Iterator[None]:
        with crowd.clicking() as now:
            yield
        took.extend(now)

    pairs = _pairs(context, console, clicking, lambda: _full(context, console, connections))
    name = f"console users: @{connections}"
    rate = len(took) / context.size.clicking / len(pairs)
    figures = _compared(name, f"{USERS} people, {rate:.1f} pages a second", pairs)
    figures[f"{name}, page"] = Figure(
        values=[one * 1000 for one in took],
        unit="ms",
        better="lower",
        what="with its pictures, beside the load",
    )
    return figures


def stuck(context: Context) -> dict[str, Figure]:
    """Uploads beside pages that hang on an archive which takes requests and never answers."""
    with _mute() as port, place.data(consoles.NAME) as directory:
        uri = f"couchdb://127.0.0.1:{port}/stuck"
        with consoles.console(context, directory, uri, 0) as console:

            def look(ending: threading.Event) -> None:
                with Visitor(console.port) as visitor:
                    while not ending.is_set():
                        visitor.status("/console/messages")

            return _beside(
                context, console, "console stuck", f"{STUCK} pages that hang", look, STUCK
            )


def download(context: Context) -> dict[str, Figure]:
    """Uploads beside the download of the whole archive."""
    with consoles.embedded(context) as console:

        def take(ending: threading.Event) -> None:
            while not ending.is_set():
                with Visitor(console.port) as visitor:
                    for _ in visitor.download("/console/messages/download?format=ndjson"):
                        if ending.is_set():
                            break

        return _beside(context, console, "console download", "a download of everything", take, 1)


def _beside(
    context: Context,
    console: Console,
    name: str,
    what: str,
    work: Callable[[threading.Event], None],
    count: int,
) -> dict[str, Figure]:
    """As many uploads as are taken, and an even load, each with and without the work."""

    def working() -> contextlib.AbstractContextManager[None]:
        return beside(work, count)

    middle = CONNECTIONS[0]
    pairs = _pairs(context, console, working, lambda: _full(context, console, middle))
    figures = _compared(f"{name}: @{middle}", what, pairs)
    pairs = _pairs(context, console, working, lambda: _even(context, console))
    return figures | _compared(f"{name}: {RATE}/s", what, pairs)


_Pair = tuple[Loaded, Loaded]


def _pairs(
    context: Context,
    console: Console,
    beside: Callable[[], contextlib.AbstractContextManager[None]],
    measure: Callable[[], Loaded],
) -> list[_Pair]:
    """Loads with and without something beside them; every other pair begins with the other."""
    measure()  # warms everything up
    found = []
    for number in range(context.size.pairs):
        with_it: list[Loaded] = []
        without: list[Loaded] = []
        for is_with in (number % 2 == 0, number % 2 == 1):
            console.child.check()
            if is_with:
                with beside():
                    with_it.append(measure())
            else:
                without.append(measure())
        found.append((with_it[0], without[0]))
    return found


def _compared(name: str, what: str, pairs: list[_Pair]) -> dict[str, Figure]:
    def figure(values: list[float], unit: str, what: str) -> Figure:
        better = "lower" if unit == "ms" or unit == "cores" else "higher"
        return Figure(values=values, unit=unit, better=better, what=what)  # type: ignore[arg-type]

    return {
        f"{name}, rate": figure([a.rate / b.rate for a, b in pairs], "", f"{what}: with / without"),
        f"{name}, uploads": figure([a.rate for a, _ in pairs], "/s", what),
        f"{name}, uploads without": figure([b.rate for _, b in pairs], "/s", ""),
        f"{name}, p50": figure([a.p50 for a, _ in pairs], "ms", what),
        f"{name}, p50 without": figure([b.p50 for _, b in pairs], "ms", ""),
        f"{name}, p99": figure([a.p99 for a, _ in pairs], "ms", what),
        f"{name}, p99 ratio": Figure(
            values=[a.p99 / b.p99 for a, b in pairs], unit="", better="lower", what="with / without"
        ),
        f"{name}, p99 without": figure([b.p99 for _, b in pairs], "ms", ""),
        f"{name}, longest": figure([a.most for a, _ in pairs], "ms", what),
        f"{name}, longest without": figure([b.most for _, b in pairs], "ms", ""),
        f"{name}, others": figure(
            [(a.others + b.others) / 2 for a, b in pairs], "cores", "busy with what is no part"
        ),
    }


def _full(context: Context, console: Console, connections: int) -> Loaded:
    """Uploads as fast as they are taken."""
    return _measured(
        console,
        lambda: load.through_nginx(console.port, "/message", connections, context.size.clicking),
    )


def _even(context: Context, console: Console) -> Loaded:
    """So many uploads a second, whatever becomes of them."""
    return _measured(
        console,
        lambda: load.at_rate(console.port, "/message", RATE, context.size.clicking, connections=64),
    )


def _measured(console: Console, measure: Callable[[], load.Outcome]) -> Loaded:
    def used() -> float:
        ours = cpu(console.child.pid) + cpu(console.front.pid) + children()
        return busy() - ours

    before, begin = used(), time.monotonic()
    outcome = measure()
    others = (used() - before) / (time.monotonic() - begin) / 1e6
    if outcome.errors or not outcome.requests:
        raise BenchError(f"{outcome.errors} of {outcome.requests} uploads got no 200")
    return Loaded(
        rate=outcome.rate,
        p50=(outcome.ok.p50 or outcome.p50) / 1000,
        p99=(outcome.ok.p99 or outcome.p99) / 1000,
        most=outcome.ok.most / 1000,
        others=max(0.0, others),
    )


@contextlib.contextmanager
def _mute() -> Iterator[int]:
    """The port of a server that takes every request and answers none."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]
