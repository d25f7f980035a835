"""A look: one run of the load, and what it cost the gateway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Outcome
from benchmarks.process import cpu
from tests.soak.traffic import Traffic
from tests.support.gateway import Habitat

#: So short a look may see nothing on a busy machine.
TRIES = 20


@dataclass
class Look:
    """One run of the load; ``cpu`` is what the gateway used for each 200, in microseconds."""

    outcome: Outcome
    cpu: float

    @property
    def rate(self) -> float:
        """200s a second."""
        return self.outcome.ok_rate

    @property
    def p99(self) -> float:
        """Of those with a 200, in microseconds."""
        return self.outcome.ok.p99


def look(
    habitat: Habitat,
    traffic: Traffic,
    seconds: float,
    *,
    target: Path | int | None = None,
    rate: float = 0,
    connections: int = 64,
    batch: int = 0,
) -> Look:
    """Load for so long, at the gateway's socket if there is no other ``target``."""
    for _ in range(TRIES):
        before = cpu(habitat.pid)
        outcome = traffic.send(
            target or habitat.socket_path,
            seconds,
            rate=rate,
            connections=connections,
            batch=batch,
        )
        if outcome.in_time:
            return Look(outcome, (cpu(habitat.pid) - before) / outcome.ok.count)
    raise AssertionError(f"nothing is taken in {seconds:g} s")


def by_neighbours(looks: Sequence[Look], of: str) -> list[float]:
    """Every second look by the mean of the one before it and the one after it."""
    values: list[float] = [getattr(one, of) for one in looks]
    around = zip(values[::2], values[1::2], values[2::2], strict=False)
    # Processor time is counted in ticks of 10 ms, of which a short look may see none.
    return [2 * here / ((before + after) or math.inf) for before, here, after in around]
