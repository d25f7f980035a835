"""Distances and directions: known ones, and what must hold for all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.telemetry.geodesy import (
    RADIUS,
    Place,
    bearing,
    distance,
    turned,
    wind,
)

places = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))


def test_known_ways() -> None:
    # The example at https://www.movable-type.co.uk/scripts/latlong.html, from Land's End to John
    # o' Groats.
    south, north = Place(50.066389, -5.714722), Place(58.643889, -3.07)
    assert distance(south, north) == pytest.approx(968_900, abs=100)
    assert bearing(south, north) == pytest.approx(9 + 7 / 60 + 11 / 3600, abs=0.001)
    assert distance(Place(0, 0), Place(0, 90)) == pytest.approx(RADIUS * math.pi / 2)
    assert distance(Place(-17, 179.5), Place(-17, -179.5)) < 110_000
    assert bearing(Place(-17, 179.5), Place(-17, -179.5)) == pytest.approx(90, abs=1)
    assert [bearing(Place(0, 0), one) for one in (Place(1, 0), Place(-1, 0))] == [0, 180]


@given(places, places)
def test_there_is_as_far_as_back_and_never_more_than_half_around(one: Place, other: Place) -> None:
    metres = distance(one, other)
    assert 0 <= metres <= RADIUS * math.pi * (1 + 1e-9)
    assert metres == pytest.approx(distance(other, one), abs=1e-3)
    assert 0 <= bearing(one, other) < 360
    assert distance(one, one) == 0


@given(st.floats(0, 360))
def test_a_wind_is_within_an_eighth_of_a_right_angle(degrees: float) -> None:
    names = ["N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE"]
    names += ["S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"]
    middle = names.index(wind(degrees)) * 22.5
    assert abs(turned(middle - degrees)) <= 11.25 + 1e-9
