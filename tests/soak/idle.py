"""Thousands of connections at the socket that say nothing, and uploads beside them."""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import rss
from tests.soak.run import Run, scenario
from tests.soak.watch import descriptors, threads
from tests.support.wait import eventually

IDLERS = 5000
CONNECTIONS = 64
#: Longer than the scenario takes, so that nobody is timed out.
TIMEOUT = 600


@scenario("idle", "5,000 idle connections at the socket")
def idle(run: Run) -> None:
    number = run.number(IDLERS, 50)
    config = {
        "gateway": {"max_connections": number + 1000, "timeout": TIMEOUT},
        "archive": {"uri": "couchdb://127.0.0.1:9/nowhere"},
        "journal": {"max_backlog": 10**9},
    }
    habitat = run.gateway("idle", config).start()
    traffic = run.traffic()
    path, seconds = habitat.socket_path, run.seconds(3, 0.1)
    for _ in range(3):  # so that memory grows no more for other reasons
        traffic.send(path, seconds, connections=CONNECTIONS)
    ratios, slower, grown, more_threads = [], [], [], set[int]()
    for _ in range(run.number(8, 1)):
        before = traffic.send(path, seconds, connections=CONNECTIONS)
        memory, running = rss(habitat.pid), threads(habitat.pid)
        with _idlers(path, number):
            eventually(lambda: habitat.connections() >= number, "all are connected")
            grown.append(rss(habitat.pid) - memory)
            more_threads.add(threads(habitat.pid) - running)
            open_files = descriptors(habitat.pid)
            beside = traffic.send(path, seconds, connections=CONNECTIONS)
            assert habitat.connections() >= number, "idle connections were closed"
        eventually(lambda: habitat.connections() == 0, "all are gone")
        after = traffic.send(path, seconds, connections=CONNECTIONS)
        assert before.errors + beside.errors + after.errors == 0, "an upload got no 200"
        ratios.append(2 * beside.rate / (before.rate + after.rate))
        slower.append(2 * beside.p99 / (before.p99 + after.p99))
    run.figure("idle connections", number)
    run.figure("open files", open_files)
    run.figure("memory, MB more, each round", [round(one, 1) for one in grown])
    run.figure("uploads/s by those without, each round", [round(one, 2) for one in ratios])
    run.figure("p99 by that without, each round", [round(one, 2) for one in slower])
    ratio = statistics.median(ratios)
    run.demand("threads more", "0", f"{sorted(more_threads)}", more_threads == {0}, timed=False)
    run.demand("memory, MB more", "under 20", f"{max(grown):.1f}", max(grown) < 20, timed=False)
    run.demand("uploads/s beside them", "at least 0.95", f"{ratio:.2f}", ratio >= 0.95)


@contextlib.contextmanager
def _idlers(path: Path, number: int) -> Iterator[None]:
    """Half of them have begun a request, half have said nothing."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        for at in range(number):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(path))
            if at % 2:
                connection.sendall(b"2")
        yield
