"""What happened on a day: the facts of the daily report."""

from __future__ import annotations

from collections import Counter

import msgspec

from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.statistics.reader import StatisticsReader
from habitat_like.statistics.rows import (
    Absent,
    DiskOutlook,
    HeardStation,
    Latency,
    NetworkSum,
    Top,
)
from habitat_like.statistics.tables import DAY

#: A station must have been heard within this many days before to be missed.
KNOWN_DAYS = 7
#: How many stations are in the list of those with the most messages.
TOP = 10


class TypeCount(msgspec.Struct, frozen=True):
    """Messages of a type on the day, and on the day before."""

    type: str
    messages: int
    before: int


class StatusCount(msgspec.Struct, frozen=True):
    """Requests to an action that were answered with a status."""

    action: str
    status: int
    requests: int


class RefusalCount(msgspec.Struct, frozen=True):
    """Dead letters of the day with one reason."""

    sink: str
    reason: str
    messages: int


class Day(msgspec.Struct, frozen=True):
    """A day in UTC, from ``begin`` to before ``end``, in UNIX seconds.

    ``end`` is the present if the day is not over. ``hours`` are the messages of each hour that has
    begun. ``largest_backlog`` and the quantiles in ``latency`` are None if no longer known;
    ``dead_letters`` are those still there, ``waiting`` counts those of all days.
    """

    begin: int
    end: int
    messages: int
    before: int
    types: tuple[TypeCount, ...]
    hours: tuple[int, ...]
    top: tuple[Top, ...]
    heard: int
    new: tuple[HeardStation, ...]
    absent: tuple[Absent, ...]
    requests: int
    errors: tuple[StatusCount, ...]
    networks: tuple[NetworkSum, ...]
    dead_letters: tuple[RefusalCount, ...]
    waiting: int
    largest_backlog: int | None
    latency: Latency
    disks: tuple[DiskOutlook, ...]

    @property
    def is_over(self) -> bool:
        """Whether the whole day is in it."""
        return self.end == self.begin + DAY


def facts(reader: StatisticsReader, letters: DeadLetters, begin: int, now: int) -> Day:
    """The facts of the day that begins at ``begin``; ``now`` is the present, both UNIX seconds.

    Raises JournalError, and sqlite3.Error.
    """
    end = min(begin + DAY, now + 1)
    types, before = reader.totals(begin, end), reader.totals(begin - DAY, begin)
    series = reader.series("hour", begin, end)
    statuses: Counter[tuple[str, int]] = Counter()
    for row in reader.requests(begin, end):
        statuses[row.action, row.status] += row.requests
    backlogs = reader.backlog(begin, end)
    return Day(
        begin=begin,
        end=end,
        messages=sum(types.values()),
        before=sum(before.values()),
        types=tuple(
            TypeCount(name, types.get(name, 0), before.get(name, 0))
            for name in sorted(types.keys() | before.keys())
        ),
        hours=tuple(
            sum(counts[at] for counts in series.types.values()) for at in range(len(series.times))
        ),
        top=reader.top(begin, begin + DAY, TOP),
        heard=reader.count_heard(begin),
        new=reader.new_stations(begin, end),
        absent=reader.absent(begin, KNOWN_DAYS),
        requests=statuses.total(),
        errors=tuple(
            StatusCount(action, status, count)
            for (action, status), count in sorted(statuses.items())
            if status >= 400
        ),
        networks=reader.network_sums(begin, end),
        dead_letters=tuple(RefusalCount(*row) for row in letters.reasons(begin, end)),
        waiting=sum(letters.count().values()),
        largest_backlog=max((one.largest for one in backlogs), default=None),
        latency=reader.latency(begin, end),
        disks=reader.outlook(),
    )
