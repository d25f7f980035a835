"""Tracks: points by time, each fix once, thinned without losing their shape."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habitat_like.message.facts import Position
from habitat_like.telemetry.thinning import flights, highest, thin
from habitat_like.telemetry.track import GAP, REPEAT, TAIL, Track

moments = st.integers(0, 5 * GAP)
positions = st.builds(
    Position,
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.none() | st.floats(-500, 45_000),
)


def filled(points: Sequence[tuple[float, Position]], most: int = 10_000) -> Track:
    track = Track(most)
    for time, position in points:
        track.add(time, position)
    return track


def climb(count: int, step: float = 10) -> list[tuple[float, Position]]:
    """A balloon that rises, and drifts to the east."""
    return [
        (number * step, Position(52.0, number * 0.001, 50.0 * number)) for number in range(count)
    ]


@given(st.lists(st.tuples(moments, positions), max_size=60))
def test_points_are_in_order_whatever_came_first(points: list[tuple[int, Position]]) -> None:
    track = filled(points)
    assert list(track.times) == sorted(track.times)
    assert set(track.times) <= {time for time, _ in points}
    assert track.seen == max((time for time, _ in points), default=-math.inf)


@given(st.lists(st.tuples(moments, positions), min_size=1, max_size=40), st.randoms())
def test_telling_all_again_changes_nothing(
    points: list[tuple[int, Position]], order: random.Random
) -> None:
    track = filled(sorted(points, key=lambda one: one[0]))
    before = list(zip(track.times, track.latitudes, track.longitudes, strict=True))
    again = list(points)
    order.shuffle(again)
    for time, position in again:
        track.add(time, position)
    after = set(zip(track.times, track.latitudes, track.longitudes, strict=True))
    assert set(before) <= after
    assert len(track) <= len({(time, position) for time, position in points})


@pytest.mark.parametrize("late_first", [False, True])
def test_receivers_that_are_late_draw_no_zigzag(late_first: bool) -> None:
    """Each fix is told at its own time, and by receivers seconds later, rounded in other ways."""
    told = []
    for time, place in climb(200):
        assert place.altitude is not None
        told.append((time, place))
        for late, more in ((7, 4e-6), (23, -4e-6)):
            rounded = Position(
                round(place.latitude + more, 6), place.longitude + more, place.altitude + 0.4
            )
            told.append((time + late, rounded))
    told.sort(key=lambda one: one[0], reverse=late_first)
    track = filled(told)
    assert list(track.times) == [time for time, _ in climb(200)]
    assert list(track.longitudes) == sorted(track.longitudes)


def test_a_payload_at_rest_is_a_point_a_minute() -> None:
    track = filled([(time, Position(52, 0.1, 80)) for time in range(0, 3600, 5)])
    assert 3600 / (REPEAT + 5) - 1 <= len(track) <= 3600 / REPEAT + 1
    assert track.seen == 3595


def test_the_rate_is_that_of_the_last_seconds() -> None:
    track = filled(climb(50))
    assert track.rate(len(track) - 1) == pytest.approx(5)
    assert track.rate(0) is None
    far = filled([(0, Position(1, 1, 0)), (5000, Position(1, 1, 9000))])
    assert far.rate(1) is None
    unknown = filled([(0, Position(1, 1)), (60, Position(1, 1.1))])
    assert unknown.rate(1) is None


def test_memory_is_bounded() -> None:
    track = filled([(time, place) for time, place in climb(30_000, 1)], most=200)
    assert len(track) <= 300
    assert (track.times[0], track.times[-1]) == (0, 29_999)
    # Its points are spread over the whole time, and the end is as it came.
    gaps = [b - a for a, b in zip(track.times, track.times[1:], strict=False)]
    assert max(gaps) < 30_000 / 40
    assert gaps[-TAIL + 1 :] == [1] * (TAIL - 1)


@settings(max_examples=200)
@given(st.lists(st.tuples(moments, positions), min_size=1, max_size=120), st.integers(10, 60))
def test_thinning_keeps_the_ends_and_the_top_of_each_flight(
    points: list[tuple[int, Position]], most: int
) -> None:
    track = filled(points)
    kept = thin(track, most, GAP)
    assert kept == sorted(set(kept))
    parts = flights(track.times, GAP)
    assert len(kept) <= max(most, 3 * len(parts) + 4)
    for first, last in parts:
        top = highest(track.altitudes, first, last)
        assert {first, last - 1, top} <= set(kept)


def test_thinning_keeps_the_shape() -> None:
    """A burst is a corner, and so is a turn: of what lies between, little is needed."""
    up = [(t, Position(50 + t / 1e5, 5.0, 5.0 * t)) for t in range(0, 6000, 10)]
    down = [
        (t, Position(50.06, 5 + (t - 6000) / 1e5, 30_000 - 15 * (t - 6000)))
        for t in range(6000, 8000, 10)
    ]
    track = filled([*up, *down])
    kept = thin(track, 40, GAP)
    assert len(kept) <= 40
    for at in range(len(track)):
        after = next(index for index in kept if index >= at)
        before = kept[max(kept.index(after) - 1, 0)] if after != at else at
        if before == after:
            continue
        part = (track.times[at] - track.times[before]) / (track.times[after] - track.times[before])
        even = track.altitudes[before] + part * (track.altitudes[after] - track.altitudes[before])
        assert abs(even - track.altitudes[at]) < 400


@pytest.mark.parametrize("peak", [503, 1777, 2501])
def test_thinning_keeps_a_detour(peak: int) -> None:
    """A short one, wherever it is in the steps that time is cut into."""
    track = filled(
        [
            (time, Position(52.0 + 0.01 * max(5 - abs(time - peak), 0), time / 1000, 100.0))
            for time in range(3000)
        ]
    )
    assert track.latitudes[peak] == 52.05
    assert peak in thin(track, 50, GAP)


@given(st.lists(moments, max_size=50))
def test_a_flight_has_no_gap_and_all_are_the_whole(times: list[int]) -> None:
    times.sort()
    parts = flights(times, GAP)
    assert [at for first, last in parts for at in range(first, last)] == list(range(len(times)))
    for first, last in parts:
        inside = times[first:last]
        assert all(b - a < GAP for a, b in itertools.pairwise(inside))
    for (_, one), (other, _) in itertools.pairwise(parts):
        assert times[other] - times[one - 1] >= GAP
