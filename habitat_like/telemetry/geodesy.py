"""Distances and directions on Earth, taken as a sphere. No I/O.

The great circle's distance by the haversine formula, and its initial bearing, are those of
https://www.movable-type.co.uk/scripts/latlong.html; a sphere is within 0.5 % of the ellipsoid.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: The mean radius of Earth in metres (IUGG).
RADIUS = 6_371_008.8
#: Metres of a degree of latitude.
DEGREE = RADIUS * math.pi / 180

_WINDS = ["N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE"]
_WINDS += ["S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"]


class Place(NamedTuple):
    """Degrees, degrees, and metres if known."""

    latitude: float
    longitude: float
    altitude: float | None = None


def distance(one: Place, other: Place) -> float:
    """Metres from one place to the other along the ground."""
    first, second = math.radians(one.latitude), math.radians(other.latitude)
    half_up = (second - first) / 2
    half_along = math.radians(other.longitude - one.longitude) / 2
    chord = math.sin(half_up) ** 2 + math.cos(first) * math.cos(second) * math.sin(half_along) ** 2
    return 2 * RADIUS * math.asin(math.sqrt(min(chord, 1)))


def bearing(one: Place, other: Place) -> float:
    """The direction in which a great circle leaves ``one`` for the other, degrees from north."""
    first, second = math.radians(one.latitude), math.radians(other.latitude)
    along = math.radians(other.longitude - one.longitude)
    east = math.sin(along) * math.cos(second)
    north = math.cos(first) * math.sin(second) - math.sin(first) * math.cos(second) * math.cos(
        along
    )
    # A little less than 0 is a little less than 360, which as a float can be 360.
    return math.degrees(math.atan2(east, north)) % 360 % 360


def wind(degrees: float) -> str:
    """A direction as one of the 16 points of the compass, such as ``NNE``."""
    return _WINDS[round(degrees / 22.5) % 16]


def turned(longitude: float) -> float:
    """A longitude, or a difference of two, as -180 up to 180 degrees."""
    return (longitude + 180) % 360 - 180
