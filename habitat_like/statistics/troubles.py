"""Troubles: what is wrong, in words that say what it means and what to do. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from habitat_like import times
from habitat_like.statistics import Backlog, DiskOutlook, Latency, Series
from habitat_like.statistics.reader import Reader
from habitat_like.statistics.status import READY, Status, Trouble
from habitat_like.statistics.tables import DAY, HOUR, MINUTE
from habitat_like.statistics.words import many, sentence, show_days, size
from habitat_like.times import MAX_TIME

#: Seconds without a message that are nothing special.
QUIET = 10 * MINUTE
#: A silence is unusual from so many times the longest one of the day before.
UNUSUAL = 2
#: Minutes with messages, and seconds from the first to the last, from which the usual is known.
LEAST_MINUTES, LEAST_TIME = 10, HOUR
#: Messages that may wait without a word, and minutes over which a backlog's growth is looked at.
SMALL_BACKLOG = 1000
WINDOW = 30
#: Messages by which the backlog differs from one batch to the next, which means nothing.
NOISE = 100
#: Days until a disk is full, and the share of it that is free, at which to act soon, and at once.
SOON_FULL, NEARLY_FULL = 14.0, 3.0
LITTLE_FREE, NEARLY_NONE_FREE = 0.05, 0.02
#: Seconds that one answer in a hundred takes, from which on answers are slow.
SLOW = 1.0
#: Messages that statistics may lag behind without a word.
LAG = 20_000


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What troubles are looked for in.

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
    """All that is wrong, the worst first."""
    found = [
        *_refusing(facts),
        *_sinks(facts),
        *_backlog(facts),
        *_silence(facts),
        *_disks(facts),
        *_dead_letters(facts),
        *_slow(facts),
        *_statistics(facts),
    ]
    return sorted(found, key=lambda one: one.level != "error")


def trend(status: Status, samples: Sequence[Backlog]) -> Trend:
    """How the backlog changed over the last WINDOW minutes, and where that leads."""
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
        told = f"sent to {where}" if where else "told to come back later (503)"
        text = (
            f"Maintenance for {lasts}: stations are {told}, “{maintenance.message}”."
            " Switch it off in the settings, or with: habitat ctl maintenance off"
        )
        yield Trouble("error", text, "settings.settings")
    elif state != READY:
        yield Trouble(
            "error",
            f"Stations are told to come back later (503): {state}."
            " What was answered 200 before is safe.",
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
        text += f" {many(sink.backlog, 'message')} wait in the journal; nothing is lost."
        yield Trouble("error", f"{text} {_room(facts)}")


def _room(facts: Facts) -> str:
    """How much longer the journal can take what no sink takes."""
    room = max(facts.status.max_backlog - facts.status.backlog, 0)
    if not room:
        return "There is room for no more."
    text = f"There is room for {room:,} more"
    rate = _rate(facts.minutes)
    if rate > 0:
        text += f", at the present rate for {times.show_age(room / rate * MINUTE)}"
    return f"{text}; then stations are told to come back later."


def _backlog(facts: Facts) -> Iterator[Trouble]:
    waiting = facts.status.backlog
    limit = facts.status.max_backlog
    if any(sink.state == "waiting" for sink in facts.status.sinks.values()):
        return  # told already
    growth = trend(facts.status, facts.backlog)
    if waiting > SMALL_BACKLOG and growth.full_in is not None:
        text = (
            f"The backlog grows: {waiting:,} messages wait, {growth.per_minute:,.0f} more a minute."
            f" In {times.show_age(growth.full_in)} it is full, and stations are told to come back"
            " later. Look at the archive's own load and disk."
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
        yield Trouble(
            "warning", f"No message came in for {times.show_age(silent)}.", "stations.stations"
        )
    elif usual is not None and silent >= UNUSUAL * usual:
        yield Trouble(
            "error",
            f"No message came in for {times.show_age(silent)}; in the day before, there was never"
            f" more than {times.show_age(max(usual, MINUTE))} without one. Look at the web server"
            " and at the stations' way to it.",
            "stations.stations",
        )


def longest_silence(minutes: Series, samples: Sequence[Backlog], until: float) -> float | None:
    """The most seconds without a message before ``until``, in minutes in which the gateway ran.

    ``samples`` tell which those are. None where there were too few messages to tell.
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
            text += (
                f" and fills by {size(disk.bytes_per_day)} a day: it is full in {show_days(days)}"
            )
        if "journal" in disk.place:
            text += "; then no message can be stored, and stations are told to come back later."
        else:
            text += "; then the archive takes nothing more, and messages wait in the journal."
        is_urgent = days < NEARLY_FULL or share < NEARLY_NONE_FREE
        yield Trouble("error" if is_urgent else "warning", text)


def _dead_letters(facts: Facts) -> Iterator[Trouble]:
    yield from dead_letters(facts.status.dead_letters)


def dead_letters(count: int) -> Iterator[Trouble]:
    """Messages that were refused for good and wait for the operator."""
    if count:
        what = (
            "was refused for good and waits as a dead letter"
            if count == 1
            else "were refused for good and wait as dead letters"
        )
        yield Trouble(
            "warning",
            f"{many(count, 'message')} {what}: see why, then try again or drop.",
            "dead_letters.dead_letters",
        )


def _slow(facts: Facts) -> Iterator[Trouble]:
    slow = facts.latency.p99
    if slow is not None and slow >= SLOW:
        yield Trouble(
            "warning",
            f"Answers are slow: one in a hundred took over {slow:.1f} s in the last hour. Look at"
            " the disk of the journal, and at what else runs on this machine.",
        )


def _statistics(facts: Facts) -> Iterator[Trouble]:
    state = facts.status.statistics
    if state is None:
        return
    if state.problem:
        yield Trouble("warning", f"The statistics are old: {sentence(state.problem)}")
    elif state.behind > LAG:
        yield Trouble(
            "warning",
            f"The statistics are old: {state.behind:,} messages are not counted yet.",
        )


def _rate(minutes: Series) -> float:
    """Messages a minute over the last hour."""
    last = [sum(counts) for counts in zip(*minutes.types.values(), strict=True)][-60:]
    return sum(last) / len(last) if last else 0.0


def gather(
    status: Status, ask: Reader, now: float, outlooks: Sequence[DiskOutlook] | None = None
) -> Facts:
    """What troubles are looked for in, out of the statistics. Raises JournalError.

    ``now`` is UNIX seconds; ``outlooks`` are the disks', where they are known already.
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
