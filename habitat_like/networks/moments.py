"""The times in uploads of other networks, as UNIX seconds. No I/O."""

from __future__ import annotations

import datetime
import re
from email.utils import mktime_tz, parsedate_tz

from habitat_like.networks.values import number

#: Seconds that no station's clock shows: larger numbers are milliseconds, and so on.
_LARGEST_SECONDS = 1e11
_LONGEST = 64
#: Characters of ``2026-11-20 10:15:30``, and every third of them from the first hyphen on.
_USUAL = 19
_USUAL_MARKS = ("-- ::", "--T::")
_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH_DAY = _EPOCH.toordinal()
_ISO = re.compile(
    r"\s*([0-9]{4}|[0-9]{2})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:[Tt\s]\s*([0-9]{1,2})\s*:\s*([0-9]{1,2})(?:\s*:\s*([0-9]{1,2})(?:[.,]([0-9]+))?)?"
    # In a query, a plus has become a blank.
    r"\s*(?:[Zz]|UTC|GMT|(?<=[0-9])\s?([+\s-])([0-9]{2}):?([0-9]{2})?)?)?\s*",
    re.ASCII,
)


def iso(text: str) -> float | None:
    """``2026-11-20T10:15:30.123456789Z`` and the like, UTC unless it says otherwise; else None.

    A blank may replace the T or be anywhere around the colons; years may have two digits.
    """
    if len(text) == _USUAL and text[4::3] in _USUAL_MARKS:
        # Most stations write it like this, and it takes a third of the pattern's time.
        try:
            return (datetime.datetime.fromisoformat(text) - _EPOCH).total_seconds()
        except ValueError:  # a 60th second may still be right
            return _by_pattern(text)
    return _by_pattern(text)


def _by_pattern(text: str) -> float | None:
    """``iso`` for text in any form."""
    match = _ISO.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    try:
        date = datetime.date(int(year) + (2000 if len(year) == 2 else 0), int(month), int(day))
    except ValueError:
        return None
    clock = (int(hour or 0), int(minute or 0), int(second or 0))
    if clock[0] > 23 or clock[1] > 59 or clock[2] > 60:
        return None
    offset = 0
    if sign:
        offset = int(hours) * 3600 + int(minutes or 0) * 60
        if offset >= 86400:
            return None
        offset = -offset if sign == "-" else offset
    days = date.toordinal() - _EPOCH_DAY
    seconds = days * 86400 + clock[0] * 3600 + clock[1] * 60 + clock[2] - offset
    return seconds + float(f"0.{fraction}") if fraction else float(seconds)


def unix(value: object) -> float | None:
    """A number, or numeric text, as seconds; its size tells milli-, micro- and nanoseconds."""
    found = number(value)
    if found is None or found < 0:
        return None
    while found >= _LARGEST_SECONDS:
        if found >= 1e20:
            return None
        found /= 1000
    return float(found)


def moment(value: object) -> float | None:
    """A time in any of these forms, None if it is not one."""
    found = unix(value)
    return iso(value) if found is None and isinstance(value, str) else found


def http_date(text: str) -> float | None:
    """A Date header (RFC 9110 section 5.6.7); None for another form or an impossible date."""
    if len(text) > _LONGEST or "," not in text:
        return None
    try:
        fields = parsedate_tz(text)
        if fields is None or fields[0] < 1970:
            return None
        datetime.datetime(*fields[:6])  # parsedate_tz accepts the 40th of a month
        return float(mktime_tz(fields))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
