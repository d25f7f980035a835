"""Troubles: what is wrong, what it means and what to do, in plain words. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from habitat_like import times
from habitat_like.statistics import Backlog, DiskOutlook, Latency, Series
from habitat_like.statistics.reader import StatisticsReader
from habitat_like.statistics.status import READY, Status, Trouble
from habitat_like.statistics.tables import DAY, HOUR, MINUTE
from habitat_like.statistics.words import many, sentence, show_days, size
from habitat_like.times import MAX_TIME

#: Seconds without a message that are normal.
QUIET = 10 * MINUTE
#: A silence is unusual from this multiple of the previous day's longest.
UNUSUAL = 2
#: Minutes with messages, and seconds from first to last, needed to tell what is usual.
LEAST_MINUTES, LEAST_TIME = 10, HOUR
#: Messages that may wait without a warning, and minutes over which growth is measured.
SMALL_BACKLOG = 1000
WINDOW = 30
#: Changes of the backlog below this are noise from one batch to the next.
NOISE = 100
#: Days until a disk is full, and its free share: limits for a warning, and for an error.
SOON_FULL, NEARLY_FULL = 14.0, 3.0
LITTLE_FREE, NEARLY_NONE_FREE = 0.05, 0.02
#: Responses are slow if one in a hundred takes at least this many seconds.
SLOW = 1.0
#: Messages that statistics may lag behind without a warning.
LAG = 20_000


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the troubles are derived from.

    ``status`` is what ``/status`` shows; ``minutes`` are the messages of the last day, minute by
    minute, and ``backlog`` its samples; ``ever`` is how many messages were ever counted and
    ``last_heard`` when the last one came in; ``now`` is UNIX seconds.
    """

    now: float
    status: Status
    minutes: Series
    backlog: Sequence[Backlog]
    latency: Latency
    disks: Sequence[DiskOutlook]
    ever: int
    last_heard: int | None


class Trend(msgspec.Struct, frozen=True):
    """How the backlog changes: messages a minute, and seconds until it is full (None: never)."""

    word: Literal["empty", "steady", "growing", "shrinking"]
    per_minute: float
    full_in: float | None


def find(facts: Facts) -> list[Trouble]:
    """Everything that is wrong, worst first."""
    found = [
        *_refusing(facts),
        *_clock(facts),
        *_sinks(facts),
        *_backlog(facts),
        *_silence(facts),
        *_disks(facts),
        *_dead_letters(facts),
        *_slow(facts),
        *_statistics(facts),
        *_log(facts),
    ]
    return sorted(found, key=lambda one: one.level != "error")


def trend(status: Status, samples: Sequence[Backlog]) -> Trend:
    """How the backlog changed over the last WINDOW minutes, and the forecast."""
    waiting = status.backlog
    recent = samples[-WINDOW:]
    minutes = (recent[-1].time - recent[0].time) / MINUTE if recent else 0
    if not minutes or not waiting:
        return Trend("steady" if waiting else "empty", 0.0, None)
    change = recent[-1].messages - recent[0].messages
    if abs(change) < max(NOISE, 0.1 * waiting):
        return Trend("steady", change / minutes, None)
    room = max(status.max_backlog - waiting, 0)
    full_in = room / change * minutes * MINUTE if change > 0 else None
    return Trend("growing" if change > 0 else "shrinking", change / minutes, full_in)


def _refusing(facts: Facts) -> Iterator[Trouble]:
    state = facts.status.state
    if (maintenance := facts.status.maintenance) is not None:
        lasts = times.show_age(facts.now - (maintenance.since or facts.now))
        where = maintenance.location
        told = f"are sent to {where}" if where else "get a 503"
        text = (
            f"Maintenance has been on for {lasts}: stations {told}, “{maintenance.message}”."
            " Switch it off in the settings, or with: habitat ctl maintenance off"
        )
        yield Trouble("error", text, "settings.settings")
    elif state != READY:
        yield Trouble(
            "error",
            f"Uploads are refused (503): {state}. Messages that were answered 200 are safe.",
        )


def _clock(facts: Facts) -> Iterator[Trouble]:
    if not times.is_set(facts.now):
        yield Trouble(
            "error",
            f"This machine's clock is wrong: it shows {times.show(int(facts.now))}. Messages are"
            " archived as suspicious, with the stations' own times. Set the clock (timedatectl).",
        )


def _sinks(facts: Facts) -> Iterator[Trouble]:
    for name, sink in facts.status.sinks.items():
        if sink.state != "waiting":
            continue
        who = "The archive" if sink == facts.status.archive else f"The sink {name}"
        lasts = (
            f" for {times.show_age(facts.now - sink.problem_since)}" if sink.problem_since else ""
        )
        text = f"{who} can't be used{lasts}: {sentence(sink.problem or '')}"
        verb = "waits" if sink.backlog == 1 else "wait"
        text += f" {many(sink.backlog, 'message')} {verb} in the journal; nothing is lost."
        yield Trouble("error", f"{text} {_room(facts)}")


def _room(facts: Facts) -> str:
    """How much longer the journal can take what no sink takes."""
    room = max(facts.status.max_backlog - facts.status.backlog, 0)
    if not room:
        return "The journal is full."
    text = f"The journal has room for {room:,} more"
    rate = _rate(facts.minutes)
    if rate > 0:
        text += f", enough for {times.show_age(room / rate * MINUTE)} at the present rate"
    return f"{text}; then uploads are refused (503)."


def _backlog(facts: Facts) -> Iterator[Trouble]:
    waiting = facts.status.backlog
    limit = facts.status.max_backlog
    if any(sink.state == "waiting" for sink in facts.status.sinks.values()):
        return  # already reported
    growth = trend(facts.status, facts.backlog)
    if waiting > SMALL_BACKLOG and growth.full_in is not None:
        text = (
            f"The backlog is growing: {waiting:,} messages wait,"
            f" {growth.per_minute:,.0f} more a minute."
            f" It will be full in {times.show_age(growth.full_in)}; then uploads are refused"
            " (503). Check the archive's load and disk."
        )
        yield Trouble("error" if waiting > 0.8 * limit else "warning", text)
    elif waiting > 0.8 * limit:
        yield Trouble(
            "error", f"The backlog is nearly full: {waiting:,} of at most {limit:,} messages wait."
        )


def _silence(facts: Facts) -> Iterator[Trouble]:
    if not facts.ever or facts.last_heard is None:
        return
    silent = facts.now - facts.last_heard
    if facts.now - facts.status.started < QUIET or silent < QUIET:
        return
    usual = longest_silence(facts.minutes, facts.backlog, facts.last_heard)
    if silent >= DAY:
        yield Trouble("warning", f"No message for {times.show_age(silent)}.", "stations.stations")
    elif usual is not None and silent >= UNUSUAL * usual:
        yield Trouble(
            "error",
            f"No message for {times.show_age(silent)}; the longest pause in the day before was"
            f" {times.show_age(max(usual, MINUTE))}. Check the web server, and the stations'"
            " connection to it.",
            "stations.stations",
        )


def longest_silence(minutes: Series, samples: Sequence[Backlog], until: float) -> float | None:
    """The most seconds without a message before ``until``, in minutes when the gateway ran.

    ``samples`` show which those are. None if there were too few messages to tell.
    """
    ran = {sample.time for sample in samples}
    longest = gap = seen = 0
    first = until
    for at, counts in enumerate(zip(*minutes.types.values(), strict=True)):
        when = minutes.times[at]
        if when > until:
            break
        if any(counts):
            longest = max(longest, gap) if seen else 0
            first = min(first, when)
            seen, gap = seen + 1, 0
        elif when in ran:
            gap += minutes.step
    is_known = seen >= LEAST_MINUTES and until - first >= LEAST_TIME
    return float(longest) if is_known else None


def _disks(facts: Facts) -> Iterator[Trouble]:
    yield from disks(facts.disks)


def disks(outlooks: Sequence[DiskOutlook]) -> Iterator[Trouble]:
    """The disks that are nearly full, or soon will be."""
    for disk in outlooks:
        share = disk.free / disk.total if disk.total else 1.0
        days = disk.days_left if disk.days_left is not None else float("inf")
        if days >= SOON_FULL and share >= LITTLE_FREE:
            continue
        text = f"The disk of the {disk.place} has {size(disk.free)} left ({share:.0%})"
        if disk.bytes_per_day and days < 1000:
            text += f" and fills up by {size(disk.bytes_per_day)} a day: full in {show_days(days)}"
        if "journal" in disk.place:
            text += "; once it is full, uploads are refused (503)."
        else:
            text += (
                "; once it is full, messages wait in the journal. Give it more space, or let old"
                " messages go (archive.keep)."
            )
        is_urgent = days < NEARLY_FULL or share < NEARLY_NONE_FREE
        yield Trouble("error" if is_urgent else "warning", text)


def _dead_letters(facts: Facts) -> Iterator[Trouble]:
    yield from dead_letters(facts.status.dead_letters)


def dead_letters(count: int) -> Iterator[Trouble]:
    """Messages refused for good that wait for the operator."""
    if count:
        what = (
            "was refused for good and waits as a dead letter"
            if count == 1
            else "were refused for good and wait as dead letters"
        )
        yield Trouble(
            "warning",
            f"{many(count, 'message')} {what}: see why, then retry or drop.",
            "dead_letters.dead_letters",
        )


def _slow(facts: Facts) -> Iterator[Trouble]:
    slow = facts.latency.p99
    if slow is not None and slow >= SLOW:
        yield Trouble(
            "warning",
            f"Responses are slow: one in a hundred took over {slow:.1f} s in the last hour. Check"
            " the journal's disk, and what else runs on this machine.",
        )


def _statistics(facts: Facts) -> Iterator[Trouble]:
    state = facts.status.statistics
    if state is None:
        return
    if state.problem:
        yield Trouble("warning", f"The statistics are out of date: {sentence(state.problem)}")
    elif state.behind > LAG:
        yield Trouble(
            "warning",
            f"The statistics are out of date: {state.behind:,} messages are not counted yet.",
        )


def _log(facts: Facts) -> Iterator[Trouble]:
    log = facts.status.log
    if log.problem:
        yield Trouble(
            "warning",
            f"The log can't be written: {log.problem}. Lines lost since the start:"
            f" {log.lost:,}. Check log.file and its disk, or what reads standard error.",
        )


def _rate(minutes: Series) -> float:
    """Messages a minute over the last hour."""
    last = [sum(counts) for counts in zip(*minutes.types.values(), strict=True)][-60:]
    return sum(last) / len(last) if last else 0.0


def gather(
    status: Status, ask: StatisticsReader, now: float, outlooks: Sequence[DiskOutlook] | None = None
) -> Facts:
    """The facts to check for troubles, from the statistics. Raises JournalError.

    ``now`` is UNIX seconds; ``outlooks`` are the disks', if already known.
    """
    until = int(now) // MINUTE * MINUTE
    return Facts(
        now=now,
        status=status,
        minutes=ask.series("minute", until - DAY, until),
        backlog=tuple(ask.backlog(until - DAY, MAX_TIME)),
        latency=ask.latency(int(now) - HOUR, MAX_TIME),
        disks=tuple(ask.outlook() if outlooks is None else outlooks),
        ever=sum(ask.totals().values()),
        last_heard=ask.last_heard(),
    )
