"""Which database of a month a document belongs to, and which ones a query must look at. No I/O.

A month is text as in ``2026-11``, in UTC. The database follows from the time in the document's id,
which a repeat has too; queries ask for ``time_created``, which is that time corrected by the
difference of the clocks. Mostly they lie in the same month. Where they don't, the database of the
month of ``time_created`` has a note of the other one: see ``couch_elsewhere``.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from habitat_like.archive.base import Query
from habitat_like.times import FUTURE, is_set

#: Stands for the month in ``archive.uri``.
PLACE = "{month}"
#: In place of a month, for times that can't be right.
UNDATED = "undated"
#: In place of a month: the database whose rights new ones get, if there is one of that name.
TEMPLATE = "template"
#: The first second that can be right: 2000-01-01.
FIRST = 946_684_800
#: Seconds by which a query looks into the months before and after, for clocks that are wrong.
SLACK = 86400
MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")
_CENTURY = 4_102_444_799
_ID = re.compile(r"([0-9]{10})-")


class Step(NamedTuple):
    """A part of a query's times, ``until`` not included, and the ``month`` that it lies in."""

    since: int
    until: int
    month: str


class Times(msgspec.Struct):
    """The times of a document, whatever they are."""

    time_created: Any = None
    time_uploaded: Any = None


_TIMES = msgspec.json.Decoder(Times)


def month_of(seconds: float) -> str:
    """The month of a UNIX time."""
    return time.strftime("%Y-%m", time.gmtime(seconds))


def begin(month: str) -> int:
    """The first second of a month, in UNIX time."""
    return calendar.timegm(time.strptime(month, "%Y-%m"))


def following(month: str, step: int = 1) -> str:
    """The month after (or, with -1, before) this one."""
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]) - 1 + step, 12)
    return f"{year:04d}-{number + 1:02d}"


def between(first: str, last: str) -> Iterator[str]:
    """Every month from the one to the other, both included."""
    while first <= last:
        yield first
        first = following(first)


def latest(now: float) -> int:
    """The last second that can be right at ``now``; while the clock is not set, of this century."""
    return int(now) + FUTURE if is_set(now) else _CENTURY


def times_of(document: bytes) -> Times:
    """The times in a document's JSON."""
    return _TIMES.decode(document)


def home(identifier: str, uploaded: Any, now: float) -> str:
    """The month of the database for a document, from its id; UNDATED for what can't be right.

    ``uploaded`` is its ``time_uploaded``: with that, a replay or an import decides as the first
    time. While the clock is not set, nothing is certain.
    """
    found = _ID.match(identifier)
    if found is None or not is_set(now):
        return UNDATED
    seconds = int(found[1])
    if isinstance(uploaded, int | float) and seconds > uploaded + FUTURE:
        return UNDATED
    if not FIRST <= seconds <= latest(now):
        return UNDATED
    return month_of(seconds)


def where_asked(created: Any, now: float) -> str:
    """The month in which a query for this ``time_created`` looks, UNDATED for all others."""
    if is_set(now) and isinstance(created, int | float) and FIRST <= created <= latest(now):
        return month_of(created)
    return UNDATED


def near(since: float, until: float) -> list[str]:
    """The months whose databases a query for these times, ``until`` not included, looks into."""
    first = month_of(max(since - SLACK, FIRST))
    return list(between(first, month_of(until - 1 + SLACK)))


def steps(query: Query, now: float) -> list[Step]:
    """The query's times, month by month, in the query's order."""
    last = latest(now) + 1
    found = []
    if query.since < min(query.until, FIRST):
        found.append(Step(query.since, min(query.until, FIRST), UNDATED))
    since, until = max(query.since, FIRST), min(query.until, last)
    if since < until:
        for month in between(month_of(since), month_of(until - 1)):
            edges = begin(month), begin(following(month))
            found.append(Step(max(since, edges[0]), min(until, edges[1]), month))
    if max(query.since, last) < query.until:
        found.append(Step(max(query.since, last), query.until, UNDATED))
    if query.after is not None:
        at = query.after[0]
        found = [
            one for one in found if (one.until > at if query.order == "asc" else one.since <= at)
        ]
    return found if query.order == "asc" else found[::-1]
