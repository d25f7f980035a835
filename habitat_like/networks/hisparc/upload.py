"""One station's upload, from its form to its messages.

The protocol answers every upload with HTTP 200 and a three-digit code. A code other than 100 means
that nothing was taken. When nothing can be taken now, the answer is HTTP 503 as for all networks;
stations keep their events until they see 100.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from habitat_like.http.response import Response
from habitat_like.networks.hisparc import events, form, pickles, stations
from habitat_like.networks.hisparc.activity import Activity
from habitat_like.passwords import Limiter, Verifier

log = logging.getLogger(__name__)

#: The codes, in the order of the checks; OK when all went well.
BAD_FORM = "400"
UNKNOWN_STATION = "206"
WRONG_PASSWORD = "203"  # noqa: S105 (a code)
WRONG_CHECKSUM = "201"
NO_EVENT_LIST = "208"
OK = "100"
#: Seconds between two lines in the log about one station's refused uploads.
LOG_EVERY = 60.0


class Uploads:
    """What is known about the stations: their list, and their activity.

    Made once; ``configure`` puts new stations, and a new year before which no event can be, in
    force. Thread-safe.
    """

    def __init__(self, minimum_year: int, listed: dict[int, stations.HisparcStation]) -> None:
        self.activity = Activity()
        self._limiter = Limiter()
        self._verifier = Verifier()
        # When the log last had a line about a station. Single operations of a dict.
        self._logged: dict[int, float] = {}
        self._stations: dict[int, stations.HisparcStation] = {}
        self._minimum_year = 0
        self.configure(minimum_year, listed)

    def configure(self, minimum_year: int, listed: dict[int, stations.HisparcStation]) -> None:
        """Put ``minimum_year`` and the ``listed`` stations in force."""
        self._minimum_year = minimum_year
        self._stations = listed
        self._verifier.keep({station.password for station in listed.values()})

    def take(
        self,
        body: bytes,
        ip: str | None,
        now: float,
        push: Callable[[Any], object],
        note: Callable[[str | None, str], None],
    ) -> Response:
        """Check an upload and, once all its events are known to be good, ``push`` their messages.

        ``ip`` is the station's address, ``now`` the gateway's clock in UNIX seconds; ``note`` gets
        the station, if known, and why its upload was refused. Raises what ``push`` raises; then
        nothing that was pushed before may be kept.
        """
        try:
            posted = form.parse(body)
        except form.FormError as error:
            return self._refuse(note, BAD_FORM, None, str(error))
        station = self._stations.get(posted.station)
        if station is None:
            return self._refuse(
                note, UNKNOWN_STATION, None, f"station {posted.station} is not listed"
            )
        if not self._is_right(station, posted.password, ip):
            self.activity.wrong_password(station.number, now)
            return self._refuse(note, WRONG_PASSWORD, station, "wrong password")
        data = form.pickle_of(posted)
        if data is None:
            return self._refuse(
                note, WRONG_CHECKSUM, station, "the checksum is not that of the data"
            )
        try:
            found = events.read(pickles.load(data), len(data))
            made = list(events.messages(found, station, ip, int(now), self._minimum_year))
        except (pickles.PickleError, events.EventError) as error:
            return self._refuse(note, NO_EVENT_LIST, station, str(error))
        for message in made:
            push(message)
        suspicious = sum(message.suspicious is not None for message in made)

        def settled(durable: bool) -> None:
            if durable:
                self.activity.stored(OK, station.number, len(made), suspicious, now)

        return _answer(OK, settled)

    def _is_right(self, station: stations.HisparcStation, password: bytes, ip: str | None) -> bool:
        now = time.monotonic()
        if not self._limiter.take(ip, station.number, now):
            return False
        if not self._verifier.is_right(station.password, password):
            return False
        self._limiter.right(ip, station.number)
        return True

    def _refuse(
        self,
        note: Callable[[str | None, str], None],
        code: str,
        station: stations.HisparcStation | None,
        why: str,
    ) -> Response:
        self.activity.refused(code)
        note(None if station is None else str(station.number), why)
        number = -1 if station is None else station.number
        now = time.monotonic()
        if now - self._logged.get(number, -LOG_EVERY) >= LOG_EVERY:
            self._logged[number] = now
            who = None if station is None else number
            log.warning("upload refused", extra={"station": who, "code": code, "why": why})
        return _answer(code)


def _answer(code: str, settled: Callable[[bool], None] | None = None) -> Response:
    return Response(200, code.encode(), "text/plain", settled=settled)
