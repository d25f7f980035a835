"""Flights that are not real, and yet as a balloon flies."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.demo import air
from tools.demo.flight import AFTER, BEFORE, Fleet, Flight, Place, Radio

SITE = Place(52.25, -0.09, 40)
RADIO = Radio(434_075_000, 5)
LAUNCH = 1_700_000_000
seeds = st.integers(0, 10_000)


def flight(seed: int = 1) -> Flight:
    return Flight("KESTREL", LAUNCH, SITE, RADIO, str(seed))


# Height in metres, K, Pa: U.S. Standard Atmosphere, 1976, table I (geopotential).
@pytest.mark.parametrize(
    ("height", "kelvin", "pascal"),
    [
        (0, 288.15, 101_325),
        (5_000, 255.65, 54_019.9),
        (11_000, 216.65, 22_632.1),
        (15_000, 216.65, 12_044.6),
        (20_000, 216.65, 5_474.89),
        (30_000, 226.65, 1_171.87),
        (35_000, 237.05, 558.924),
    ],
)
def test_the_air_is_the_standard_atmospheres(height: float, kelvin: float, pascal: float) -> None:
    assert air.temperature(height) == pytest.approx(kelvin, abs=0.01)
    assert air.pressure(height) == pytest.approx(pascal, rel=1e-4)


def test_the_density_at_the_ground() -> None:
    assert air.density(0) == pytest.approx(1.225, rel=1e-3)


@given(seeds)
def test_a_balloon_rises_at_five_metres_a_second_and_bursts_near_30_km(seed: int) -> None:
    one = flight(seed)
    middle = (one.launch + one.burst) / 2
    assert 4.8 <= one.at(middle).rate <= 5.3
    assert one.at(one.burst).place.altitude == pytest.approx(one.top, abs=30)
    assert 29_000 <= one.top <= 31_000
    assert one.launch + 90 * 60 < one.burst < one.launch + 110 * 60


@given(seeds)
def test_a_parachute_is_slow_in_thick_air_alone(seed: int) -> None:
    one = flight(seed)
    high, low = one.at(one.burst + 10), one.at(one.landing - 30)
    assert -6.5 < low.rate < -4.0
    ratio = math.sqrt(air.density(low.place.altitude) / air.density(high.place.altitude))
    assert high.rate / low.rate == pytest.approx(ratio, rel=0.05)


@given(seeds)
def test_it_lands_downwind_within_reach_of_a_car(seed: int) -> None:
    one = flight(seed)
    assert one.end.longitude > SITE.longitude
    assert 50_000 < SITE.metres_to(one.end) < 160_000
    assert one.end.altitude == SITE.altitude


@given(seeds, st.floats(-BEFORE, 3 * 3600))
def test_it_never_jumps(seed: int, after: float) -> None:
    one = flight(seed)
    here, next_place = one.at(LAUNCH + after).place, one.at(LAUNCH + after + 1).place
    assert here.metres_to(next_place) < 40
    assert abs(here.altitude - next_place.altitude) < 60


def test_it_rests_before_the_launch_and_after_the_landing() -> None:
    one = flight()
    for moment, place in ((one.launch - 60, SITE), (one.landing + 60, one.end)):
        fix = one.at(moment)
        assert fix.place == pytest.approx(place)
        assert (fix.rate, fix.speed) == (0, 0)


def test_the_same_seed_gives_the_same_flight_and_another_seed_another() -> None:
    moment = LAUNCH + 3000
    assert flight(1).at(moment) == flight(1).at(moment)
    assert flight(1).at(moment) != flight(2).at(moment)


def test_metres_along_the_ground() -> None:
    # A minute of latitude is a nautical mile, within half a percent.
    assert Place(52, 0, 0).metres_to(Place(52 + 1 / 60, 0, 0)) == pytest.approx(1852, rel=5e-3)
    assert SITE.metres_to(SITE.moved(3000, 4000, 0)) == pytest.approx(5000, rel=1e-3)


def test_a_fleet_flies_in_turn() -> None:
    fleet = Fleet(("A", "B"), LAUNCH, 4 * 3600, SITE, RADIO, 1)
    later = LAUNCH + 8 * 3600
    assert [one.name for one in fleet.flights(LAUNCH, later)] == ["A", "B", "A"]
    assert [one.launch for one in fleet.flights(later, later)] == [later]
    first = fleet.flights(LAUNCH - BEFORE, LAUNCH)[0]
    assert fleet.flights(0, LAUNCH - BEFORE - 1) == []
    assert fleet.flights(first.landing + AFTER, first.landing + AFTER) == [first]
    assert fleet.flights(first.landing + AFTER + 1, first.landing + AFTER + 1) == []
