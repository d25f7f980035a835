"""Receivers: who heard a flight, how often, and from how far."""

from __future__ import annotations

import time
from typing import Any

from habitat_like.console.pages import station_page
from habitat_like.console.record import Record
from habitat_like.console.tracks import Station
from habitat_like.console.views import this_views
from habitat_like.statistics.tables import DAY, HOUR
from habitat_like.telemetry.geodesy import Place, bearing, distance, wind


class Receivers:
    """Who heard a flight. For who has the record's lock.

    ``heard`` has when each heard it, in UNIX seconds; ``places`` where they are, as far as that is
    known, and ``stations`` the same as they told it.
    """

    def __init__(self, record: Record) -> None:
        now = time.time()
        views = this_views()
        since, until = int(record.first) - HOUR, int(record.last) + HOUR
        is_recent = since > now - DAY
        view = views.of(since, None if is_recent else until, now)
        views.read(view)
        self.heard = record.heard_by()
        with view.lock:
            known = view.tracks.stations
            self.stations: dict[str, Station] = {
                callsign: known[callsign] for callsign in self.heard if callsign in known
            }
        self.places = {
            callsign: Place(one.position.latitude, one.position.longitude, one.position.altitude)
            for callsign, one in self.stations.items()
        }
        self._record = record

    def choose(self, callsign: str) -> tuple[str | None, Place | None]:
        """The station of this callsign, else the one that heard most; (None, None) without any.

        Only those with a known place count.
        """
        callsign = callsign.strip().upper()
        if callsign not in self.places:
            callsign = max(self.places, key=lambda one: len(self.heard[one]), default="")
        return (callsign, self.places[callsign]) if callsign else (None, None)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each, the one that heard most first.

        ``distance`` (metres), ``bearing`` (degrees) and ``wind`` lead from it to the payload's last
        fix; None where its place is unknown.
        """
        track, points = self._record.track, self._record.points
        last = track.place(points[-1]) if points else None
        found = []
        for callsign, times in sorted(self.heard.items(), key=lambda one: (-len(one[1]), one[0])):
            row: dict[str, Any] = {
                "callsign": callsign,
                "packets": len(times),
                "first": times[0],
                "last": times[-1],
                "page": self.page(callsign),
                "distance": None,
                "bearing": None,
                "wind": None,
            }
            place = self.places.get(callsign)
            if place is not None and last is not None:
                degrees = bearing(place, last)
                row |= {"distance": round(distance(place, last)), "bearing": round(degrees) % 360}
                row["wind"] = wind(degrees)
            found.append(row)
        return found

    def extremes(self, callsign: str | None) -> dict[str, Any] | None:
        """Metres along the ground from a station to the nearest and the farthest fix."""
        track, points = self._record.track, self._record.points
        place = self.places.get(callsign or "")
        if place is None or not points:
            return None
        metres = [distance(place, track.place(at)) for at in points]
        return {"nearest": round(min(metres)), "farthest": round(max(metres))}

    @staticmethod
    def page(callsign: str) -> str:
        """The address of a station's page."""
        return station_page(callsign)
