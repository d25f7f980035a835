"""The action ``upload``: one station's upload, from its form to its messages.

The protocol answers every upload with HTTP 200 and a code of three digits. A code other than 100
means that nothing was taken. When nothing can be taken now, the answer is HTTP 503 as everywhere;
stations keep their events until they see 100.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from habitat_like.http.actions import Args, InsertApplication, action
from habitat_like.http.response import Response
from habitat_like.networks.hisparc import events, form, pickles, stations
from habitat_like.networks.hisparc.activity import Activity
from habitat_like.passwords import Limiter, Verifier

if TYPE_CHECKING:
    from habitat_like.config.keys import HisparcConfig

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
    """What the action needs to know: the stations, and what they did.

    Made once; ``configure`` puts another configuration, and the stations ``listed`` in it, in
    force. Thread-safe.
    """

    def __init__(self, config: HisparcConfig, listed: dict[int, stations.Station]) -> None:
        self.activity = Activity()
        self._limiter = Limiter()
        self._verifier = Verifier()
        # When the log last had a line about a station. Single operations of a dict.
        self._logged: dict[int, float] = {}
        self._stations: dict[int, stations.Station] = {}
        self._minimum_year = 0
        self.configure(config, listed)

    def configure(self, config: HisparcConfig, listed: dict[int, stations.Station]) -> None:
        """Put ``config`` and the ``listed`` stations in force."""
        self._minimum_year = config.minimum_year
        self._stations = listed
        self._verifier.keep({station.password for station in listed.values()})

    def take(
        self, body: bytes, ip: str | None, now: float, push: Callable[[Any], object]
    ) -> Response:
        """Check an upload and ``push`` the message of each event, once all are known to be good.

        ``ip`` is the station's address, ``now`` the gateway's clock in UNIX seconds. Raises what
        ``push`` raises; then nothing may be kept of what was pushed before.
        """
        try:
            posted = form.parse(body)
        except form.FormError as error:
            return self._refuse(BAD_FORM, None, str(error))
        station = self._stations.get(posted.station)
        if station is None:
            return self._refuse(UNKNOWN_STATION, None, f"station {posted.station} is not listed")
        if not self._is_right(station, posted.password, ip):
            self.activity.wrong_password(station.number, now)
            return self._refuse(WRONG_PASSWORD, station, "wrong password")
        data = form.pickle_of(posted)
        if data is None:
            return self._refuse(WRONG_CHECKSUM, station, "the checksum is not that of the data")
        try:
            found = events.read(pickles.load(data), len(data))
            made = list(events.messages(found, station, ip, int(now), self._minimum_year))
        except (pickles.PickleError, events.EventError) as error:
            return self._refuse(NO_EVENT_LIST, station, str(error))
        for message in made:
            push(message)
        suspicious = sum(message.suspicious is not None for message in made)

        def settled(durable: bool) -> None:
            if durable:
                self.activity.stored(OK, station.number, len(made), suspicious, now)

        return _answer(OK, settled)

    def _is_right(self, station: stations.Station, password: bytes, ip: str | None) -> bool:
        now = time.monotonic()
        if not self._limiter.may_try(ip, station.number, now):
            return False
        if self._verifier.is_right(station.password, password):
            self._limiter.right(ip, station.number)
            return True
        self._limiter.wrong(ip, station.number, now)
        return False

    def _refuse(self, code: str, station: stations.Station | None, why: str) -> Response:
        self.activity.refused(code)
        number = -1 if station is None else station.number
        now = time.monotonic()
        if now - self._logged.get(number, -LOG_EVERY) >= LOG_EVERY:
            self._logged[number] = now
            who = None if station is None else number
            log.warning("upload refused", extra={"station": who, "code": code, "why": why})
        return _answer(code)


def read_stations(config: HisparcConfig) -> dict[int, stations.Station]:
    """The stations of ``hisparc.station_list``, none without it. Raises StationListError."""
    return stations.load(config.station_list) if config.station_list else {}


@action(lane="bulk")
def upload(application: InsertApplication, ip: str | None, args: Args) -> Response:
    """Take a station's upload; see ``Uploads.take``."""
    uploads: Uploads = application.program.hisparc  # type: ignore[attr-defined]
    return uploads.take(args.body, ip, application.clock(), application.server.push_message)


def _answer(code: str, settled: Callable[[bool], None] | None = None) -> Response:
    return Response(200, code.encode(), "text/plain", settled=settled)
