"""Record: a flight of one payload, whole, as the archive has it."""

from __future__ import annotations

import math
import time
from array import array
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from habitat_like.archive import Archive, Query
from habitat_like.archive.base import Document
from habitat_like.console.downloads import Pace
from habitat_like.console.payloads import TELEMETRY, packet_of
from habitat_like.console.reading import Reading
from habitat_like.console.sweep import Sweep
from habitat_like.console.tracks import FactsOf, PayloadsIn, network_of
from habitat_like.message.message import to_callsign
from habitat_like.telemetry.thinning import flights
from habitat_like.telemetry.track import GAP, Track

#: Points of the track, readings of one value, values, receivers, and receptions that are kept.
POINTS, READINGS, VALUES, RECEIVERS, RECEPTIONS = 5000, 4000, 64, 1000, 1_000_000
#: Seconds around a flight in which its packets may be received.
AROUND = 60
#: Seconds between two looks at a flight that may go on.
FRESH = 2.0


class Values:
    """The readings of one value by time; of many, every second one is forgotten again."""

    def __init__(self) -> None:
        self.times = array("d")
        self.values = array("d")

    def add(self, time: float, value: float) -> None:
        """Add a reading."""
        self.times.append(time)
        self.values.append(value)
        if len(self.times) > READINGS:
            order = sorted(range(len(self.times)), key=lambda at: self.times[at])[::2]
            self.times = array("d", [self.times[at] for at in order])
            self.values = array("d", [self.values[at] for at in order])


class Record(Reading):
    """The flight in which a payload, by its ``key``, was heard about ``moment``, in UNIX seconds.

    It is read from there to both sides, until ``GAP`` seconds without a fix, and then what was
    received of it. ``types`` are those whose callsign is a receiver's, ``own`` those whose is the
    payload's. ``track``, ``values``, ``receivers`` (when each heard it, in any order), ``networks``
    and ``name`` are for who has ``lock``; they may have some of the flights before and after.
    """

    def __init__(
        self,
        key: str,
        moment: int,
        facts: FactsOf,
        payloads_in: PayloadsIn,
        types: Iterable[str],
        own: Iterable[str],
    ) -> None:
        super().__init__()
        self.key = key
        self.name = key
        self.track = Track(POINTS)
        self.values: OrderedDict[str, Values] = OrderedDict()
        self.receivers: dict[str, array[int]] = {}
        self.networks: set[str] = set()
        #: Whether the track, and then also receptions, are read.
        self.has_track = self.is_whole = False
        #: Tells this record's versions from those of another; ``version`` grows with each change.
        self.epoch = f"{time.time_ns():x}"
        self.version = 0
        self._facts, self._payloads_in = facts, payloads_in
        queries = [
            *(Query(type=name) for name in types),
            *(Query(type=name, callsign=key) for name in own),
        ]
        back = [msgspec.structs.replace(one, until=moment + 1) for one in queries]
        on = [msgspec.structs.replace(one, since=moment + 1, order="asc") for one in queries]
        self._back, self._on = Sweep(back), Sweep(on)
        self._receptions: Sweep | None = None
        self._until = 0
        self._heard = 0
        self._moment = moment
        self._looked = -math.inf

    @property
    def state(self) -> str:
        """Differs where what is known differs."""
        return f"{self.epoch}.{self.version}"

    @property
    def drawn(self) -> str:
        """The same for plots: of a flight that goes on, a new one each minute will do."""
        return self.epoch if self.has_track else self.state

    @property
    def points(self) -> range:
        """The points of the flight itself; none if there is no fix at all."""
        parts = [range(*part) for part in flights(self.track.times, GAP)]
        return min(parts, key=self._far, default=range(0))

    @property
    def first(self) -> float:
        """The UNIX time of the first fix, as far as is known."""
        points = self.points
        return self.track.times[points[0]] if points else self._moment

    @property
    def last(self) -> float:
        """When the payload was last heard in this flight, as far as is known."""
        points = self.points
        if not points:
            return self._moment
        is_newest = points[-1] == len(self.track) - 1
        return self.track.seen if is_newest else self.track.times[points[-1]]

    @property
    def is_over(self) -> bool:
        """Whether the payload is silent for so long that what comes is another flight."""
        return time.time() - self.last >= GAP

    def heard_by(self) -> dict[str, list[int]]:
        """Who heard the payload in this flight, and when, in UNIX seconds."""
        first, last = self.first - AROUND, self.last + AROUND
        found = {
            callsign: sorted(when for when in times if first <= when <= last)
            for callsign, times in self.receivers.items()
        }
        return {callsign: times for callsign, times in found.items() if times}

    def _far(self, part: range) -> float:
        """How far a part of the track is from the moment."""
        first, last = self.track.times[part[0]], self.track.times[part[-1]]
        return max(first - self._moment, self._moment - last, 0)

    def _is_due(self, *, in_haste: bool) -> bool:
        if not self.is_whole:
            return True
        return in_haste and not self.is_over and time.monotonic() - self._looked >= FRESH

    def _read(self, archive: Archive, deadline: float, pace: Pace | None) -> None:
        if self.is_whole:
            self._go_on()
        self._looked = time.monotonic()
        while (sweep := self._next()) is not None:
            found = sweep.read(archive)
            take = self._receive if sweep is self._receptions else self._take
            with self.lock:
                found.were_useful(sum(map(take, found.documents)))
                self.version += bool(found.documents)
            if pace is not None:
                pace.keep()
            if time.monotonic() > deadline:
                return
        with self.lock:
            self.is_whole = True

    def _go_on(self) -> None:
        """Have what came in since the last look read, too."""
        self._on.go_on()
        with self.lock:
            self.is_whole = False

    def _next(self) -> Sweep | None:
        """What to read on, None if all is read."""
        first, last = self.first, self.last
        if self._back.reached < first - GAP:
            self._back.stop()
        if self._on.reached > last + GAP:
            self._on.stop()
        for sweep in (self._back, self._on):
            if not sweep.is_done:
                return sweep
        with self.lock:
            self.has_track = True
        until = int(last) + AROUND + 1
        if self._receptions is None:
            since = max(int(first) - AROUND, 0)
            query = Query(type=TELEMETRY, since=since, until=until, order="asc")
            self._receptions = Sweep([query])
        elif self._until < until:
            self._receptions.go_on(until)
        self._until = until
        return None if self._receptions.is_done else self._receptions

    def _take(self, document: Document) -> bool:
        """Take what a message says of this payload; False if it is about no payload."""
        facts = self._facts(document)
        if facts.payload is None:
            return False
        if to_callsign(facts.payload) != self.key:
            return True
        moment = document["time_created"]
        self.name = facts.payload
        if facts.position is not None:
            self.track.add(moment, facts.position)
        if (network := network_of(document)) is not None and len(self.networks) < 16:
            self.networks.add(network)
        for name, value in facts.values.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if name in self.values or len(self.values) < VALUES:
                self.values.setdefault(name, Values()).add(moment, float(value))
        if document.get("callsign") != self.key:
            self._hear(document)
        return True

    def _receive(self, document: Document) -> bool:
        """Note a reception of this payload; False if the message has no packet of any."""
        packet = packet_of(document)
        names = [] if packet is None else self._payloads_in(packet)
        if any(to_callsign(name) == self.key for name in names):
            self._hear(document)
        return bool(names)

    def _hear(self, document: Document) -> None:
        callsign = document.get("callsign")
        if not isinstance(callsign, str) or self._heard >= RECEPTIONS:
            return
        if callsign in self.receivers or len(self.receivers) < RECEIVERS:
            self.receivers.setdefault(callsign, array("q")).append(int(document["time_created"]))
            self._heard += 1
