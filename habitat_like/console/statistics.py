"""Statistics: what came in over a day, a week, a month or a year; all of it as CSV too."""

from __future__ import annotations

import csv
import functools
import http
import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from flask import Blueprint, Response, request, url_for

from habitat_like.console import plots
from habitat_like.console.drawing import MONDAY, WEEK, Plot, of_series
from habitat_like.console.kept import kept
from habitat_like.console.pages import (
    PageError,
    page,
    page_errors,
    station_page,
    statistics,
    this_program,
)
from habitat_like.console.plots import plot
from habitat_like.http.status import status
from habitat_like.statistics import (
    Backlog,
    Disk,
    Latency,
    NetworkCount,
    NetworkSum,
    Requests,
    Series,
    Top,
)
from habitat_like.statistics.reader import STEPS, Step
from habitat_like.statistics.tables import DAY, HOUR

blueprint = Blueprint("statistics", __name__)

#: Stations in the list of those with the most messages, and in its CSV.
TOP = 20
MOST = 100_000
#: Seconds for which that list is kept.
LONG = 300
#: Kinds of errors that are drawn each by itself.
STATUSES = 4


class Range(NamedTuple):
    """What a page covers: ``seconds`` up to now, told in ``step``s, drawn in ``drawn`` seconds.

    ``top`` is the range that the stations with the most messages are of: of a year they take
    seconds to find, and are in the CSV alone.
    """

    name: str
    seconds: int
    step: Step
    drawn: int
    top: str


RANGES = {
    "day": Range("last 24 hours", DAY, "hour", HOUR, "day"),
    "week": Range("last 7 days", 7 * DAY, "hour", 2 * HOUR, "week"),
    "month": Range("last 30 days", 30 * DAY, "day", DAY, "month"),
    "year": Range("last year", 365 * DAY, "day", WEEK, "month"),
}


@page(blueprint, "/statistics", "statistics.html")
def totals() -> dict[str, Any]:
    """Totals, the stations with the most messages, and what requests were answered."""
    name, chosen = _range()
    since, until = _times(chosen)
    state = status(this_program().gateway)
    within = kept().get(("totals", since, until), lambda: statistics().totals(since, until))
    ever = statistics().totals()
    requests = _requests(chosen)
    top = _top(RANGES[chosen.top])
    of_stations = sum(one.messages for one in top)
    return {
        "range": name,
        "range_name": chosen.name,
        "ranges": [
            {"range": key, "name": one.name, "page": url_for("statistics.totals", range=key)}
            for key, one in RANGES.items()
        ],
        "since": since,
        "until": until,
        "started": state.started,
        "since_start": {
            "accepted": state.messages.accepted,
            "written": state.messages.written,
            "requests": _sum_requests(state.requests),
        },
        "types": [
            {"type": type_, "messages": within.get(type_, 0), "ever": count}
            for type_, count in sorted(ever.items(), key=lambda item: -item[1])
        ],
        "messages": sum(within.values()),
        "ever": sum(ever.values()),
        "top": [
            {
                "callsign": one.callsign,
                "messages": one.messages,
                "share": one.messages / of_stations,
                "page": station_page(one.callsign),
            }
            for one in top[:TOP]
        ],
        "top_name": RANGES[chosen.top].name,
        "stations": len(top),
        "requests": _by_kind(requests),
        "networks": _networks(chosen),
        "plots": {
            view.__name__: plots.figure(f"statistics.{view.__name__}", view, range=name)
            for view in (messages, errors)
            if view is messages or chosen.seconds > DAY
        },
        "csv": {
            table: url_for("statistics.table", table=table, range=name) for table in sorted(TABLES)
        },
    }


@plot(blueprint, "/plots/messages.svg")
def messages() -> Plot:
    """Messages by type over the range."""
    _, chosen = _range()
    units = {HOUR: "an hour", 2 * HOUR: "in two hours", DAY: "a day", WEEK: "a week"}
    unit = f"messages {units[chosen.drawn]}"
    title = f"M{unit[1:]}, the {chosen.name}"
    return of_series(_series(chosen), chosen.drawn, title=title, unit=unit)


@plot(blueprint, "/plots/errors.svg")
def errors() -> Plot:
    """Requests that were refused or failed, by the status of their answers, in days or weeks."""
    _, chosen = _range()
    since, until = _days(chosen)
    step = max(chosen.drawn, DAY)
    days = tuple(range(since, until, DAY))
    found = [one for one in _requests(chosen) if one.status >= 400]
    totals = Counter[int]()
    for one in found:
        totals[one.status] += one.requests
    named = {status for status, _ in totals.most_common(STATUSES)}
    counts: dict[str, list[int]] = {}
    for one in found:
        name = f"{one.status} {_meaning(one.status)}" if one.status in named else "others"
        counts.setdefault(name, [0] * len(days))[(one.day - since) // DAY] += one.requests
    series = Series(DAY, days, {name: tuple(values) for name, values in counts.items()})
    unit = "requests a week" if step == WEEK else "requests a day"
    title = f"Refused or failed {unit}, the {chosen.name}"
    return of_series(series, step, title=title, unit=unit)


@blueprint.route("/statistics/<table>.csv")
def table(table: str) -> Response:
    """One table as CSV, over the range that the query string names."""
    if table not in TABLES:
        raise PageError(
            404, f"There is no table {table!r}; the tables are {', '.join(sorted(TABLES))}."
        )
    name, chosen = _range()
    with page_errors():
        head, rows = TABLES[table](chosen)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    headers = {"Content-Disposition": f'attachment; filename="habitat-{table}-{name}.csv"'}
    return Response(text.getvalue(), 200, headers, content_type="text/csv; charset=utf-8")


Table = tuple[tuple[str, ...], Iterable[Iterable[object]]]


def _messages_table(chosen: Range) -> Table:
    series = _series(chosen)
    columns = [*series.types.values()]
    rows = ((at, *counts, sum(counts)) for at, *counts in zip(series.times, *columns, strict=True))
    return (chosen.step, *series.types, "total"), rows


def _types_table(chosen: Range) -> Table:
    within = statistics().totals(*_times(chosen))
    ever = statistics().totals()
    return ("type", "messages", "ever"), (
        (type_, within.get(type_, 0), count) for type_, count in ever.items()
    )


def _stations_table(chosen: Range) -> Table:
    return ("callsign", "messages"), ((one.callsign, one.messages) for one in _top(chosen))


def _requests_table(chosen: Range) -> Table:
    return _structs(Requests, _requests(chosen))


def _networks_table(chosen: Range) -> Table:
    return _structs(NetworkCount, statistics().networks(*_days(chosen)))


def _latency_table(chosen: Range) -> Table:
    return _structs(Latency, statistics().latencies(*_times(chosen)))


def _backlog_table(chosen: Range) -> Table:
    return _structs(Backlog, statistics().backlog(*_times(chosen)))


def _disk_table(chosen: Range) -> Table:
    return _structs(Disk, statistics().disk(*_times(chosen)))


def _structs(kind: type[msgspec.Struct], rows: Iterable[msgspec.Struct]) -> Table:
    return kind.__struct_fields__, (msgspec.structs.astuple(row) for row in rows)


TABLES: dict[str, Callable[[Range], Table]] = {
    "messages": _messages_table,
    "types": _types_table,
    "stations": _stations_table,
    "requests": _requests_table,
    "networks": _networks_table,
    "latency": _latency_table,
    "backlog": _backlog_table,
    "disk": _disk_table,
}


def _range() -> tuple[str, Range]:
    """The range that the query string names."""
    name = request.args.get("range") or "day"
    if name not in RANGES:
        raise PageError(400, f"range: one of {', '.join(RANGES)}")
    return name, RANGES[name]


def _times(chosen: Range) -> tuple[int, int]:
    """The range in whole steps, the present one included.

    One of days begins at midnight (UTC), one that is drawn in weeks on a Monday.
    """
    step = STEPS[chosen.step]
    until = int(time.time()) // step * step + step
    since = (until if chosen.seconds <= DAY else _midnight(until)) - chosen.seconds
    if chosen.drawn == WEEK:
        since -= (since - MONDAY) % WEEK
    return since, until


def _days(chosen: Range) -> tuple[int, int]:
    """The whole days (UTC) that the range touches."""
    since, until = _times(chosen)
    return since // DAY * DAY, _midnight(until)


def _midnight(when: int) -> int:
    """The end of the day (UTC) in which ``when`` is, ``when`` itself at midnight."""
    return -(-when // DAY) * DAY


# -- numbers that several of these need, asked for once for all users


def _series(chosen: Range) -> Series:
    since, until = _times(chosen)
    return kept().get(
        ("series", chosen.step, since),
        lambda: statistics().series(chosen.step, since, until),
    )


def _top(chosen: Range) -> tuple[Top, ...]:
    # Days are far fewer to sum than hours.
    since, until = _times(chosen) if chosen.seconds <= DAY else _days(chosen)
    return kept().get(("top", chosen.name), lambda: statistics().top(since, until, MOST), LONG)


def _requests(chosen: Range) -> tuple[Requests, ...]:
    since, until = _days(chosen)
    return kept().get(("requests", since, until), lambda: statistics().requests(since, until))


def _networks(chosen: Range) -> tuple[NetworkSum, ...]:
    since, until = _days(chosen)
    return kept().get(("networks", since, until), lambda: statistics().network_sums(since, until))


def _sum_requests(by_action: Mapping[str, Mapping[str, int]]) -> int:
    return sum(sum(counts.values()) for counts in by_action.values())


def _by_kind(requests: Iterable[Requests]) -> list[dict[str, Any]]:
    """Requests by action and status, with what the status means; errors first, then the most."""
    counts: Counter[tuple[str, int]] = Counter()
    for one in requests:
        counts[one.action, one.status] += one.requests
    ordered = sorted(counts.items(), key=lambda item: (item[0][1] < 400, -item[1], item[0]))
    return [
        {"action": action, "status": status, "meaning": _meaning(status), "requests": count}
        for (action, status), count in ordered
    ]


@functools.cache
def _meaning(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
