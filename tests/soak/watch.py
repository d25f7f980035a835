"""What a gateway uses of the machine while it is under load, and whether that grows."""

from __future__ import annotations

import math
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.process import busy, children, cpu, rss
from tests.support.gateway import Habitat

#: The share of a watch at its beginning in which caches fill and pools grow.
WARM_UP = 0.1
#: In so many parts of a watch the lowest value is looked for: the minutes of an hour.
WINDOWS = 60
HOUR = 3600.0


@dataclass
class Trend:
    """A straight line through samples: ``slope`` an hour, its standard ``error``, mean and most."""

    slope: float
    error: float
    mean: float
    least: float
    most: float

    def flat(self, tolerance: float) -> bool:
        """Whether it grows by no more than ``tolerance`` an hour, or by chance alone."""
        return self.slope - 2 * self.error <= tolerance

    def __str__(self) -> str:
        return f"{self.mean:.1f} ({self.least:.1f} to {self.most:.1f}), {self.slope:+.2f}/h"


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """The least-squares line of ``values`` over ``times`` in seconds; at least three are needed."""
    line = statistics.linear_regression(times, values)
    left = [y - line.slope * x - line.intercept for x, y in zip(times, values, strict=True)]
    spread = sum((x - statistics.fmean(times)) ** 2 for x in times)
    error = math.sqrt(sum(one * one for one in left) / (len(times) - 2) / spread)
    return Trend(
        slope=line.slope * HOUR,
        error=error * HOUR,
        mean=statistics.fmean(values),
        least=min(values),
        most=max(values),
    )


@dataclass
class Samples:
    """Columns of equal length; ``times`` are monotonic seconds. ``rss`` and ``journal`` in MB."""

    times: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    backlog: list[float] = field(default_factory=list)
    journal: list[float] = field(default_factory=list)

    def trend(self, column: str) -> Trend:
        """The trend of a column's lowest values, minute by minute, after the warm-up.

        What is in use for a moment comes and goes; what leaks is there at the lowest too.
        """
        values: list[float] = getattr(self, column)
        begin = min(int(len(values) * WARM_UP), len(values) - 3)
        size = max(1, (len(values) - begin) // WINDOWS)
        starts = range(begin, len(values) - size + 1, size)
        return trend(
            [self.times[at] for at in starts], [min(values[at : at + size]) for at in starts]
        )


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    """Threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


class Watch:
    """Samples a gateway every ``every`` seconds while inside the block; restarts are bridged."""

    def __init__(self, habitat: Habitat, every: float = 1.0) -> None:
        self.samples = Samples()
        self._habitat = habitat
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._every):
            try:
                self._sample()
            except (OSError, AssertionError):
                continue  # it is being restarted

    def _sample(self) -> None:
        pid = self._habitat.pid
        status = self._habitat.status()
        row = (
            time.monotonic(),
            rss(pid),
            descriptors(pid),
            threads(pid),
            status["backlog"],
            status["journal"]["bytes"] / 1e6,
        )
        for column, value in zip(vars(self.samples).values(), row, strict=True):
            column.append(value)


class Others:
    """How many cores are busy with what is no part of the run.

    ``pids`` gives the run's servers that live; all else of the run are children of this process,
    which count once they have ended.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._begin = time.monotonic()
        self._before = self._used()

    @property
    def cores(self) -> float:
        """The mean since the beginning."""
        seconds = time.monotonic() - self._begin
        return max(0.0, self._used() - self._before) / seconds / 1e6

    def _used(self) -> float:
        return busy() - children() - sum(cpu(pid) for pid in self._pids())
