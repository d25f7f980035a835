"""The overview: what is wrong, in words, and how messages flow."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import Any

import msgspec
from flask import Blueprint

from habitat_like.archive import disk_places
from habitat_like.console import plots
from habitat_like.console.drawing import Plot, in_order, of_series
from habitat_like.console.kept import kept
from habitat_like.console.pages import link, page, station_page, statistics, this_program
from habitat_like.console.plots import last_minute, plot
from habitat_like.http.status import status
from habitat_like.journal.file import JournalError
from habitat_like.statistics import Backlog, DiskOutlook, Latency, Series, troubles
from habitat_like.statistics.aggregator import KNOWN_FOR, SILENT_AFTER
from habitat_like.statistics.status import Status, Trouble
from habitat_like.statistics.tables import DAY, HOUR, MINUTE
from habitat_like.times import MAX_TIME

blueprint = Blueprint("overview", __name__)

#: Seconds for which a station counts as heard now.
NOW = 10 * MINUTE
#: How many of the stations that fell silent are named.
NAMED = 8
#: Seconds in one step of the plots over a day.
STEP = 15 * MINUTE


@page(blueprint, "/overview", "overview.html")
def overview() -> dict[str, Any]:
    """The gateway's state now."""
    now = time.time()
    state = status(this_program().gateway)
    answer: dict[str, Any] = {
        "now": now,
        "state": state.state,
        "maintenance": state.maintenance,
        "version": state.version,
        "instance": state.instance,
        "started": state.started,
        "archive": state.archive,
        "sinks": state.sinks,
        "dead_letters": state.dead_letters,
        "dead_letters_page": link("dead_letters.dead_letters"),
        "accepted": state.messages.accepted,
        "written": state.messages.written,
        "journal_bytes": state.journal.bytes,
        "keep": this_program().config.archive.keep,
    }
    try:
        facts = _facts(now, state)
        # Plots have only whole minutes; a user who just sent a message wants to see it counted.
        present = _sum(statistics().series("minute", last_minute(), int(now) + 1))
    except JournalError as error:
        # What doesn't come from there is shown all the same.
        return {**answer, **_without_statistics(now, state, error)}
    found = troubles.find(facts)
    trend = troubles.trend(state, facts.backlog)
    hour = _last(facts.minutes, HOUR)
    return {
        **answer,
        "troubles": [_trouble(one) for one in found],
        "messages": {
            "last_hour": _sum(hour) + present,
            "last_day": _sum(facts.minutes) + present,
            "ever": facts.ever,
            "last_heard": facts.last_heard,
        },
        "latency": facts.latency,
        "backlog": {
            "messages": state.backlog,
            "at_most": state.max_backlog,
            "trend": trend.word,
            "per_minute": trend.per_minute,
            "full_in": trend.full_in,
        },
        "stations": _stations(now),
        "disks": facts.disks,
        "requests_today": _requests_today(now),
        "plots": {
            view.__name__: plots.figure(f"overview.{view.__name__}", view)
            for view in (messages_hour, messages_day, backlog, latency)
        },
    }


@plot(blueprint, "/plots/messages-hour.svg")
def messages_hour() -> Plot:
    """Messages in each minute of the last hour."""
    hour = _last(_minutes(), HOUR)
    return Plot(
        title="Messages per minute, last hour",
        unit="messages a minute",
        step=MINUTE,
        times=hour.times,
        series={name: hour.types[name] for name in in_order(hour.types)},
    )


@plot(blueprint, "/plots/messages-day.svg")
def messages_day() -> Plot:
    """Messages a minute over the last day, in steps of a quarter of an hour."""
    return of_series(
        _minutes(),
        STEP,
        title="Messages per minute, last day",
        unit="messages a minute",
        per=MINUTE,
    )


@plot(blueprint, "/plots/backlog.svg")
def backlog() -> Plot:
    """The largest backlog in each quarter of an hour of the last day."""
    largest: dict[int, int] = {}
    for sample in _samples():
        at = sample.time - sample.time % STEP
        largest[at] = max(largest.get(at, 0), sample.largest)
    until = last_minute()
    steps = tuple(range((until - DAY) // STEP * STEP, until, STEP))
    return Plot(
        title="Backlog, last day",
        unit="messages at most",
        step=STEP,
        times=steps,
        series={"not yet archived": tuple(largest.get(at) for at in steps)} if largest else {},
        stacked=False,
    )


@plot(blueprint, "/plots/latency.svg")
def latency() -> Plot:
    """Median and 99th percentile of the time to answer, in each minute of the last hour."""
    until = last_minute()
    found = {one.time: one for one in _latencies(until)}
    steps = tuple(range(until - HOUR, until, MINUTE))
    none = Latency(0, 0, None, None)
    return Plot(
        title="Response time, last hour",
        unit="milliseconds",
        step=MINUTE,
        times=steps,
        series={
            "median": tuple(_milliseconds(found.get(at, none).p50) for at in steps),
            "99 of 100 within": tuple(_milliseconds(found.get(at, none).p99) for at in steps),
        }
        if found
        else {},
        stacked=False,
    )


def _facts(now: float, state: Status) -> troubles.Facts:
    ask = statistics()
    return troubles.Facts(
        now=now,
        status=state,
        minutes=_minutes(),
        backlog=_samples(),
        latency=kept().get("latency of the hour", lambda: ask.latency(int(now) - HOUR, MAX_TIME)),
        disks=kept().get("disks", _disks, MINUTE),
        ever=sum(ask.totals().values()),
        last_heard=ask.last_heard(),
    )


def _without_statistics(now: float, state: Status, error: JournalError) -> dict[str, Any]:
    empty = Series(MINUTE, (), {})
    facts = troubles.Facts(
        now=now,
        status=state,
        minutes=empty,
        backlog=(),
        latency=Latency(0, 0, None, None),
        disks=(),
        ever=0,
        last_heard=None,
    )
    lost = Trouble("error", f"The statistics can't be read: {error}.")
    return {
        "troubles": [_trouble(one) for one in [lost, *troubles.find(facts)]],
        "messages": None,
        "latency": None,
        "backlog": {
            "messages": state.backlog,
            "at_most": state.max_backlog,
            "trend": None,
            "per_minute": None,
            "full_in": None,
        },
        "stations": None,
        "disks": (),
        "requests_today": {},
        "plots": {},
    }


def _disks() -> list[DiskOutlook]:
    """When each disk will be full; one that has several places is listed once."""
    paths = disk_places(this_program().config)
    found: dict[object, DiskOutlook] = {}
    for outlook in statistics().outlook():
        disk: object = outlook.place
        with contextlib.suppress(OSError, KeyError):
            disk = paths[outlook.place].stat().st_dev
        if (same := found.get(disk)) is not None:
            name = f"{same.place} and {outlook.place}"
            best = outlook if same.bytes_per_day is None else same
            outlook = msgspec.structs.replace(best, place=name)  # noqa: PLW2901
        found[disk] = outlook
    return list(found.values())


def _trouble(trouble: Trouble) -> dict[str, Any]:
    page = link(trouble.page) if trouble.page else None
    return {"level": trouble.level, "text": trouble.text, "page": page}


def _stations(now: float) -> dict[str, Any]:
    """Which stations are heard, and which fell silent last."""
    silent = statistics().stations(
        sort="last_heard",
        descending=True,
        heard_since=now - KNOWN_FOR,
        heard_before=now - SILENT_AFTER,
        limit=NAMED,
    )
    return {
        "heard": statistics().heard_since(now - NOW),
        "silent": silent.total,
        "silent_last": [
            {
                "callsign": one.callsign,
                "last_heard": one.last_heard,
                "page": station_page(one.callsign),
            }
            for one in silent.stations
        ],
    }


def _requests_today(now: float) -> dict[str, int]:
    """Requests since midnight UTC by status."""
    today = int(now) - int(now) % DAY
    counts: Counter[int] = Counter()
    for one in statistics().requests(today, today + DAY):
        counts[one.status] += one.requests
    return {str(status): count for status, count in sorted(counts.items())}


# -- numbers that several of these need, asked for once for all users


def _minutes() -> Series:
    until = last_minute()
    return kept().get(
        ("minutes", until), lambda: statistics().series("minute", until - DAY, until), MINUTE
    )


def _samples() -> tuple[Backlog, ...]:
    until = last_minute()
    return kept().get(("backlog", until), lambda: statistics().backlog(until - DAY, MAX_TIME))


def _latencies(until: int) -> tuple[Latency, ...]:
    return kept().get(
        ("latencies", until), lambda: statistics().latencies(until - HOUR, until), MINUTE
    )


def _last(series: Series, seconds: int) -> Series:
    """The last part of a series; types without a message in it are left out."""
    steps = seconds // series.step
    types = {name: counts[-steps:] for name, counts in series.types.items()}
    kept = {name: counts for name, counts in types.items() if any(counts)}
    return Series(series.step, series.times[-steps:], kept)


def _sum(series: Series) -> int:
    """All messages in a series."""
    return sum(map(sum, series.types.values()))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
