"""Thinning: a track with fewer points that looks the same. No I/O.

The time is cut into equal steps, and each keeps the point that is farthest from where the payload
would have been, had it moved evenly between the points kept before it and the beginning of the
step after it. So both the way on a map and the altitude over time keep their shape. The first, the
last and the highest point of each flight are always kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

from habitat_like.telemetry.geodesy import DEGREE, turned


class Points(Protocol):
    """A track's points by time: UNIX seconds, degrees, degrees, and metres or NaN."""

    @property
    def times(self) -> Sequence[float]:
        """In UNIX seconds, ascending."""

    @property
    def latitudes(self) -> Sequence[float]:
        """In degrees."""

    @property
    def longitudes(self) -> Sequence[float]:
        """In degrees."""

    @property
    def altitudes(self) -> Sequence[float]:
        """In metres; NaN where unknown."""


def thin(points: Points, most: int, gap: float, tail: int = 2) -> list[int]:
    """The indices, ascending, of about ``most`` points that are worth keeping.

    ``gap`` seconds without a point end a flight; the last ``tail`` points are all kept. There are
    more than ``most`` only where more flights have a first, a last and a highest point.
    """
    count = len(points.times)
    if count <= most:
        return list(range(count))
    needed = {0, *range(max(count - tail, 0), count)}
    for first, last in flights(points.times, gap):
        needed |= {first, last - 1, highest(points.altitudes, first, last)}
    room = max(most - len(needed), 1)
    free = sorted(set(_telling(points, room)) - needed)
    # The last point may begin a step of its own.
    chosen = free if len(free) <= room else [free[at * len(free) // room] for at in range(room)]
    return sorted({*needed, *chosen})


def _telling(points: Points, steps: int) -> Iterator[int]:
    """The most telling point of each of ``steps`` steps of time, where there is one."""
    count = len(points.times)
    start = points.times[0]
    width = (points.times[-1] - start) / steps or 1
    before = first = 0
    while first < count:
        step = int((points.times[first] - start) / width)
        last = first + 1
        while last < count and int((points.times[last] - start) / width) == step:
            last += 1
        before = _farthest(points, before, first, last)
        yield before
        first = last


def flights(times: Sequence[float], gap: float) -> list[tuple[int, int]]:
    """Where ascending times are cut by ``gap`` seconds or more: first index, index after the last.

    No times are no flights.
    """
    cuts = [at for at in range(1, len(times)) if times[at] - times[at - 1] >= gap]
    return list(zip([0, *cuts], [*cuts, len(times)], strict=True)) if len(times) else []


def highest(altitudes: Sequence[float], first: int, last: int) -> int:
    """The index of the highest of the points from ``first`` to before ``last``, which there is."""
    return max(range(first, last), key=lambda at: _known(altitudes[at]))


def _farthest(points: Points, before: int, first: int, last: int) -> int:
    """The point of a step that is farthest from an even way through the step."""
    count = len(points.times)
    after = min(last, count - 1)
    best, found = -1.0, first
    for at in range(first, last):
        off = _off(points, before, at, after)
        if off > best:
            best, found = off, at
    return found


def _off(points: Points, before: int, at: int, after: int) -> float:
    """Metres, squared, between a point and the even way from ``before`` to ``after``."""
    begin, end = points.times[before], points.times[after]
    part = (points.times[at] - begin) / (end - begin) if end > begin else 0.0
    latitude, longitude = points.latitudes[before], points.longitudes[before]
    north = (points.latitudes[at] - latitude) - part * (points.latitudes[after] - latitude)
    east = turned(points.longitudes[at] - longitude) - part * turned(
        points.longitudes[after] - longitude
    )
    east *= math.cos(math.radians(latitude))
    low, high, here = (points.altitudes[index] for index in (before, after, at))
    up = here - low - part * (high - low)
    up = 0.0 if math.isnan(up) else up
    return (north * DEGREE) ** 2 + (east * DEGREE) ** 2 + up**2


def _known(altitude: float) -> float:
    return -math.inf if math.isnan(altitude) else altitude
