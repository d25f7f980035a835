"""GeoJSON (RFC 7946) of payloads, their tracks, and stations. No I/O."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from habitat_like.console.tracks import Payload, Station
from habitat_like.telemetry.flights import Moment
from habitat_like.telemetry.geodesy import Place
from habitat_like.telemetry.track import GAP, Track

#: Seconds before a payload's last fix in which its present receivers heard it; how many are named.
RECENT, NAMED = 600, 20

#: A position of GeoJSON.
Coordinates = tuple[float, ...]


class Line(NamedTuple):
    """A line: the UNIX times of its coordinates, and these."""

    times: list[int]
    coordinates: list[Coordinates]


def track_feature(payload: Payload, chosen: range) -> dict[str, Any] | None:
    """The way of a payload over the points ``chosen``, None for less than two.

    ``times`` in its properties are those of its coordinates, in UNIX seconds.
    """
    found = [line for line in lines(payload.track, chosen) if len(line.times) > 1]
    if not found:
        return None
    return {
        "type": "Feature",
        "id": f"track/{payload.key}",
        "geometry": {
            "type": "MultiLineString",
            "coordinates": [line.coordinates for line in found],
        },
        "properties": {
            "kind": "track",
            "payload": payload.key,
            "times": [line.times for line in found],
        },
    }


def payload_feature(summary: dict[str, Any]) -> dict[str, Any]:
    """Where a payload was last, with its ``summary``."""
    place = Place(summary["latitude"], summary["longitude"], summary["altitude"])
    return {
        "type": "Feature",
        "id": f"payload/{summary['payload']}",
        "geometry": {"type": "Point", "coordinates": coordinates(place)},
        "properties": {"kind": "payload", **summary},
    }


def station_feature(callsign: str, station: Station, page: str) -> dict[str, Any]:
    """Where a station is, and its ``page``."""
    position = station.position
    place = Place(position.latitude, position.longitude, position.altitude)
    return {
        "type": "Feature",
        "id": f"station/{callsign}",
        "geometry": {"type": "Point", "coordinates": coordinates(place)},
        "properties": {
            "kind": "station",
            "callsign": callsign,
            "time": int(station.time),
            "page": page,
        },
    }


def moment_feature(payload: str, name: str, moment: Moment) -> dict[str, Any]:
    """Where something happened to a payload: its launch, its burst or its landing."""
    return {
        "type": "Feature",
        "id": f"{name}/{payload}",
        "geometry": {"type": "Point", "coordinates": coordinates(moment.place)},
        "properties": {
            "kind": "moment",
            "payload": payload,
            "name": name,
            "time": int(moment.time),
        },
    }


def summarize(payload: Payload, chosen: range, page: str) -> dict[str, Any]:
    """What is known of a payload at the last of the points ``chosen``, of which there is one.

    ``time`` is when it was last heard; ``receivers`` are those who heard it shortly before that,
    the last first. ``ascent_rate`` is in metres a second.
    """
    track = payload.track
    last = chosen[-1]
    place = track.place(last)
    # A fix that is told again is one point: the payload was heard since.
    is_end = last == len(track) - 1
    time = track.seen if is_end else track.times[last]
    rate = track.rate(last)
    receivers = [
        callsign
        for callsign, heard in sorted(payload.receivers.items(), key=lambda one: -one[1])
        if time - RECENT <= heard <= time + RECENT
    ]
    return {
        "payload": payload.key,
        "name": payload.name,
        "time": int(time),
        "latitude": round(place.latitude, 5),
        "longitude": round(place.longitude, 5),
        "altitude": None if place.altitude is None else round(place.altitude),
        "ascent_rate": None if rate is None else round(rate, 1),
        "networks": sorted(payload.networks),
        "receivers": receivers[:NAMED],
        "more_receivers": max(len(receivers) - NAMED, 0),
        "points": len(chosen),
        "page": page,
    }


def lines(track: Track, chosen: range) -> list[Line]:
    """The points ``chosen`` as lines: cut where a flight ended, and at the antimeridian.

    RFC 7946 3.1.9 wants the latter: one part ends at 180 degrees, the next begins at -180.
    """
    first, last = chosen.start, chosen.stop
    times, longitudes = track.times[first:last], track.longitudes[first:last]
    steps = zip(itertools.pairwise(times), itertools.pairwise(longitudes), strict=True)
    cuts = [
        at
        for at, ((before, after), (west, east)) in enumerate(steps, 1)
        if after - before >= GAP or abs(east - west) > 180
    ]
    altitudes = track.altitudes[first:last]
    points: list[Coordinates] = list(
        zip(longitudes, track.latitudes[first:last], altitudes, strict=True)
    )
    if any(map(math.isnan, altitudes)):
        points = [one[:2] if math.isnan(one[-1]) else one for one in points]
    found = []
    for begin, end in itertools.pairwise((0, *cuts, len(times))):
        found.append(Line([int(time) for time in times[begin:end]], points[begin:end]))
    for (one, other), at in zip(itertools.pairwise(found), cuts, strict=True):
        if times[at] - times[at - 1] < GAP:
            _join_at_antimeridian(one, other)
    return found


def coordinates(place: Place) -> Coordinates:
    """A position of GeoJSON: longitude, latitude, and the altitude if known."""
    found = round(place.longitude, 5), round(place.latitude, 5)
    return found if place.altitude is None else (*found, round(place.altitude, 1))


def collection(features: Iterable[Any], **members: Any) -> dict[str, Any]:
    """A FeatureCollection with further members (RFC 7946 6.1)."""
    return {"type": "FeatureCollection", **members, "features": list(features)}


def _join_at_antimeridian(one: Line, other: Line) -> None:
    """Have a line end, and the next one begin, where the way between them meets it."""
    here, there = one.coordinates[-1], other.coordinates[0]
    side = math.copysign(180.0, here[0])
    left = abs(side - here[0])
    whole = left + abs(-side - there[0])
    part = left / whole if whole else 0.0
    middle = [
        round(low + part * (high - low), 5) for low, high in zip(here[1:], there[1:], strict=False)
    ]
    time = int(one.times[-1] + part * (other.times[0] - one.times[-1]))
    one.coordinates.append((side, *middle))
    other.coordinates.insert(0, (-side, *middle))
    one.times.append(time)
    other.times.insert(0, time)
