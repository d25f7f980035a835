"""GeoJSON (RFC 7946) of payloads, their tracks, and stations. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from habitat_like.console.tracks import Payload, Station
from habitat_like.telemetry.flights import Moment
from habitat_like.telemetry.geodesy import Place
from habitat_like.telemetry.track import GAP, Track

#: Seconds before a payload's last fix in which its present receivers heard it; how many are named.
RECENT, NAMED = 600, 20

#: A point of a line: UNIX seconds, and where.
Point = tuple[float, Place]


def track_feature(payload: Payload, chosen: range) -> dict[str, Any] | None:
    """The way of a payload over the points ``chosen``, None for less than two.

    ``times`` in its properties are those of its coordinates, in UNIX seconds.
    """
    found = [line for line in lines(payload.track, chosen) if len(line) > 1]
    if not found:
        return None
    return {
        "type": "Feature",
        "id": f"track/{payload.key}",
        "geometry": {
            "type": "MultiLineString",
            "coordinates": [[coordinates(place) for _, place in line] for line in found],
        },
        "properties": {
            "kind": "track",
            "payload": payload.key,
            "times": [[int(time) for time, _ in line] for line in found],
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


def lines(track: Track, chosen: Sequence[int]) -> list[list[Point]]:
    """The points ``chosen`` as lines: cut where a flight ended, and at the antimeridian.

    RFC 7946 3.1.9 wants the latter: one part ends at 180 degrees, the next begins at -180.
    """
    found: list[list[Point]] = []
    line: list[Point] = []
    for at in chosen:
        time, place = track.times[at], track.place(at)
        if line and time - line[-1][0] >= GAP:
            found.append(line)
            line = []
        elif line and abs(place.longitude - line[-1][1].longitude) > 180:
            end, begin = _crossing(line[-1], (time, place))
            found.append([*line, end])
            line = [begin]
        line.append((time, place))
    return [*found, line] if line else found


def coordinates(place: Place) -> list[float]:
    """A position of GeoJSON: longitude, latitude, and the altitude if known."""
    found = [round(place.longitude, 5), round(place.latitude, 5)]
    return found if place.altitude is None else [*found, round(place.altitude, 1)]


def collection(features: Iterable[Any], **members: Any) -> dict[str, Any]:
    """A FeatureCollection with further members (RFC 7946 6.1)."""
    return {"type": "FeatureCollection", **members, "features": list(features)}


def _crossing(one: Point, other: Point) -> tuple[Point, Point]:
    """Where the short way from one point to the other meets the antimeridian, on both sides."""
    side = math.copysign(180.0, one[1].longitude)
    left = abs(side - one[1].longitude)
    whole = left + abs(-side - other[1].longitude)
    part = left / whole if whole else 0.0

    def between(begin: float, end: float) -> float:
        return begin + part * (end - begin)

    low, high = one[1].altitude, other[1].altitude
    altitude = None if low is None or high is None else between(low, high)
    time = between(one[0], other[0])
    latitude = between(one[1].latitude, other[1].latitude)
    return (time, Place(latitude, side, altitude)), (time, Place(latitude, -side, altitude))
