"""Views: what the map shows of a stretch of time, read once for everybody who looks at it.

A view is filled from the archive, the newest messages first, a slice at a time: nobody waits until
all is read. One that goes on to the present then follows what is archived, late messages included.
The console's threads do that: a moment before an answer, and longer after it has gone out.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import current_app

from habitat_like.archive import Archive, Query
from habitat_like.console.archives import Archives
from habitat_like.console.downloads import Pace
from habitat_like.console.pages import after_answer
from habitat_like.console.payloads import TELEMETRY
from habitat_like.console.reading import Reading
from habitat_like.console.record import Record
from habitat_like.console.sweep import Sweep
from habitat_like.console.tracks import STATIONS, PayloadsIn, Tracks
from habitat_like.journal.file import JournalError
from habitat_like.message.types import SERVER_TYPES
from habitat_like.statistics import StatisticsReader
from habitat_like.telemetry import names, packets
from habitat_like.times import MAX_TIME

if TYPE_CHECKING:
    from habitat_like.http.process import Process

DAY = 86400
#: Seconds back from the present that a view can go; the shortest that is long enough is taken.
LENGTHS = (DAY, 7 * DAY, 31 * DAY)
#: Seconds that a view of the past is rounded to, so that those who ask alike share one.
ROUND = 300
#: Views that are kept.
VIEWS = 6
#: Seconds between two looks at what is new.
FRESH = 1.0
#: Seconds that reading may take before an answer, and that it goes on after one.
BEFORE, AFTER = 0.1, 0.5
#: Seconds without a viewer after which a view begins anew instead of catching up.
FORGOTTEN = 3600
#: Receptions that are read to know who heard what.
RECEPTIONS = 50_000


class View(Reading):
    """What the archive says of a stretch of time.

    From ``since`` to ``until``, UNIX seconds, or of the last ``length`` seconds. ``tracks`` is to
    be used by who has ``lock``.
    """

    def __init__(
        self,
        make: Callable[[], Tracks],
        types: Callable[[], list[str]],
        *,
        since: int = 0,
        until: int | None = None,
        length: int = 0,
    ) -> None:
        super().__init__()
        self._make, self._types = make, types
        self._since, self._until, self._length = since, until, length
        # Only the reading thread uses what begins with an underscore.
        self.tracks = make()
        #: Tells this view's versions from those of another, or from before it began anew.
        self.epoch = _epoch()
        #: The UNIX time down to which tracks are read; minus infinity once all is.
        self.reached = math.inf
        self._sweeps: list[Sweep] = []
        self._receptions = 0
        self._position: str | None = None
        self._looked = -math.inf

    def _is_due(self, *, in_haste: bool) -> bool:
        is_old = time.monotonic() - self._looked >= FRESH
        is_whole = bool(self._sweeps) and all(sweep.is_done for sweep in self._sweeps)
        if in_haste:
            return is_old and not (is_whole and self._until is not None)
        return not is_whole

    def _read(self, archive: Archive, deadline: float, pace: Pace | None) -> None:
        now = time.monotonic()
        if not self._sweeps or now - self._looked > FORGOTTEN:
            self._begin(archive)
        self._looked = now
        if self._follow(archive, deadline):
            self._sweep(archive, deadline, pace)

    def _begin(self, archive: Archive) -> None:
        until = MAX_TIME + 1 if self._until is None else self._until
        since = self._since
        self._position = None
        if self._until is None:
            since = int(time.time()) - self._length
            # Before the first slice is read, so that nothing comes in between.
            self._position = archive.position()
        tracks = self._make()
        with self.lock:
            self.tracks, self.epoch, self.reached = tracks, _epoch(), math.inf
        self._receptions = 0
        self._sweeps = [
            Sweep(Query(type=name, since=since, until=until) for name in self._types()),
            Sweep([Query(type=TELEMETRY, since=since, until=until)]),
        ]

    def _follow(self, archive: Archive, deadline: float) -> bool:
        """Take what was archived since; False if there is more than time allows."""
        if self._position is None:
            return True
        while True:
            documents, self._position = archive.follow(self._position)
            if not documents:
                break
            with self.lock:
                for document in documents:
                    # Also what is read from the archive in its turn: taking it twice does no harm.
                    if "suspicious" not in document:
                        self.tracks.take(document)
            if time.monotonic() > deadline:
                return False
        with self.lock:
            self.tracks.forget_before(time.time() - self._length - ROUND)
        return True

    def _sweep(self, archive: Archive, deadline: float, pace: Pace | None) -> None:
        """Read slices of what is older, until the deadline; one at least."""
        while (sweep := next((one for one in self._sweeps if not one.is_done), None)) is not None:
            found = sweep.read(archive)
            with self.lock:
                found.were_useful(sum(map(self.tracks.take, found.documents)))
                self.reached = self._sweeps[0].reached
            if sweep is self._sweeps[1]:
                self._receptions += len(found.documents)
                if self._receptions >= RECEPTIONS:
                    sweep.stop()
            if pace is not None:
                pace.keep()
            if time.monotonic() > deadline:
                return


class Views:
    """The views of a ``program``'s archive that were last looked at. Thread-safe."""

    def __init__(self, program: Process, archives: Archives) -> None:
        self._program = program
        #: Where views are read from; what they keep has no addresses of stations.
        self.archives = archives
        known = names.of_config(program.config)
        self._payloads_in: PayloadsIn = lambda packet: packets.payloads_in(packet, known)
        # Guards the views.
        self._lock = threading.Lock()
        self._views: OrderedDict[tuple[int, int, int], View] = OrderedDict()

    def of(self, since: int, until: int | None, now: float) -> View:
        """One that has ``since`` to ``until`` in it, UNIX seconds; None is the present."""
        if until is None:
            length = next((one for one in LENGTHS if one + ROUND >= now - since), LENGTHS[-1])
            key = (0, 0, length + ROUND)
        else:
            key = (since // ROUND * ROUND, -(-until // ROUND) * ROUND, 0)
        with self._lock:
            view = self._views.get(key)
            if view is None:
                view = View(
                    self._tracks,
                    self._types,
                    since=key[0],
                    until=None if until is None else key[1],
                    length=key[2],
                )
                self._views[key] = view
            self._views.move_to_end(key)
            if len(self._views) > VIEWS:
                self._views.popitem(last=False)
        return view

    def record(self, key: str, moment: int) -> Record:
        """A new record of a payload's flight about a UNIX time; nothing of it is read yet."""
        registry = self._program.registry
        types = [name for name in self._types() if name not in SERVER_TYPES]
        return Record(key, moment, registry.facts, self._payloads_in, types, SERVER_TYPES)

    def read(self, reading: Reading) -> None:
        """Read a little, and go on once the present request is answered."""
        reading.read(self.archives, BEFORE)
        pace = Pace(lambda: self._program.journal.last_seq)
        after_answer(lambda: reading.read(self.archives, AFTER, pace))

    def _tracks(self) -> Tracks:
        tracks = Tracks(self._program.registry.facts, self._payloads_in)
        # A station that stays where it is may say so once a month.
        with (
            contextlib.suppress(JournalError),
            StatisticsReader(self._program.journal.path) as known,
        ):
            for station in known.places(STATIONS):
                tracks.place(*station)
        return tracks

    def _types(self) -> list[str]:
        """The types that may tell a place: all but packets, which a parser must understand."""
        registry = self._program.registry
        return sorted({*registry.names, *registry.reserved} - {TELEMETRY})


def this_views() -> Views:
    """The views of the current request's application."""
    views: Views = current_app.extensions["views"]
    return views


def _epoch() -> str:
    return f"{time.time_ns():x}"
