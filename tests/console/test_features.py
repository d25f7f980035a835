"""Tracks as GeoJSON: every point once, cut at gaps and at the antimeridian."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from habitat_like.console.features import Line, lines
from habitat_like.message.facts import Position
from habitat_like.telemetry.track import GAP, Track

fixes = st.lists(
    st.tuples(
        st.integers(0, 3 * GAP),
        st.builds(
            Position,
            st.floats(-90, 90),
            st.floats(-180, 180),
            st.none() | st.floats(-500, 45_000),
        ),
    ),
    max_size=40,
)


def drawn(told: list[tuple[int, Position]]) -> tuple[Track, list[Line]]:
    track = Track(1000)
    for time, position in told:
        track.add(time, position)
    return track, lines(track, range(len(track)))


@given(fixes)
def test_lines_have_every_point_in_order(told: list[tuple[int, Position]]) -> None:
    track, found = drawn(told)
    points = [(place[0], place[1]) for line in found for place in line.coordinates]
    wanted = list(zip(track.longitudes, track.latitudes, strict=True))
    left = iter(points)
    assert all(any(point == one for one in left) for point in wanted)
    for line in found:
        assert len(line.times) == len(line.coordinates)
        assert line.times == sorted(line.times)
        assert all(len(place) in (2, 3) for place in line.coordinates)


@given(fixes)
def test_no_line_leaps(told: list[tuple[int, Position]]) -> None:
    _, found = drawn(told)
    for line in found:
        for (one, other), (before, after) in zip(
            itertools.pairwise(line.coordinates), itertools.pairwise(line.times), strict=True
        ):
            assert abs(other[0] - one[0]) <= 180
            assert after - before < GAP
    for ended, begun in itertools.pairwise(found):
        if begun.times[0] - ended.times[-1] < GAP:
            assert (abs(ended.coordinates[-1][0]), abs(begun.coordinates[0][0])) == (180, 180)


def test_a_part_of_a_track_is_drawn_alone() -> None:
    track = Track(1000)
    for number in range(10):
        track.add(100 * number, Position(10.0 + number, 20.0, 30.0 * number))
    (line,) = lines(track, range(3, 6))
    assert line.times == [300, 400, 500]
    assert line.coordinates == [(20, 13, 90), (20, 14, 120), (20, 15, 150)]
    assert lines(track, range(3, 3)) == [Line([], [])]
