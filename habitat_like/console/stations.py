"""Stations: who sends, who fell silent, whose clock is wrong; a page for each."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from flask import Blueprint, request

from habitat_like import times
from habitat_like.archive import ArchiveError, Query
from habitat_like.archive.base import Document
from habitat_like.config.keys import ConfigError
from habitat_like.console import plots
from habitat_like.console.archives import this_archives
from habitat_like.console.drawing import Plot, of_series
from habitat_like.console.pages import PageError, address, link, page, station_page, statistics
from habitat_like.console.payloads import summarize
from habitat_like.console.plots import plot
from habitat_like.statistics import HeardStation
from habitat_like.statistics.aggregator import KNOWN_FOR, SILENT_AFTER
from habitat_like.statistics.tables import DAY, HOUR
from habitat_like.times import MAX_TIME

blueprint = Blueprint("stations", __name__)

#: Stations on one page, and messages on the page of one.
PAGE = 100
LAST = 20
#: What can be sorted by, and the heads of these columns; times and numbers begin with the largest.
COLUMNS = {
    "callsign": "Callsign",
    "name": "Name",
    "last_heard": "Last heard",
    "messages_today": "Today",
    "messages": "Total",
    "clock_offset": "Clock",
}
DESCENDING = frozenset({"last_heard", "messages_today", "messages", "clock_offset"})
#: Seconds by which a clock may differ without mention: messages take time to arrive.
RIGHT = 2
#: Seconds from which it is marked.
TOLERATED = 30


@page(blueprint, "/stations", "stations.html")
def stations() -> dict[str, Any]:
    """A page of the list of stations, as the query string asks."""
    now = time.time()
    sort = request.args.get("sort", "last_heard")
    if sort not in COLUMNS:
        raise PageError(400, f"sort: one of {', '.join(COLUMNS)}")
    descending = (
        _choice("order", ("desc", "asc"), "desc" if sort in DESCENDING else "asc") == "desc"
    )
    show = _choice("show", ("all", "heard", "silent"), "all")
    silent_after = _silent_after(now)
    border = now - silent_after
    found = statistics().stations(
        request.args.get("search") or None,
        sort,
        descending=descending,
        heard_since={"heard": border, "silent": now - KNOWN_FOR}.get(show, 0),
        heard_before=border if show == "silent" else MAX_TIME,
        limit=PAGE + 1,
        after=_after(),
    )
    shown = found.stations[:PAGE]
    more = None
    if len(found.stations) > PAGE:
        last = shown[-1]
        cursor = msgspec.json.encode((getattr(last, sort), last.callsign)).decode()
        more = _address(after=cursor)
    return {
        "now": now,
        "search": request.args.get("search", ""),
        "show": show,
        "silent_after": silent_after,
        "sort": sort,
        "order": "desc" if descending else "asc",
        "total": found.total,
        "stations": [_described(one, now, silent_after) for one in shown],
        "columns": [_column(name, sort, descending) for name in COLUMNS],
        "next": more,
        "first": _address(after=None),
        "is_first": "after" not in request.args,
    }


@page(blueprint, "/station", "station.html")
def station() -> dict[str, Any]:
    """What is known of one station, and its last messages."""
    now = time.time()
    callsign = _callsign()
    known = statistics().station(callsign)
    messages, problem = _messages(callsign)
    if known is None and not messages:
        why = f" (and the archive can't be read: {problem})" if problem else ""
        raise PageError(404, f"No station {callsign!r} was heard{why}.")
    return {
        "now": now,
        "callsign": callsign,
        "station": known and _described(known, now, SILENT_AFTER),
        "messages": messages,
        "archive_problem": problem,
        "all_messages": link("messages.messages", callsign=callsign),
        "plots": {
            view.__name__: plots.figure(f"stations.{view.__name__}", view, callsign=callsign)
            for view in (station_day, station_week)
        }
        if known
        else {},
    }


@plot(blueprint, "/plots/station-day.svg")
def station_day() -> Plot:
    """A station's messages in each hour of the last day."""
    return _station_plot(DAY, HOUR, "Messages per hour, last day", "messages an hour")


@plot(blueprint, "/plots/station-week.svg")
def station_week() -> Plot:
    """A station's messages in each two hours of the last week."""
    return _station_plot(
        7 * DAY, 2 * HOUR, "Messages per two hours, last week", "messages in two hours"
    )


def _station_plot(seconds: int, step: int, title: str, unit: str) -> Plot:
    callsign = _callsign()
    until = int(time.time()) // HOUR * HOUR + HOUR
    series = statistics().series("hour", until - seconds, until, callsign)
    return of_series(series, step, title=f"{callsign}: {title}", unit=unit)


def clock_words(offset: int | None) -> str:
    """A clock's difference in words, such as ``12 s ahead``."""
    if offset is None:
        return "unknown"
    if abs(offset) <= RIGHT:
        return "right"
    return f"{times.show_age(abs(offset))} {'ahead' if offset > 0 else 'behind'}"


def place_words(latitude: float, longitude: float, altitude: float) -> str:
    """A position in words, in degrees and metres."""
    north = f"{abs(latitude):.5f}° {'N' if latitude >= 0 else 'S'}"
    east = f"{abs(longitude):.5f}° {'E' if longitude >= 0 else 'W'}"
    return f"{north}, {east}, {altitude:,.0f} m"


def _described(station: HeardStation, now: float, silent_after: float) -> dict[str, Any]:
    """A station with values derived from what is known about it."""
    ago = now - station.last_heard
    state = "heard" if ago <= silent_after else "silent" if ago <= KNOWN_FOR else "gone"
    position = None
    if station.latitude is not None and station.longitude is not None:
        position = place_words(station.latitude, station.longitude, station.altitude or 0)
    return {
        **msgspec.structs.asdict(station),
        "state": state,
        "clock": clock_words(station.clock_offset),
        "clock_is_wrong": abs(station.clock_offset or 0) > TOLERATED,
        "position": position,
        "page": station_page(station.callsign),
    }


def _messages(callsign: str) -> tuple[list[dict[str, Any]], str | None]:
    """The station's last messages, and why there are none if the archive can't be queried."""
    try:
        with this_archives().lend() as archive:
            query = Query(callsign=callsign, limit=LAST, suspicious=True)
            # One by one, as each can be large.
            return [_listed(one) for one in archive.query(query)], None
    except (ArchiveError, ConfigError) as error:
        return [], str(error)


def _listed(message: Document) -> dict[str, Any]:
    return {
        "id": message.get("_id"),
        "type": message.get("type"),
        "time_created": message.get("time_created"),
        "time_uploaded": message.get("time_uploaded"),
        "suspicious": message.get("suspicious"),
        "summary": summarize(message),
        "page": link("messages.message", identifier=message.get("_id")),
    }


def _callsign() -> str:
    callsign = request.args.get("callsign", "").strip().upper()
    if not callsign:
        raise PageError(400, "callsign: name a station")
    return callsign


def _choice(name: str, values: tuple[str, ...], default: str) -> str:
    value = request.args.get(name) or default
    if value not in values:
        raise PageError(400, f"{name}: one of {', '.join(values)}")
    return value


def _silent_after(now: float) -> float:
    """The length of time in the query string, such as ``2h``, in seconds."""
    text = request.args.get("silent_after", "").strip()
    try:
        return min(times.parse_length(text), now) if text else SILENT_AFTER
    except ValueError as error:
        raise PageError(400, f"silent_after: {error}") from None


def _after() -> tuple[Any, str] | None:
    """The end of the previous page, as given in this one's address."""
    text = request.args.get("after")
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=tuple[str | float | None, str])
    except msgspec.DecodeError:
        raise PageError(400, "after: take the address of the next page from a page") from None


def _column(name: str, sort: str, descending: bool) -> dict[str, Any]:
    """A column's head: how the list is sorted by it, and the address that sorts it so."""
    order = "desc" if name in DESCENDING else "asc"
    if name == sort:
        order = "asc" if descending else "desc"
    return {
        "column": name,
        "name": COLUMNS[name],
        "is_number": name in ("messages_today", "messages"),
        "sorted": None if name != sort else "descending" if descending else "ascending",
        "page": _address(sort=name, order=order, after=None),
    }


def _address(**changes: str | None) -> str:
    """The current list's address with other arguments; None removes one."""
    arguments = {**request.args.to_dict(), **changes}
    query = {name: value for name, value in arguments.items() if value is not None}
    return address("stations.stations", query)
