"""The goals, and what became of them in a run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import msgspec

from benchmarks.results import Cell, Figure, Outcome, Report

#: The columns of what is measured with the archive out of reach, and with it draining.
AWAY, DRAINING = "archive away", "draining"
_SUFFIX = {AWAY: "", DRAINING: ", draining"}

#: At 8, 32 and 128 connections.
COUNTS = (8, 32, 128)
VS_CLASSIC = (3.0, 5.0, 6.0)
VS_UWSGI = (0.6, 0.8, 0.95)
VS_RESPONDER = (0.45, 0.65, 0.8)


class Limit(msgspec.Struct, frozen=True):
    """A figure's goal: at most or at least ``value``."""

    figure: str
    what: str
    value: float
    unit: str = ""
    at_most: bool = False


_ARCHIVES = (("", "embedded archive"), (" couch", "CouchDB-protocol server"))
LIMITS = (
    Limit("couch: draining vs _bulk_docs", "draining vs prebuilt _bulk_docs bodies", 0.9),
    Limit("couch: draining vs save", "draining vs one save per message", 10),
    Limit("visible: embedded", "200 to visible, embedded archive, p50", 50, "ms", at_most=True),
    Limit("visible: couch", "200 to visible, CouchDB-protocol server, p50", 50, "ms", at_most=True),
    Limit("journal: large vs empty", "insert rate, large journal vs empty", 0.9),
    Limit(
        "query: beyond the interpreter",
        "habitat query, newest 100, beyond the interpreter's start",
        20,
        "ms",
        at_most=True,
    ),
    Limit("stream: RSS", "streaming the archive to NDJSON, RSS", 60, "MB", at_most=True),
    Limit("stream: vs bare loop", "streaming the archive vs a bare loop", 0.5),
    Limit("parser: vs archive sink", "sentences parsed vs archived, by processor time", 0.5),
    Limit("start: habitat --help", "habitat --help", 0.15, "s", at_most=True),
    Limit("start: habitat serve", "habitat serve to ready", 0.5, "s", at_most=True),
    Limit("memory: RSS", "RSS after many messages", 80, "MB", at_most=True),
    Limit("memory: growth", "RSS, last quarter vs first", 1.05, at_most=True),
    *(
        Limit(
            f"console pages{archive}: slowest",
            f"the console's slowest page, p50, {name}",
            300,
            "ms",
            at_most=True,
        )
        for archive, name in _ARCHIVES
    ),
    *(
        Limit(
            f"console memory{archive}: {what}, growth",
            f"RSS, second half vs first fifth, {what}, {name}",
            1.05,
            at_most=True,
        )
        for archive, name in _ARCHIVES
        for what in ("ndjson download", "csv download", "habitat export")
    ),
    *(
        Limit(
            f"console users: @{count}, rate",
            f"/message beside ten console users vs without, at {count}",
            0.9,
        )
        for count in (32, 128)
    ),
    *(
        Limit(
            f"console {what}: 2000/s, p99 ratio",
            f"p99 of 2,000 uploads a second beside {beside} vs without",
            2,
            at_most=True,
        )
        for what, beside in (("stuck", "pages that hang"), ("download", "a full download"))
    ),
)


def judge(report: Report) -> list[Outcome]:
    """Every goal of which the run measured what it speaks of."""
    found = []
    for column in (AWAY, DRAINING):
        found += list(_message(report, column))
        found += list(_others(report, column))
    for limit in LIMITS:
        value = report.figure(limit.figure)
        if value is not None:
            found.append(_outcome(limit.what, "", value, limit.value, limit.unit, limit.at_most))
    return found


def _message(report: Report, column: str) -> Iterator[Outcome]:
    """What is asked of /message at 8, 32 and 128 connections."""
    system = f"message{_SUFFIX[column]}"
    for at, count in enumerate(COUNTS):
        cell = report.cell(system, count)
        if cell is None:
            continue
        for name, wanted in (("classic", VS_CLASSIC), ("uwsgi x1", VS_UWSGI)):
            peer = report.cell(name, count)
            if peer is not None:
                what = f"/message vs {name}, nothing durable, at {count}"
                yield _outcome(what, column, _against(cell, peer), wanted[at])
        yield _outcome(
            f"/message vs the C responder, at {count}", column, cell.ratio, VS_RESPONDER[at]
        )
        sqlite = report.cell("uwsgi x1 + sqlite", count)
        if sqlite is not None and count == 32:
            what = "/message vs uwsgi x1, SQLite FULL per request, at 32"
            yield _outcome(what, column, _against(cell, sqlite), 4)
        disk = report.figures.get("disk: fdatasync time")
        if disk is not None and count == 32:
            yield _latency(column, cell, disk)


def _latency(column: str, cell: Cell, disk: Figure) -> Outcome:
    allowed = 3 * cell.median(lambda one: one.reference_p99) + 2 * disk.value
    p99 = cell.median(lambda one: one.p99)
    what = "p99 at 32, by 3 times the C responder's plus 2 fdatasyncs"
    return _outcome(what, column, p99 / allowed, 1, at_most=True)


def _others(report: Report, column: str) -> Iterator[Outcome]:
    """What compares the gateway with itself."""
    suffix = _SUFFIX[column]
    single = report.cell(f"message{suffix}", 128)
    if single is None:
        return
    batches = report.cell(f"messages{suffix}", 128)
    if batches is not None:
        value = _against(batches, single) * batches.messages
        yield _outcome("/messages of 100 vs /message, messages/s, at 128", column, value, 4)
    crowd = report.cell(f"message{suffix}", 512)
    if crowd is not None:
        # The rates themselves, each without the machine's drift at its number of connections.
        value = _rate(crowd) / _rate(single)
        yield _outcome("/message at 512 vs at 128", column, value, 0.95)
    idle = report.cell(f"message{suffix}, 1000 idle", 128)
    if idle is not None:
        yield _outcome(
            "/message beside 1,000 idle connections, at 128", column, _against(idle, single), 0.95
        )
    backlog = report.cell("message, backlog", 128)
    if backlog is not None and column == AWAY:
        what = "/message while a backlog drains at full speed vs without, at 128"
        yield _outcome(what, "", _against(backlog, single), 0.6)


def _against(cell: Cell, other: Cell) -> float:
    """The median over the rounds of one's share of the reference by the other's."""
    ratio: Callable[[Cell], list[float]] = lambda one: [sample.ratio for sample in one.samples]  # noqa: E731
    return statistics.median(a / b for a, b in zip(ratio(cell), ratio(other), strict=True))


def _rate(cell: Cell) -> float:
    return cell.ratio * cell.median(lambda one: one.reference)


def _outcome(
    what: str, column: str, value: float, goal: float, unit: str = "", at_most: bool = False
) -> Outcome:
    reached = value <= goal if at_most else value >= goal
    sign = "≤" if at_most else "≥"
    return Outcome(
        what=what,
        column=column,
        goal=f"{sign} {goal:g} {unit}".strip(),
        value=value,
        reached=reached,
    )
