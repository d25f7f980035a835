"""A balloon's flight: where the payload is as a function of time. No I/O.

The balloon rises at a steady rate, bursts, and the payload comes down on a parachute as fast as its
drag allows: with the same drag, speed goes by one over the square root of the air's density. All
the way it drifts with the wind.
"""

from __future__ import annotations

import math
import random
from array import array
from typing import NamedTuple

from tools.demo.air import Wind, density

#: Metres: the mean radius of the earth (IUGG).
EARTH = 6_371_009.0
#: Seconds of one step of the computation.
STEP = 5.0
#: Seconds that a payload sends before its launch and after its landing.
BEFORE, AFTER = 300.0, 600.0
#: Seconds that no flight is longer than, from the launch to the landing.
LONGEST = 4 * 3600.0


class Place(NamedTuple):
    """Degrees, degrees, metres above the sea."""

    latitude: float
    longitude: float
    altitude: float

    def moved(self, east: float, north: float, altitude: float) -> Place:
        """The place so many metres away, at this altitude."""
        latitude = self.latitude + math.degrees(north / EARTH)
        circle = EARTH * math.cos(math.radians(self.latitude))
        return Place(latitude, self.longitude + math.degrees(east / circle), altitude)

    def metres_to(self, other: Place) -> float:
        """How far another place is along the ground (the haversine formula)."""
        here, there = math.radians(self.latitude), math.radians(other.latitude)
        width = math.radians(other.longitude - self.longitude)
        share = (
            math.sin((there - here) / 2) ** 2
            + math.cos(here) * math.cos(there) * math.sin(width / 2) ** 2
        )
        return 2 * EARTH * math.asin(math.sqrt(share))


class Fix(NamedTuple):
    """Where a payload is: ``rate`` is in metres a second upwards, ``speed`` along the ground."""

    place: Place
    rate: float
    speed: float


class Radio(NamedTuple):
    """How a payload sends: at a ``frequency`` in Hz, each ``interval`` seconds."""

    frequency: float
    interval: float


class Flight:
    """One flight from ``site``, launched at a UNIX time.

    ``name`` and ``seed`` decide all that chance decides: the day's wind, the rates, where the
    balloon bursts. ``burst`` and ``landing`` are UNIX times. Immutable once made.
    """

    def __init__(self, name: str, launch: float, site: Place, radio: Radio, seed: str) -> None:
        self.name = name
        self.launch = launch
        self.site = site
        self.radio = radio
        self.seed = f"{seed} {name}"
        chance = random.Random(self.seed)
        self.ascent = chance.uniform(4.8, 5.3)
        self.top = chance.uniform(29_000.0, 31_000.0)
        self.touchdown = chance.uniform(4.5, 6.0)
        self._altitudes = array("d", [site.altitude])
        self._east = array("d", [0.0])
        self._north = array("d", [0.0])
        self.burst = launch + self._fly(Wind(chance))
        self.landing = launch + STEP * (len(self._altitudes) - 1)

    def _fly(self, wind: Wind) -> float:
        """Compute the way; seconds until the burst."""
        ground = self.site.altitude
        altitude = ground
        steps = 0
        while altitude < self.top:
            altitude += self.ascent * STEP
            self._drift(wind, altitude)
            steps += 1
        while altitude > ground:
            altitude = max(altitude - self._fall(altitude) * STEP, ground)
            self._drift(wind, altitude)
        return STEP * steps

    def _fall(self, altitude: float) -> float:
        """Metres a second downwards on the parachute."""
        return self.touchdown * math.sqrt(density(self.site.altitude) / density(altitude))

    def _drift(self, wind: Wind, altitude: float) -> None:
        east, north = wind.at((self._altitudes[-1] + altitude) / 2)
        self._altitudes.append(altitude)
        self._east.append(self._east[-1] + east * STEP)
        self._north.append(self._north[-1] + north * STEP)

    def at(self, time: float) -> Fix:
        """Where the payload is at a UNIX time; before the launch and after the landing it rests."""
        at = (time - self.launch) / STEP
        last = len(self._altitudes) - 1
        if at <= 0:
            return Fix(self._place(0, 0.0), 0.0, 0.0)
        if at >= last:
            return Fix(self._place(last - 1, 1.0), 0.0, 0.0)
        index = int(at)
        rate = (self._altitudes[index + 1] - self._altitudes[index]) / STEP
        east = self._east[index + 1] - self._east[index]
        north = self._north[index + 1] - self._north[index]
        return Fix(self._place(index, at - index), rate, math.hypot(east, north) / STEP)

    def _place(self, index: int, share: float) -> Place:
        def between(values: array[float]) -> float:
            return values[index] + share * (values[index + 1] - values[index])

        return self.site.moved(between(self._east), between(self._north), between(self._altitudes))

    @property
    def end(self) -> Place:
        """Where it lands."""
        return self.at(self.landing).place

    def is_on(self, time: float) -> bool:
        """Whether the payload sends at a UNIX time."""
        return self.launch - BEFORE <= time <= self.landing + AFTER


class Fleet:
    """Payloads that are launched in turn, one each ``period`` seconds from UNIX time ``first`` on.

    After the last name the first one flies again. Not thread-safe: a flight is computed when it is
    first asked for.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        first: float,
        period: float,
        site: Place,
        radio: Radio,
        seed: int,
    ) -> None:
        self.names = names
        self.first = first
        self.period = period
        self.site = site
        self.radio = radio
        self._seed = seed
        self._flights: dict[int, Flight] = {}

    def flights(self, since: float, until: float) -> list[Flight]:
        """Those whose payloads send at some time between these UNIX times, in order."""
        earliest = max(math.ceil((since - AFTER - LONGEST - self.first) / self.period), 0)
        latest = math.floor((until + BEFORE - self.first) / self.period)
        found = [self._flight(number) for number in range(earliest, latest + 1)]
        return [one for one in found if one.landing + AFTER >= since]

    def _flight(self, number: int) -> Flight:
        if number not in self._flights:
            name = self.names[number % len(self.names)]
            launch = self.first + number * self.period
            seed = f"{self._seed} {number}"
            self._flights[number] = Flight(name, launch, self.site, self.radio, seed)
            self._flights.pop(number - len(self.names), None)
        return self._flights[number]
