"""Timelines: what changes during a flight, as plots over time. No I/O."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from habitat_like.console.drawing import MAX_POINTS, Plot
from habitat_like.console.record import Record, Values
from habitat_like.telemetry.geodesy import Place
from habitat_like.telemetry.geodesy import distance as metres_between

#: Seconds of a step in a plot.
STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)


def altitude_plot(record: Record) -> Plot:
    """Altitude over time; for who has the record's lock, like those below."""
    track, points = record.track, record.points
    times, values = (
        track.times[points.start : points.stop],
        track.altitudes[points.start : points.stop],
    )
    return over_time(
        times, values, title=f"{record.name}: altitude", unit="metres", name="altitude"
    )


def value_plot(record: Record, name: str) -> Plot:
    """One value over time."""
    values = record.values.get(name) or Values()
    first, last = record.first, record.last
    inside = [at for at, when in enumerate(values.times) if first <= when <= last]
    return over_time(
        [values.times[at] for at in inside],
        [values.values[at] for at in inside],
        title=f"{record.name}: {name}",
        unit="",
        name=name,
        from_zero=False,
    )


def distance_plot(record: Record, callsign: str, place: Place) -> Plot:
    """The distance from a station over time, along the ground, in kilometres."""
    track, points = record.track, record.points
    return over_time(
        [track.times[at] for at in points],
        [metres_between(place, track.place(at)) / 1000 for at in points],
        title=f"{record.name}: distance from {callsign}",
        unit="km",
        name="distance",
    )


def over_time(
    times: Sequence[float],
    values: Sequence[float],
    *,
    title: str,
    unit: str,
    name: str,
    from_zero: bool = True,
) -> Plot:
    """A plot of the mean values of steps, whose number and length suit the times."""
    known = sorted(
        (int(when), value)
        for when, value in zip(times, values, strict=True)
        if math.isfinite(value)
    )
    if not known:
        return Plot(title=title, unit=unit, step=60, times=(), series={}, stacked=False)
    first, last = known[0][0], known[-1][0]
    between = [b[0] - a[0] for a, b in itertools.pairwise(known) if b[0] > a[0]]
    least = max((last - first) / (MAX_POINTS - 2), statistics.median(between) if between else 1)
    step = next((one for one in STEPS if one >= least), STEPS[-1])
    begin = first - first % step
    steps = range(begin, last + 1, step)
    sums = [0.0] * len(steps)
    counts = [0] * len(steps)
    for when, value in known:
        sums[(when - begin) // step] += value
        counts[(when - begin) // step] += 1
    means = tuple(
        total / count if count else None for total, count in zip(sums, counts, strict=True)
    )
    return Plot(
        title=title,
        unit=unit,
        step=step,
        times=tuple(steps),
        series={name: means},
        stacked=False,
        from_zero=from_zero,
    )
