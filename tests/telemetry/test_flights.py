"""Flights: launch, burst, landing and rates, of whole flights and of parts of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.message.facts import Position
from habitat_like.telemetry.flights import Flight, flight
from habitat_like.telemetry.track import Track

#: Seconds: on the ground until, burst at, on the ground again at, last heard at.
LAUNCH, BURST, DOWN, END = 600, 6600, 8600, 9200
TOP = 30_000


def altitude(time: int) -> float:
    if time <= LAUNCH:
        return 60
    if time <= BURST:
        return 60 + (TOP - 60) * (time - LAUNCH) / (BURST - LAUNCH)
    return max(TOP - (TOP - 40) * (time - BURST) / (DOWN - BURST), 40)


def flown(since: int = 0, until: int = END, step: int = 20) -> Flight:
    """What is known of the flight by somebody who heard it in this time."""
    track = Track(10_000)
    for time in range(since, until + 1, step):
        way = min(max(time, LAUNCH), DOWN) - LAUNCH
        track.add(time, Position(52 + way / 2e5, way / 1e5, altitude(time)))
    return flight(track, 0, len(track))


def test_a_flight_from_launch_to_landing() -> None:
    found = flown()
    assert found.launch is not None
    assert found.burst is not None
    assert found.landing is not None
    assert LAUNCH - 60 <= found.launch.time <= LAUNCH + 20
    assert found.burst == found.highest
    assert (found.burst.time, found.burst.altitude) == (BURST, TOP)
    assert DOWN - 20 <= found.landing.time <= DOWN + 20
    assert found.ascent == pytest.approx((TOP - 60) / (BURST - LAUNCH), rel=0.02)
    assert found.descent == pytest.approx(-(TOP - 40) / (DOWN - BURST), rel=0.02)
    assert found.seconds >= DOWN
    assert 7_000 < found.metres < 7_100


def test_a_flight_that_goes_on_has_no_burst_yet() -> None:
    found = flown(until=3000)
    assert found.launch is not None
    assert (found.burst, found.landing, found.descent) == (None, None, None)
    assert found.highest == found.last
    assert found.ascent == pytest.approx(5, rel=0.03)


def test_one_that_was_lost_on_the_way_down_did_not_land() -> None:
    found = flown(until=8000)
    assert found.burst is not None
    assert found.landing is None
    assert found.descent == pytest.approx(-15, rel=0.02)


def test_one_that_was_first_heard_in_the_air_has_no_launch() -> None:
    found = flown(since=2000)
    assert found.launch is None
    assert found.burst is not None
    assert found.ascent == pytest.approx(5, rel=0.03)


def test_one_that_was_first_heard_on_the_way_down_has_no_burst() -> None:
    found = flown(since=BURST + 200)
    assert (found.launch, found.burst) == (None, None)
    assert found.landing is not None
    assert found.ascent is None


def test_a_walk_is_no_flight() -> None:
    track = Track(1000)
    for time in range(0, 7200, 30):
        track.add(time, Position(52 + time / 1e6, 0.1, 20 + time % 90 / 10))
    found = flight(track, 0, len(track))
    assert (found.launch, found.burst, found.landing) == (None, None, None)
    assert (found.ascent, found.descent) == (None, None)


def test_without_altitudes_there_is_a_way_and_nothing_more() -> None:
    track = Track(1000)
    track.add(0, Position(52, 0))
    track.add(100, Position(52.1, 0))
    found = flight(track, 0, 2)
    assert found.highest is None
    assert found.metres == pytest.approx(11_120, rel=0.01)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20_000),
            st.builds(
                Position,
                st.floats(-90, 90),
                st.floats(-180, 180),
                st.none() | st.floats(-1000, 50_000),
            ),
        ),
        min_size=1,
        max_size=50,
    )
)
def test_whatever_was_heard_its_moments_are_in_order(points: list[tuple[int, Position]]) -> None:
    track = Track(1000)
    for time, position in points:
        track.add(time, position)
    found = flight(track, 0, len(track))
    moments = [found.first, found.launch, found.burst, found.landing, found.last]
    times = [one.time for one in moments if one is not None]
    assert times == sorted(times)
    assert found.ascent is None or found.ascent > 0
    assert found.descent is None or found.descent < 0
