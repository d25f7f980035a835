"""A backlog of a million messages: taken in while the archive is away, then drained."""

from __future__ import annotations

import signal
import statistics
import time

from benchmarks.process import cpu
from benchmarks.rows import drain
from tests.soak.checks import STUCK, check_archived_once
from tests.soak.look import by_neighbours, look
from tests.soak.run import Run, scenario
from tests.soak.traffic import Traffic
from tests.soak.watch import Watch
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.wait import eventually

MESSAGES = 1_000_000
DATABASE = "soak-backlog"
OTHER_DATABASE = "soak-bulk"
BATCH = drain.BATCH
CONNECTIONS = 64
#: The archive is away for a while, and the backlog must not be what limits.
CONFIG = {"max_backlog": 10 * MESSAGES}


@scenario("backlog", "a million messages while the archive is away, and what comes of them")
def backlog(run: Run) -> None:
    couch = run.couch()
    config = {"archive": {"uri": couch.uri(DATABASE)}, "journal": CONFIG}
    habitat = run.gateway("backlog", config).start()
    eventually(lambda: DATABASE in couch.databases(), "the database is made")
    couch.stop()
    traffic = run.traffic()
    with Watch(habitat, run.seconds(1, 0.02)) as watch:
        _fill(run, habitat, traffic)
        _compare_rates(run, habitat, traffic)
        run.figure("backlog", habitat.status()["backlog"])
        _restart(run, habitat)
        couch.start()
        _drain(run, habitat, couch)
    run.keep(watch.samples)
    most = max(watch.samples.rss)
    run.demand("memory, MB", "under 200", f"at most {most:.0f}", most < 200, timed=False)
    check_archived_once(run, traffic, couch, DATABASE)
    assert "Traceback" not in habitat.log, habitat.log[-4000:]


def _fill(run: Run, habitat: Habitat, traffic: Traffic) -> None:
    wanted = run.number(MESSAGES, 1000)
    rates: list[float] = []
    taken = 0
    while taken < wanted:
        outcome = traffic.send(habitat.socket_path, run.seconds(2, 0.1), connections=CONNECTIONS)
        assert outcome.errors == 0, f"{outcome.errors} requests got no 200"
        rates.append(outcome.rate)
        taken += outcome.requests
    run.figure("taken in, messages/s, piece by piece", [round(rate) for rate in rates])


def _compare_rates(run: Run, habitat: Habitat, traffic: Traffic) -> None:
    """By turns the gateway with the backlog and a new one, so that both meet the same machine."""
    rates, costs, kept = [], [], []
    nowhere = {"archive": {"uri": "couchdb://127.0.0.1:9/nowhere"}, "journal": CONFIG}
    seconds = run.seconds(3, 0.1)
    for number in range(run.number(8, 1)):
        fresh = run.gateway(f"fresh{number}", nowhere).start()
        other = run.traffic()
        look(fresh, other, min(0.5, seconds))
        looks = [
            look(fresh, other, seconds),
            look(habitat, traffic, seconds),
            look(fresh, other, seconds),
        ]
        assert fresh.stop() == 0
        kept.append(looks[1].rate)
        rates += by_neighbours(looks, "rate")
        costs += by_neighbours(looks, "cpu")
    rate, cost = statistics.median(rates), statistics.median(costs)
    run.figure("taken in with the backlog, messages/s", [round(one) for one in kept])
    run.figure("the same by a new gateway's", [round(one, 2) for one in rates])
    run.figure("CPU for a message by a new gateway's", [round(one, 2) for one in costs])
    run.demand(
        "messages/s with the backlog by those without", "at least 0.9", f"{rate:.2f}", rate >= 0.9
    )
    run.demand("CPU for a message by that without", "at most 1.1", f"{cost:.2f}", cost <= 1.1)


def _restart(run: Run, habitat: Habitat) -> None:
    took, used = [], []
    for how in ("SIGKILL", "SIGTERM", "SIGTERM")[: run.number(3, 1)]:
        habitat.signal(signal.Signals[how])
        habitat.wait()
        begin = time.monotonic()
        habitat.start()
        took.append(time.monotonic() - begin)
        used.append(cpu(habitat.pid) / 1e6)
    run.figure("CPU of each start-up, s", [round(one, 2) for one in used])
    found = ", ".join(f"{one:.2f}" for one in took)
    run.demand("start-up with it, s", "under 2", found, max(took) < 2)


def _drain(run: Run, habitat: Habitat, couch: CouchServer) -> None:
    """Drain it, stopped now and then for a look at how fast the archive itself is."""
    drain.prepare(couch, OTHER_DATABASE)
    eventually(lambda: habitat.status()["archive"]["state"] == "ok", "the archive is found")
    drained: list[float] = []
    bulk: list[float] = []
    costs: dict[str, list[float]] = {"gateway": [], "archive": [], "archive, bulk": []}
    requests = run.number(20, 1)
    assert couch.process is not None
    pids = habitat.pid, couch.process.pid
    left = habitat.status()["backlog"]
    while left:
        begin, at_first, used = time.monotonic(), left, [cpu(pid) for pid in pids]
        end = begin + run.seconds(15, 0.3)
        while left and time.monotonic() < end:
            run.pause(run.seconds(0.5, 0.05))
            left = habitat.status()["backlog"]
        assert left < at_first or time.monotonic() - begin < STUCK, "nothing is archived"
        drained.append((at_first - left) / (time.monotonic() - begin))
        for name, pid, before in zip(costs, pids, used, strict=False):
            costs[name].append((cpu(pid) - before) / max(at_first - left, 1))
        habitat.signal(signal.SIGSTOP)
        try:
            before = cpu(couch.process.pid)
            bulk.append(_bulk(couch, requests, len(bulk)))
            documents = (requests + 1) * BATCH
            costs["archive, bulk"].append((cpu(couch.process.pid) - before) / documents)
        finally:
            habitat.signal(signal.SIGCONT)
        left = habitat.status()["backlog"]
    if not drained:
        return  # so few were left that all were archived before the first look
    ratio = statistics.fmean(drained) / statistics.fmean(bulk)
    run.figure("drained, messages/s", [round(rate) for rate in drained])
    run.figure("prebuilt _bulk_docs, documents/s, by turns", [round(rate) for rate in bulk])
    median = {name: round(statistics.median(values), 1) for name, values in costs.items()}
    run.figure("CPU, µs for a document", median)
    run.demand("drained by the archive's own rate", "at least 0.8", f"{ratio:.2f}", ratio >= 0.8)


def _bulk(couch: CouchServer, requests: int, turn: int) -> float:
    """Documents/s of so many requests; one more before them waits for what is still under way."""
    count = (requests + 1) * BATCH
    bodies = drain.bulk_bodies(count, BATCH, turn * count)
    return requests * BATCH / drain.bulk_seconds(couch, OTHER_DATABASE, bodies)
