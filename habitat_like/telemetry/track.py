"""A track: where a payload was, by time, in bounded memory. No I/O."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import product

from habitat_like.message.facts import Position
from habitat_like.telemetry.geodesy import Place
from habitat_like.telemetry.thinning import thin

#: Seconds without a point that end a flight.
GAP = 6 * 3600
#: The same fix, heard by several receivers or told by several messages: seconds between them at
#: most, degrees and metres by which decoders round it differently.
REPEAT = 60
SAME_DEGREES, SAME_METRES = 2e-5, 2.0
#: Fixes that are remembered to know a repeat.
REMEMBERED = 256
#: Points at the end that thinning leaves alone, for the rate of ascent.
TAIL = 16
#: Seconds that a rate is measured over: at least, and at most.
RATE_OVER, RATE_WITHIN = 20, 600

_Cell = tuple[int, int, int | None]


class Track:
    """The points of one payload by time.

    A fix is often told many times: by each receiver's message, and by the one that a parser made of
    them, each with a time of its own. All of those within ``REPEAT`` seconds are one point, of the
    earliest time, so that a track never runs to and fro. With more than half above ``most`` points
    it is thinned to ``most``. Not thread-safe.
    """

    __slots__ = ("_recent", "altitudes", "latitudes", "longitudes", "most", "seen", "times")

    def __init__(self, most: int) -> None:
        self.most = most
        self.times = array("d")
        self.latitudes = array("d")
        self.longitudes = array("d")
        self.altitudes = array("d")
        #: When the payload was last heard, in UNIX seconds.
        self.seen = -math.inf
        # By cell: the time at which a fix was first told, and that of its point.
        self._recent: dict[_Cell, tuple[float, float]] = {}

    def __len__(self) -> int:
        """The number of points."""
        return len(self.times)

    def add(self, time: float, position: Position) -> bool:
        """Add a fix, heard at a UNIX time. False for a repeat that changes nothing."""
        self.seen = max(self.seen, time)
        position = _rounded(position)
        cells = list(_cells(position))
        for cell in cells:
            known = self._recent.get(cell)
            if known is not None and abs(time - known[0]) <= REPEAT:
                if time >= known[1]:
                    return False
                if self._drop(known[1], cell):
                    self._insert(time, position)
                    self._recent[cell] = known[0], time
                return True
        if not self._insert(time, position):
            return False
        # The newest is last, the oldest goes first.
        self._recent.pop(cells[0], None)
        self._recent[cells[0]] = time, time
        if len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]
        if len(self.times) > 1.5 * self.most:
            self.thin(self.most)
        return True

    def thin(self, most: int) -> None:
        """Keep about ``most`` points."""
        kept = thin(self, most, GAP, TAIL)
        for name in ("times", "latitudes", "longitudes", "altitudes"):
            values = getattr(self, name)
            setattr(self, name, array("d", [values[at] for at in kept]))

    def forget_before(self, time: float) -> None:
        """Drop the points before a UNIX time."""
        if count := bisect_left(self.times, time):
            for values in (self.times, self.latitudes, self.longitudes, self.altitudes):
                del values[:count]

    def between(self, since: float, until: float) -> range:
        """The indices of the points from ``since`` to before ``until``, in UNIX seconds."""
        return range(bisect_left(self.times, since), bisect_left(self.times, until))

    def place(self, index: int) -> Place:
        """Where a point is."""
        altitude = self.altitudes[index]
        return Place(
            self.latitudes[index],
            self.longitudes[index],
            None if math.isnan(altitude) else altitude,
        )

    def rate(self, index: int) -> float | None:
        """The rate of ascent up to a point, in metres a second; None if it can't be told.

        From the last point at least ``RATE_OVER`` seconds before it.
        """
        time, altitude = self.times[index], self.altitudes[index]
        before = bisect_right(self.times, time - RATE_OVER) - 1
        if before < 0 or time - self.times[before] > RATE_WITHIN:
            return None
        rate = (altitude - self.altitudes[before]) / (time - self.times[before])
        return None if math.isnan(rate) else rate

    def _insert(self, time: float, position: Position) -> bool:
        at = bisect_right(self.times, time)
        place = position.latitude, position.longitude, position.altitude
        if any(self.place(same) == place for same in range(bisect_left(self.times, time), at)):
            return False  # told twice, and too long ago to be remembered
        self.times.insert(at, time)
        self.latitudes.insert(at, position.latitude)
        self.longitudes.insert(at, position.longitude)
        self.altitudes.insert(at, math.nan if position.altitude is None else position.altitude)
        return True

    def _drop(self, time: float, cell: _Cell) -> bool:
        """Take out the point of a repeat; False if thinning has."""
        for at in range(bisect_left(self.times, time), bisect_right(self.times, time)):
            altitude = self.altitudes[at]
            here = Position(
                self.latitudes[at],
                self.longitudes[at],
                None if math.isnan(altitude) else altitude,
            )
            if cell in _cells(here):
                for values in (self.times, self.latitudes, self.longitudes, self.altitudes):
                    del values[at]
                return True
        return False


def _rounded(position: Position) -> Position:
    """To a metre, and a tenth of one up or down: decoders give more digits than there is truth."""
    altitude = position.altitude
    return Position(
        round(position.latitude, 5),
        round(position.longitude, 5),
        None if altitude is None else round(altitude, 1),
    )


def _cells(position: Position) -> Iterator[_Cell]:
    """The cell of a fix, and those that it may be in as another decoder rounds it."""
    altitude = position.altitude
    return product(
        _near(position.latitude, SAME_DEGREES),
        _near(position.longitude, SAME_DEGREES),
        (None,) if altitude is None else _near(altitude, SAME_METRES),
    )


def _near(value: float, same: float) -> tuple[int, ...]:
    """The number of a value's cell, which is twice ``same`` wide, and of one within ``same``/2."""
    number = value / (2 * same)
    own = math.floor(number)
    below, above = math.floor(number - 0.25), math.floor(number + 0.25)
    return (own,) if below == above else (own, below if own == above else above)
