"""Twice what the gateway can take, from senders who don't wait for one another."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.load import Outcome
from tests.soak.look import Look, by_neighbours, look
from tests.soak.run import Run, scenario
from tests.soak.traffic import Traffic
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.wait import eventually

TIMES = 2.0
#: Connections with which capacity is looked for, and those that an overload may need.
CONNECTIONS = 128
MANY = 9000
AWAY = {"archive": {"uri": "couchdb://127.0.0.1:9/nowhere"}, "journal": {"max_backlog": 10**9}}
#: The share over what was taken last that is offered to see what is taken.
MORE = 1.3
#: Seconds of load after which one looks if the backlog is full.
FILL = 0.5
#: How soon who is turned away must know, in milliseconds, 99 of 100.
QUICKLY = 500
#: How long those who are taken may wait, in milliseconds, 99 of 100: as long as gateway.timeout.
SLOWEST = 10_000


@scenario("overload.socket", "twice what it can take, single messages at the socket")
def at_socket(run: Run) -> None:
    habitat = run.gateway("gateway", AWAY).start()
    _overload(run, habitat, habitat.socket_path)


@scenario("overload.nginx", "twice what it can take, 20 messages a request, through nginx")
def through_nginx(run: Run) -> None:
    habitat = run.gateway("gateway", AWAY).start()
    _overload(run, habitat, run.front("gateway"), 20)


@scenario("overload.large", "twice what it can take, 300 messages a request, through nginx")
def large_bodies(run: Run) -> None:
    habitat = run.gateway("gateway", AWAY).start()
    _overload(run, habitat, run.front("gateway"), 300)


@scenario("overload.crowded", "the same where 10,000 connections may wait")
def many_connections(run: Run) -> None:
    config = {**AWAY, "gateway": {"max_connections": 10_000}}
    habitat = run.gateway("gateway", config).start()
    _overload(run, habitat, run.front("gateway"), 300)


@scenario("overload.full", "twice what the archive can take, with a full backlog, through nginx")
def full_backlog(run: Run) -> None:
    couch = run.couch()
    config: Mapping[str, Any] = {
        "archive": {"uri": couch.uri("soak-full")},
        "journal": {"max_backlog": run.number(5000, 500)},
    }
    habitat = run.gateway("gateway", config).start()
    port = run.front("gateway")
    eventually(lambda: habitat.status()["archive"]["state"] == "ok", "the archive is found")
    _overload(run, habitat, port, archive=couch)


def _overload(
    run: Run,
    habitat: Habitat,
    target: Path | int,
    batch: int = 0,
    *,
    archive: CouchServer | None = None,
) -> None:
    """By turns as much as is answered, and twice as much at a fixed rate.

    With the ``archive``: begin each look with a full backlog, and look for what is answered with a
    little more than that, not with CONNECTIONS senders who each wait for an answer: where most
    answers are 503, they would take the processor for those.
    """
    full = archive is not None
    traffic = run.traffic()
    looks: list[Look] = []  # by turns: as much as it takes, twice that
    # The archive takes hundreds at once: less than a second may see none of that.
    seconds = run.seconds(3, 1.0 if full else 0.2)

    def take(seconds: float, rate: float = 0) -> Look:
        if archive is not None:
            _fill(archive, traffic, target)
        # No more connections than requests: each has its own bytes in the loader's memory.
        many = min(MANY, max(CONNECTIONS, round(rate * seconds)))
        return look(
            habitat, traffic, seconds, target=target, rate=rate, connections=many, batch=batch
        )

    last = take(seconds)
    looks.append(take(seconds, MORE * last.rate) if full else last)
    for _ in range(run.number(8, 1)):
        looks.append(take(3 * seconds, TIMES * looks[-1].rate))
        looks.append(take(seconds, MORE * looks[-2].rate if full else 0))
    rates, costs = by_neighbours(looks, "rate"), by_neighbours(looks, "cpu")
    run.figure("requests/s that it takes", [round(one.rate) for one in looks[::2]])
    run.figure("200s/s at twice that, by that", [round(one, 2) for one in rates])
    run.figure("the gateway's CPU for a 200, by that", [round(one, 2) for one in costs])
    _tell_times(run, [one.outcome for one in looks[1::2]])
    rate, cost = statistics.median(rates), statistics.median(costs)
    run.demand("200s/s by capacity", "at least 0.9", f"{rate:.2f}", rate >= 0.9)
    if not full:  # then it is the archive that limits
        run.demand("CPU for a 200 by that at capacity", "at most 1.1", f"{cost:.2f}", cost <= 1.1)


def _fill(archive: CouchServer, traffic: Traffic, target: Path | int) -> None:
    """Fill the backlog. The archive stands still: it may take more than a busy gateway does."""
    assert archive.process is not None
    archive.process.send_signal(signal.SIGSTOP)
    try:
        while not traffic.send(target, FILL).unavailable.count:
            pass
    finally:
        archive.process.send_signal(signal.SIGCONT)


def _tell_times(run: Run, over: list[Outcome]) -> None:
    for kind in ("ok", "unavailable", "refused"):
        ends = [getattr(one, kind) for one in over]
        if any(end.count for end in ends):
            times = {
                name: round(max(getattr(end, name) for end in ends) / 1000, 1)
                for name in ("p50", "p99", "most")
            }
            run.figure(f"{kind}: requests", sum(end.count for end in ends))
            run.figure(f"{kind}: ms in the worst turn", times)
    run.figure("due but never sent", sum(one.unsent for one in over))
    # Who is refused at the socket knows at once: that time is how late the loader was.
    away = max(one.unavailable.p99 for one in over) / 1000
    run.demand("p99 of the 503s, ms", f"under {QUICKLY}", f"{away:.0f}", away < QUICKLY)
    slow = max(one.ok.p99 for one in over) / 1000
    run.demand("p99 of the accepted, ms", f"under {SLOWEST}", f"{slow:.0f}", slow < SLOWEST)
    strange = sum(one.other.count + one.unanswered.count for one in over)
    run.demand("neither 200 nor turned away", "0", f"{strange}", strange == 0, timed=False)
