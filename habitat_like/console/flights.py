"""Payloads and their flights: lists, and a page for each flight from launch to landing."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from habitat_like.console.drawing import Plot
from habitat_like.console.exports import formats
from habitat_like.console.features import (
    collection,
    moment_feature,
    payload_feature,
    station_feature,
    summarize,
    track_feature,
)
from habitat_like.console.maps import geojson, look, reading
from habitat_like.console.pages import PageError, address, answer_with, page, payload_page
from habitat_like.console.plots import figure, plot
from habitat_like.console.policy import this_tiles, with_tiles
from habitat_like.console.receivers import Receivers
from habitat_like.console.record import Record
from habitat_like.console.records import this_records
from habitat_like.console.timelines import altitude_plot, distance_plot, value_plot
from habitat_like.console.tracks import Payload
from habitat_like.console.windows import LONGEST, read_window
from habitat_like.message.message import to_callsign
from habitat_like.telemetry.flights import Flight, flight
from habitat_like.telemetry.thinning import flights
from habitat_like.telemetry.track import GAP, REPEAT

blueprint = Blueprint("flights", __name__)

#: The window of lists, without a filter, and payloads in the list.
USUAL, ROWS = "31d", 500
#: Plots of values on a flight's page.
PLOTS = 24


@page(blueprint, "/payloads", "payloads.html")
def payloads() -> dict[str, Any]:
    """The payloads that told a position in a window of time."""
    now = time.time()
    window = read_window(request.args, now, USUAL)
    data: dict[str, Any] = {
        "now": now,
        "filter": window.written,
        "problems": window.problems,
        "problem": None,
        "payloads": [],
        "total": 0,
        "networks": [],
        "reading": None,
    }
    if window.problems:
        answer_with(400)
        return data
    view = look(window, now)
    with view.lock:
        found = list(window.find(view.tracks))
        return {
            **data,
            "problem": view.problem,
            "payloads": [_listed(*one) for one in found[:ROWS]],
            "total": len(found),
            "networks": sorted({name for one, _ in found for name in one.networks}),
            "reading": reading(view, window),
        }


@page(blueprint, "/payloads/<path:name>", "payload.html")
@with_tiles
def payload(name: str) -> dict[str, Any]:
    """The flights of one payload in a window of time, the last one first."""
    now = time.time()
    key = _key(name)
    times = {one: request.args.get(one, "") for one in ("since", "until")}
    window = read_window(times, now, USUAL)
    if window.problems:
        field, text = next(iter(window.problems.items()))
        raise PageError(400, f"{field}: {text}")
    view = look(window, now)
    with view.lock:
        known = view.tracks.payloads.get(key)
        chosen = range(0) if known is None else known.track.between(window.since, window.end)
        still = reading(view, window)
        problem = view.problem
        listed = [] if known is None else _flights(known, chosen)
        summary = _summary(known, chosen) if known is not None and chosen else None
    if not listed:
        answer_with(503 if problem else 200 if still else 404)
    earlier = int(listed[-1]["flight"].first.time if listed and still else window.since)
    return {
        "now": now,
        "payload": key,
        "name": key if summary is None else summary["name"],
        "last": summary,
        "flights": listed,
        "reading": still,
        "problem": problem,
        "since": window.since,
        "until": window.until,
        "data_address": address(
            "maps.live_json", {**window.written, "since": str(window.since), "payload": key}
        ),
        "tiles": this_tiles(),
        "downloads": _downloads(summary["name"], window.since, min(window.end, now))
        if summary
        else {},
        "earlier": address(
            "flights.payload",
            {"since": str(max(earlier - LONGEST, 0)), "until": str(earlier)},
            name=key,
        ),
    }


@page(blueprint, "/payloads/<path:name>/flights/<int:moment>", "flight.html")
@with_tiles
def one_flight(name: str, moment: int) -> dict[str, Any]:
    """A flight: the one in which the payload was heard at that UNIX time, or near it."""
    record = _record(name, moment)
    with record.lock:
        told = _flight(record)
        if told is None:
            if record.problem is None and record.has_track:
                raise PageError(404, f"{record.key} told no position at that time, or near it.")
            answer_with(503 if record.problem else 200)
        receivers = Receivers(record)
        station, where = receivers.choose(request.args.get("station", ""))
        names = [one for one, values in record.values.items() if len(set(values.values)) > 1]
        data = {
            "now": time.time(),
            "payload": record.key,
            "name": record.name,
            "moment": moment,
            "flight": told,
            "is_over": record.is_over,
            "last": record.last,
            "networks": sorted(record.networks),
            "reading": not record.is_whole,
            "has_track": record.has_track,
            "problem": record.problem,
            "points": len(record.points),
            "receivers": receivers.rows(),
            "packets": sum(map(len, receivers.heard.values())),
            "station": station,
            "stations": sorted(receivers.places),
            "from_station": receivers.extremes(station),
            "values": sorted(record.values),
            # At rest, the last fix was told again for so long.
            "downloads": _downloads(record.name, record.first, record.last + REPEAT),
        }
    arguments = {"payload": record.key, "moment": str(moment)}
    made: dict[str, Any] = {}
    if told is not None:
        made["altitude"] = _figure(record, "altitude", altitude_plot, arguments)
        if station is not None and where is not None:
            made["distance"] = _figure(
                record,
                "distance",
                lambda one: distance_plot(one, station, where),
                {**arguments, "station": station},
            )
        for one in names[:PLOTS]:
            draw = functools.partial(value_plot, name=one)
            made[f"value {one}"] = _figure(record, "value", draw, {**arguments, "value": one})
    return {
        **data,
        "plots": made,
        "more_values": max(len(names) - PLOTS, 0),
        "data_address": address("flights.flight_map", {}, name=record.key, moment=moment),
        "tiles": this_tiles(),
        "payload_page": payload_page(record.key),
    }


@blueprint.get("/payloads/<path:name>/flights/<int:moment>/map.json")
def flight_map(name: str, moment: int) -> Response:
    """The flight as GeoJSON: its track, its launch, burst and landing, and who heard it."""
    record = _record(name, moment)
    with record.lock:
        told = _flight(record)
        if told is None and record.has_track and record.problem is None:
            raise PageError(404, f"{record.key} told no position at that time, or near it.")
        cursor = record.state
        features: list[Any] = []
        if told is not None and request.args.get("after") != cursor:
            features = _features(record, told)
        answer = collection(
            features,
            now=time.time(),
            problem=record.problem,
            reading=None if record.is_whole else {"since": int(record.first), "reached": None},
            cursor=cursor,
            payloads=[] if told is None else [record.key],
        )
        problem = record.problem
    return geojson(answer, 503 if problem else 200)


@plot(blueprint, "/plots/flight-altitude.svg")
def altitude() -> Plot:
    """Altitude over time."""
    return _plotted(altitude_plot)


@plot(blueprint, "/plots/flight-value.svg")
def value() -> Plot:
    """One value over time."""
    return _plotted(lambda record: value_plot(record, request.args.get("value", "")))


@plot(blueprint, "/plots/flight-distance.svg")
def distance() -> Plot:
    """The distance from a station over time."""

    def draw(record: Record) -> Plot:
        station, place = Receivers(record).choose(request.args.get("station", ""))
        if station is None or place is None:
            raise PageError(404, "No station with a known position heard this flight.")
        return distance_plot(record, station, place)

    return _plotted(draw)


def _plotted(draw: Callable[[Record], Plot]) -> Plot:
    moment = request.args.get("moment", "")
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 10):
        raise PageError(400, "moment: a time in the flight, in UNIX seconds")
    record = _record(request.args.get("payload", ""), int(moment))
    with record.lock:
        return draw(record)


def _figure(
    record: Record, name: str, draw: Callable[[Record], Plot], arguments: dict[str, str]
) -> dict[str, Any]:
    """A plot as the page has it. Another state of the record is another picture."""

    def make() -> Plot:
        with record.lock:
            return draw(record)

    return figure(f"flights.{name}", make, **arguments, state=record.drawn)


def _downloads(name: str, first: float, last: float) -> dict[str, dict[str, str]]:
    """All that was said of a payload from one UNIX time to another, by format."""
    times = {"since": str(int(first)), "until": str(int(last) + 1)}
    return {
        form: {
            "title": title,
            "address": address("exports.download", {"format": form, "payload": name, **times}),
        }
        for form, title in formats().items()
    }


def _record(name: str, moment: int) -> Record:
    return this_records().of(_key(name), moment)


def _key(name: str) -> str:
    key = to_callsign(name)
    if not key:
        raise PageError(404, "There is no payload without a name.")
    return key


def _flight(record: Record) -> Flight | None:
    points = record.points
    return flight(record.track, points[0], points[-1] + 1) if points else None


def _flights(payload: Payload, chosen: range) -> list[dict[str, Any]]:
    """The flights of a payload among the points ``chosen``, the last one first."""
    times = payload.track.times
    found = []
    for first, last in flights(times[chosen.start : chosen.stop], GAP):
        told = flight(payload.track, chosen.start + first, chosen.start + last)
        is_newest = chosen.start + last == len(payload.track)
        found.append(
            {
                "flight": told,
                "page": f"{payload_page(payload.key)}/flights/{int(told.first.time)}",
                "is_over": time.time() - (payload.track.seen if is_newest else told.last.time)
                >= GAP,
            }
        )
    return found[::-1]


def _listed(payload: Payload, chosen: range) -> dict[str, Any]:
    times = payload.track.times
    summary = _summary(payload, chosen)
    count = len(flights(times[chosen.start : chosen.stop], GAP))
    return {**summary, "flights": count, "first": int(times[chosen[0]])}


def _summary(payload: Payload, chosen: range) -> dict[str, Any]:
    return summarize(payload, chosen, payload_page(payload.key))


def _features(record: Record, told: Flight) -> list[Any]:
    receivers = Receivers(record)
    payload = Payload(
        key=record.key,
        name=record.name,
        track=record.track,
        networks=record.networks,
        receivers={callsign: float(times[-1]) for callsign, times in receivers.heard.items()},
    )
    page_of = payload_page(record.key)
    found: list[Any] = [payload_feature(summarize(payload, record.points, page_of))]
    if (track := track_feature(payload, record.points)) is not None:
        found.append(track)
    for name in ("launch", "burst", "landing"):
        if (moment := getattr(told, name)) is not None:
            found.append(moment_feature(record.key, name, moment))
    for callsign, station in receivers.stations.items():
        found.append(station_feature(callsign, station, receivers.page(callsign)))
    return found
