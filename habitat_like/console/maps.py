"""The map: payloads with their tracks, and the stations that hear them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Blueprint, Response, render_template, request

from habitat_like.console.features import (
    collection,
    payload_feature,
    station_feature,
    summarize,
    track_feature,
)
from habitat_like.console.pages import (
    address,
    page_errors,
    payload_page,
    station_page,
)
from habitat_like.console.policy import this_tiles, with_tiles
from habitat_like.console.tracks import Payload
from habitat_like.console.views import View, this_views
from habitat_like.console.windows import CHOICES, USUAL, Window, read_window

blueprint = Blueprint("maps", __name__)

#: Payloads in the table, and stations on the map: the last heard.
ROWS, STATIONS = 100, 1000

_encode = msgspec.json.Encoder().encode


@blueprint.get("/map")
@with_tiles
def live() -> str | tuple[str, int]:
    """The map, and the same as a table."""
    now = time.time()
    window = read_window(request.args, now)
    data: dict[str, Any] = {"payloads": [], "total": 0, "networks": [], "reading": None}
    problem = None
    if not window.problems:
        view = look(window, now)
        with view.lock:
            found = list(window.find(view.tracks))
            data = {
                "payloads": [_summary(*one) for one in found[:ROWS]],
                "total": len(found),
                "networks": sorted({name for one, _ in found for name in one.networks}),
                "reading": reading(view, window),
            }
            problem = view.problem
    page = render_template(
        "map.html",
        filter=window.written,
        problems=window.problems,
        problem=problem,
        data_address=address("maps.live_json", window.written),
        choices=CHOICES,
        usual=USUAL,
        tiles=this_tiles(),
        **data,
    )
    return page, 400 if window.problems else 503 if problem else 200


@blueprint.get("/map.json")
def live_json() -> Response:
    """The map as GeoJSON; with ``after``, the ``cursor`` of an earlier answer, only what changed.

    ``payloads`` are the keys of all that are on the map, changed or not.
    """
    now = time.time()
    window = read_window(request.args, now)
    members: dict[str, Any] = {"now": now, "filter": window.written, "problems": window.problems}
    if window.problems:
        return geojson(collection([], **members, problem=None), 400)
    with page_errors():
        view = look(window, now)
    with view.lock:
        found = list(window.find(view.tracks))
        after = _version(view, request.args.get("after", ""))
        answer = collection(
            _features(view, found, after),
            **members,
            problem=view.problem,
            reading=reading(view, window),
            cursor=f"{view.epoch}.{view.tracks.version}",
            payloads=[payload.key for payload, _ in found],
        )
        problem = view.problem
    return geojson(answer, 503 if problem else 200)


def look(window: Window, now: float) -> View:
    """The view that has the window in it, with what is new; it reads on once we have answered."""
    views = this_views()
    view = views.of(window.since, window.until, now)
    views.read(view)
    return view


def reading(view: View, window: Window) -> dict[str, Any] | None:
    """How far back the archive is read, None once the window is; for who has the view's lock."""
    if view.reached <= window.since:
        return None
    return {
        "since": window.since,
        "reached": None if math.isinf(view.reached) else int(view.reached),
    }


def _features(view: View, found: list[tuple[Payload, range]], after: int) -> Iterator[Any]:
    for payload, chosen in found:
        if payload.version > after:
            yield payload_feature(_summary(payload, chosen))
            if (track := _drawn(payload, chosen)) is not None:
                yield track
    for callsign, station in itertools.islice(reversed(view.tracks.stations.items()), STATIONS):
        if station.version > after:
            yield station_feature(callsign, station, station_page(callsign))


def _drawn(payload: Payload, chosen: range) -> msgspec.Raw | None:
    """The track as JSON, made anew only where it differs."""
    key = payload.version, chosen
    if payload.drawn is None or payload.drawn[0] != key:
        feature = track_feature(payload, chosen)
        payload.drawn = key, None if feature is None else msgspec.Raw(_encode(feature))
    return payload.drawn[1]


def _summary(payload: Payload, chosen: range) -> dict[str, Any]:
    return summarize(payload, chosen, payload_page(payload.key))


def _version(view: View, cursor: str) -> int:
    """The version of the view that a viewer has; none of another view."""
    epoch, _, version = cursor.partition(".")
    known = epoch == view.epoch and version.isascii() and version.isdigit()
    return int(version) if known else -1


def geojson(answer: dict[str, Any], status: int) -> Response:
    """The answer of an address that has GeoJSON."""
    return Response(_encode(answer) + b"\n", status, mimetype="application/geo+json")
