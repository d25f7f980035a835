"""The air that a balloon goes through: temperature, pressure, density, wind. No I/O.

The U.S. Standard Atmosphere, 1976 (NOAA-S/T 76-1562), from sea level to 47 km. Its heights are
geopotential; they are taken as they are, which at 30 km is 0.5 % off.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right

#: Metres a second squared; J/(kg K), of dry air.
GRAVITY, GAS = 9.80665, 287.053
#: The layers: their base in metres, K there, Pa there, and K more for each metre up.
_LAYERS = (
    (0.0, 288.15, 101325.0, -0.0065),
    (11_000.0, 216.65, 22632.06, 0.0),
    (20_000.0, 216.65, 5474.889, 0.001),
    (32_000.0, 228.65, 868.0187, 0.0028),
)
_BASES = [layer[0] for layer in _LAYERS]

#: Heights in metres, the usual speed of the wind there in metres a second, and by how many degrees
#: it blows more to the right than at 10 km: a jet stream below the tropopause, little above it.
_WINDS = (
    (0.0, 4.0, -45.0),
    (1_500.0, 9.0, -30.0),
    (5_000.0, 13.0, -10.0),
    (10_000.0, 21.0, 0.0),
    (15_000.0, 12.0, 20.0),
    (20_000.0, 6.0, 45.0),
    (32_000.0, 10.0, 75.0),
)


def temperature(altitude: float) -> float:
    """K at a height in metres."""
    base, kelvin, _, lapse = _layer(altitude)
    return kelvin + lapse * (altitude - base)


def pressure(altitude: float) -> float:
    """Pa at a height in metres."""
    base, kelvin, pascal, lapse = _layer(altitude)
    if lapse == 0:
        return pascal * math.exp(-GRAVITY * (altitude - base) / (GAS * kelvin))
    ratio = kelvin / (kelvin + lapse * (altitude - base))
    return pascal * math.pow(ratio, GRAVITY / (GAS * lapse))


def density(altitude: float) -> float:
    """kg/m³ at a height in metres."""
    return pressure(altitude) / (GAS * temperature(altitude))


def _layer(altitude: float) -> tuple[float, float, float, float]:
    return _LAYERS[max(bisect_right(_BASES, altitude) - 1, 0)]


class Wind:
    """The wind of one day, by height; ``chance`` makes the day. Immutable once made."""

    def __init__(self, chance: random.Random) -> None:
        strength = chance.uniform(0.85, 1.15)
        # Degrees that it blows to: 90 is east.
        heading = chance.uniform(70.0, 100.0)
        self._heights = [height for height, _, _ in _WINDS]
        self._speeds = [strength * speed * chance.uniform(0.9, 1.1) for _, speed, _ in _WINDS]
        self._headings = [
            math.radians(heading + right + chance.uniform(-10, 10)) for _, _, right in _WINDS
        ]

    def at(self, altitude: float) -> tuple[float, float]:
        """Metres a second to the east, and to the north."""
        upper = min(max(bisect_right(self._heights, altitude), 1), len(self._heights) - 1)
        below, above = self._heights[upper - 1 : upper + 1]
        share = min(max((altitude - below) / (above - below), 0.0), 1.0)

        def between(values: list[float]) -> float:
            return values[upper - 1] + share * (values[upper] - values[upper - 1])

        speed, heading = between(self._speeds), between(self._headings)
        return speed * math.sin(heading), speed * math.cos(heading)
