"""Twice what the gateway can take, from senders who don't wait for one another."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.load import Outcome
from tests.soak.run import Run, scenario
from tests.support.wait import eventually

TIMES = 2.0
#: Connections with which capacity is looked for, and those that an overload may need.
CONNECTIONS = 128
MANY = 9000
AWAY = {"archive": {"uri": "couchdb://127.0.0.1:9/nowhere"}, "journal": {"max_backlog": 10**9}}
#: The share over what was taken last that is offered to see what is taken.
MORE = 1.3
#: How soon who is turned away must know, in milliseconds, 99 of 100.
QUICKLY = 500


@scenario("overload.socket", "twice what it can take, single messages at the socket")
def at_socket(run: Run) -> None:
    habitat = run.gateway("gateway", AWAY).start()
    _overload(run, habitat.socket_path)


@scenario("overload.nginx", "twice what it can take, 20 messages a request, through nginx")
def through_nginx(run: Run) -> None:
    run.gateway("gateway", AWAY).start()
    _overload(run, run.front("gateway"), 20)


@scenario("overload.large", "twice what it can take, 300 messages a request, through nginx")
def large_bodies(run: Run) -> None:
    run.gateway("gateway", AWAY).start()
    _overload(run, run.front("gateway"), 300)


@scenario("overload.crowded", "the same where 10,000 connections may wait")
def many_connections(run: Run) -> None:
    run.gateway("gateway", {**AWAY, "gateway": {"max_connections": 10_000}}).start()
    _overload(run, run.front("gateway"), 300)


@scenario("overload.full", "twice what the archive can take, with a full backlog, through nginx")
def full_backlog(run: Run) -> None:
    couch = run.couch()
    config: Mapping[str, Any] = {
        "archive": {"uri": couch.uri("soak-full")},
        "journal": {"max_backlog": run.number(20_000, 500)},
    }
    habitat = run.gateway("gateway", config).start()
    port, traffic = run.front("gateway"), run.traffic()
    eventually(lambda: habitat.status()["archive"]["state"] == "ok", "the archive is found")
    taken = traffic.send(port, run.seconds(1, 0.2), connections=CONNECTIONS)
    while taken.unavailable.count == 0 or taken.ok_rate == 0:
        taken = traffic.send(port, run.seconds(1, 0.2), connections=CONNECTIONS)
    _overload(run, port, offer=taken.ok_rate)


def _overload(run: Run, target: Path | int, batch: int = 0, offer: float = 0) -> None:
    """By turns as much as is answered, and twice as much at a fixed rate.

    ``offer``: look for what is answered with so many requests/s, not with CONNECTIONS senders who
    each wait for an answer: where most answers are 503, they would take the processor for those.
    """
    traffic = run.traffic()
    ratios: list[float] = []
    capacities: list[float] = []
    outcomes: list[Outcome] = []
    # The archive takes hundreds at once: less than a second may see none of that.
    seconds = run.seconds(5, 1.0 if offer else 0.2)

    def offered(rate: float, seconds: float) -> Outcome:
        # No more connections than requests: each has its own bytes in the loader's memory.
        connections = min(MANY, max(CONNECTIONS, round(rate * seconds)))
        return traffic.send(target, seconds, rate=rate, connections=connections, batch=batch)

    def capacity(last: float) -> float:
        if last:
            return offered(MORE * last, seconds).ok_rate
        return traffic.send(target, seconds, connections=CONNECTIONS, batch=batch).ok_rate

    before = capacity(offer)
    if offer:
        before = capacity(before)
    assert before, "nothing is taken at all"
    for _ in range(run.number(5, 1)):
        over = offered(TIMES * before, 2 * seconds)
        after = capacity(before if offer else 0)
        outcomes.append(over)
        capacities.append(before)
        ratios.append(2 * over.ok_rate / (before + after))
        before = after
    run.figure("requests/s that it takes", [round(one) for one in capacities])
    run.figure("200s at twice that, by that", [round(one, 2) for one in ratios])
    for kind in ("ok", "unavailable", "refused"):
        ends = [getattr(one, kind) for one in outcomes]
        if any(end.count for end in ends):
            run.figure(
                f"{kind}: requests, p50, p99 and longest in ms",
                [
                    sum(end.count for end in ends),
                    *(
                        round(max(getattr(end, name) for end in ends) / 1000, 1)
                        for name in ("p50", "p99", "most")
                    ),
                ],
            )
    ratio = statistics.median(ratios)
    run.demand("200s by capacity", "at least 0.9", f"{ratio:.2f}", ratio >= 0.9)
    away = max(max(one.unavailable.p99, one.refused.p99) for one in outcomes) / 1000
    run.demand("p99 of the others, ms", f"under {QUICKLY}", f"{away:.0f}", away < QUICKLY)
    slow = max(one.ok.p99 for one in outcomes) / 1000
    run.demand("p99 of the accepted, ms", "under 10000", f"{slow:.0f}", slow < 10_000)
    strange = sum(one.other.count + one.unanswered.count for one in outcomes)
    run.demand("neither 200 nor turned away", "0", f"{strange}", strange == 0, timed=False)
    unsent = sum(one.unsent for one in outcomes)
    run.figure("due but never sent", unsent)
