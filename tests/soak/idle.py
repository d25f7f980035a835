"""Thousands of connections at the socket that say nothing, and uploads beside them."""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import rss
from tests.soak.look import by_neighbours, look
from tests.soak.run import Run, scenario
from tests.soak.watch import descriptors, threads
from tests.support.wait import eventually

IDLERS = 5000
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
    # Of a gateway that has done nothing yet; after some load there is room that was used before.
    memory = rss(habitat.pid)
    with _idlers(path, number):
        eventually(lambda: habitat.connections() >= number, "all are connected")
        grown = [rss(habitat.pid) - memory]
    for _ in range(3):  # so that memory grows no more for other reasons
        look(habitat, traffic, seconds)
    looks = [look(habitat, traffic, seconds)]
    more_threads = set[int]()
    for _ in range(run.number(8, 1)):
        memory, running = rss(habitat.pid), threads(habitat.pid)
        with _idlers(path, number):
            eventually(lambda: habitat.connections() >= number, "all are connected")
            grown.append(rss(habitat.pid) - memory)
            more_threads.add(threads(habitat.pid) - running)
            open_files = descriptors(habitat.pid)
            looks.append(look(habitat, traffic, seconds))
            assert habitat.connections() >= number, "idle connections were closed"
        eventually(lambda: habitat.connections() == 0, "all are gone")
        looks.append(look(habitat, traffic, seconds))
    errors = sum(one.outcome.errors for one in looks)
    slower = by_neighbours(looks, "p99")
    rates, costs = by_neighbours(looks, "rate"), by_neighbours(looks, "cpu")
    run.figure("idle connections", number)
    run.figure("open files", open_files)
    run.figure("uploads/s without them", [round(one.rate) for one in looks[::2]])
    run.figure("uploads/s beside them, by that", [round(one, 2) for one in rates])
    run.figure("p99 beside them, by that without", [round(one, 2) for one in slower])
    run.figure("the gateway's CPU for an upload, by that without", [round(one, 2) for one in costs])
    run.figure("memory, MB more, of a new gateway and each round", [round(one, 1) for one in grown])
    rate, cost = statistics.median(rates), statistics.median(costs)
    run.demand("threads more", "0", f"{sorted(more_threads)}", more_threads == {0}, timed=False)
    run.demand("memory, MB more", "under 20", f"{max(grown):.1f}", max(grown) < 20, timed=False)
    run.demand("uploads without a 200", "0", f"{errors}", errors == 0, timed=False)
    run.demand("uploads/s by those without them", "at least 0.95", f"{rate:.2f}", rate >= 0.95)
    run.demand("CPU for an upload by that without", "at most 1.1", f"{cost:.2f}", cost <= 1.1)


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
