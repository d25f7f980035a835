"""Flights: what a track says of launch, burst and landing. No I/O."""

from __future__ import annotations

import math

import msgspec

from habitat_like.telemetry.geodesy import Place, distance
from habitat_like.telemetry.thinning import Points, highest

#: Metres that a payload climbs to be in flight, and falls below its highest point to have burst.
CLIMB, FALL = 300, 300
#: Metres up or down, and along the ground, that a landed payload is taken to move: its receiver's
#: error. Seconds that it must have been at rest.
REST_UP, REST_ALONG, REST = 30, 200, 60


class Moment(msgspec.Struct, frozen=True):
    """Where a payload was at a UNIX time; degrees, degrees, metres."""

    time: float
    latitude: float
    longitude: float
    altitude: float | None = None

    @property
    def place(self) -> Place:
        """The place alone."""
        return Place(self.latitude, self.longitude, self.altitude)


class Flight(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a flight.

    ``first`` and ``last`` are its first and its last fix. ``launch`` is the last fix on the ground,
    ``burst`` the highest fix, if it came down from there, ``landing`` the first fix at rest after
    that; None where a flight has none, or nobody heard it. Rates are the mean ones, in metres a
    second, from the launch (or the first fix) up, and from the burst down.
    """

    first: Moment
    last: Moment
    highest: Moment | None
    launch: Moment | None
    burst: Moment | None
    landing: Moment | None
    ascent: float | None
    descent: float | None

    @property
    def seconds(self) -> float:
        """How long it was followed."""
        return self.last.time - self.first.time

    @property
    def metres(self) -> float:
        """How far it is from where it began to where it ended, along the ground."""
        return distance((self.launch or self.first).place, (self.landing or self.last).place)


def flight(points: Points, first: int, last: int) -> Flight:
    """The flight from the point ``first`` to before ``last``, of which there is one at least."""
    altitudes = points.altitudes
    top = highest(altitudes, first, last)
    if math.isnan(altitudes[top]):
        return Flight(
            first=_moment(points, first),
            last=_moment(points, last - 1),
            highest=None,
            launch=None,
            burst=None,
            landing=None,
            ascent=None,
            descent=None,
        )
    launch = _launch(points, first, top)
    fell = any(altitudes[at] < altitudes[top] - FALL for at in range(top, last))
    # What never climbed has no burst: a car that drives down from a mountain.
    burst = top if fell and altitudes[top] - altitudes[first] >= CLIMB else None
    landing = _landing(points, top, last) if fell else None
    end = last - 1 if landing is None else landing
    begin = first if launch is None else launch
    return Flight(
        first=_moment(points, first),
        last=_moment(points, last - 1),
        highest=_moment(points, top),
        launch=None if launch is None else _moment(points, launch),
        burst=None if burst is None else _moment(points, burst),
        landing=None if landing is None else _moment(points, landing),
        ascent=_rate(points, begin, top) if altitudes[top] - altitudes[begin] >= CLIMB else None,
        descent=_rate(points, top, end) if altitudes[end] < altitudes[top] - FALL else None,
    )


def _launch(points: Points, first: int, top: int) -> int | None:
    """The last point before the climb that is near the ground; None for one first heard above it.

    The ground is the lowest of the points up to the highest. A payload that was only heard in the
    air has but one point there, and climbs from it.
    """
    altitudes = points.altitudes
    known = [at for at in range(first, top + 1) if not math.isnan(altitudes[at])]
    ground = min(altitudes[at] for at in known)
    if altitudes[top] - ground < CLIMB:
        return None
    low = [at for at in known if altitudes[at] <= ground + REST_UP]
    return low[-1] if points.times[low[-1]] - points.times[low[0]] >= REST else None


def _landing(points: Points, top: int, last: int) -> int | None:
    """The first point after ``top`` from which on it rests; None where it was last heard above."""
    end = _moment(points, last - 1)
    if end.altitude is None:
        return None
    found = last - 1
    while found - 1 > top:
        one = _moment(points, found - 1)
        if one.altitude is None or abs(one.altitude - end.altitude) > REST_UP:
            break
        if distance(one.place, end.place) > REST_ALONG:
            break
        found -= 1
    return found if end.time - points.times[found] >= REST else None


def _rate(points: Points, begin: int, end: int) -> float | None:
    seconds = points.times[end] - points.times[begin]
    rate = (points.altitudes[end] - points.altitudes[begin]) / seconds if seconds > 0 else math.nan
    return None if math.isnan(rate) else rate


def _moment(points: Points, at: int) -> Moment:
    altitude = points.altitudes[at]
    return Moment(
        points.times[at],
        points.latitudes[at],
        points.longitudes[at],
        None if math.isnan(altitude) else altitude,
    )
