"""Reads the times that people write, and writes times for people.

The command line is used on the gateway's machine and has its local time; the console is seen from
anywhere and has UTC.
"""

from __future__ import annotations

import datetime
import math
import re

#: The largest time, in UNIX seconds, that a message may carry (ten digits).
MAX_TIME = 9_999_999_999

#: A time before this version was made, in UNIX seconds (2026-01-01): an earlier clock is wrong.
RELEASED = 1_767_225_600
#: Seconds by which a message's time may be ahead of the gateway's clock.
FUTURE = 86400

UNITS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
# A word may have an s at its end; a letter may not, or milliseconds were minutes.
_UNIT = "|".join(f"{unit}s?" if len(unit) > 1 else unit for unit in sorted(UNITS, key=len)[::-1])
_UNIX = re.compile(_NUMBER)
#: Digits read as a year, a month, a day of the year, a day, or more.
_DATES = {4: "%Y", 6: "%Y%m", 7: "%Y%j", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M"}
_DATES[14] = "%Y%m%d%H%M%S"
_SHORT_DATES = ("%y%m%d", "%d%m%y", "%m%d%y")
_YEARS = range(1970, 2200)
_PART = re.compile(rf"({_NUMBER})\s*({_UNIT})(?![a-z])\s*")
_AGO = re.compile(rf"((?:{_NUMBER}\s*(?:{_UNIT})(?![a-z])\s*)+)(?:ago)?")

#: What ``parse`` understands, for the help.
FORMS = (
    "UNIX seconds, ISO 8601 (2026-11-21 or 20261121, 2026-11-21T14:00, 2026-11-21T14:00Z;"
    " without Z or an offset it is local time), '2h' or '2h ago' (s, m, h, d, w; also 1h30m),"
    " now, today or yesterday (their first second, local time)"
)


def parse(text: str, now: float, *, utc: bool = False) -> int:
    """``text`` as UNIX seconds; ``now`` is the present time in UNIX seconds.

    A time without an offset is local, with ``utc`` it is UTC; so are today and yesterday.
    A fraction is rounded up: for whole seconds t, both ``t >= since`` and ``t < until`` then mean
    the same as with the fraction. Times before 1970 and after the year 2286 become the first and
    the last time that a message can have. Raises ValueError with a line for people.
    """
    word = text.strip().lower()
    if word == "now":
        return _clamp(now)
    if word in ("today", "yesterday"):
        zone = datetime.UTC if utc else None
        today = datetime.datetime.fromtimestamp(now, zone).date()
        day = today - datetime.timedelta(days=word == "yesterday")
        return _clamp(datetime.datetime.combine(day, datetime.time(tzinfo=zone)).timestamp())
    if word.isascii() and word.isdigit() and (found := _date_in_digits(word, utc)) is not None:
        return _clamp(found)
    if _UNIX.fullmatch(word):
        if float(word) > MAX_TIME + 1:
            raise ValueError(f"{text!r} is too large for UNIX seconds; are these milliseconds?")
        return _clamp(float(word))
    if _AGO.fullmatch(word):
        return _clamp(now - parse_length(word.removesuffix("ago")))
    return _clamp(_iso(text, utc))


def parse_length(text: str) -> float:
    """A length of time such as ``2h``, ``7d`` or ``1h30m`` in seconds; a bare number is seconds.

    Raises ValueError with a line for people.
    """
    word = text.strip().lower()
    if len(word) == 8 and _read_date(word, "%Y%m%d") is not None:
        raise ValueError(f"{text!r} looks like a date; write a length of time such as 7d or 365d")
    if _UNIX.fullmatch(word):
        return float(word)
    if _AGO.fullmatch(word) and not word.endswith("ago"):
        return sum(float(number) * _seconds(unit) for number, unit in _PART.findall(word))
    raise ValueError(f"{text!r} is not a length of time; write 90s, 15m, 2h, 7d, 2w or 1h30m")


def _seconds(unit: str) -> int:
    return UNITS.get(unit) or UNITS[unit.removesuffix("s")]


def show(seconds: object) -> str:
    """UNIX seconds as local time with its offset, which ``parse`` reads back; else as they are."""
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        return str(seconds)
    try:
        return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat()
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def show_utc(seconds: object, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """UNIX seconds in UTC, in a ``form`` of strftime; what is no such number is as it is."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return str(seconds)
    try:
        return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def is_set(now: float) -> bool:
    """Whether a clock that shows ``now`` can be right: a small computer's isn't before NTP."""
    return now >= RELEASED


def show_day(seconds: float) -> str:
    """The day of UNIX seconds, in UTC; beyond the calendar, the year alone."""
    try:
        return str(datetime.datetime.fromtimestamp(seconds, datetime.UTC).date())
    except (ValueError, OverflowError, OSError):
        return f"about the year {1970 + int(seconds / 31_556_952)}"


def show_age(seconds: float) -> str:
    """A length of time in its two largest units, such as ``2h 5m``."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def _date_in_digits(digits: str, utc: bool) -> float | None:
    """The day that eight digits name, None if digits don't look like a date.

    Raises ValueError with a line for people for those that do, and may not be one.
    """
    moment = _read_date(digits, _DATES.get(len(digits), ""))
    if moment is not None and len(digits) == 8:
        return _iso(f"{moment:%Y-%m-%d}", utc)
    if moment is not None:
        day = moment if len(digits) > 4 else datetime.datetime(moment.year, 1, 1)
        form = "%Y-%m-%dT%H:%M:%S" if len(digits) > 8 else "%Y-%m-%d"
        raise ValueError(f"{digits!r} looks like a date; write {day.strftime(form)}")
    is_short = len(digits) == 6 and any(_read_date(digits, form) for form in _SHORT_DATES)
    if is_short or len(digits) == 8:
        raise ValueError(
            f"{digits!r} looks like a date; write it as 2026-11-21 (UNIX seconds have ten digits)"
        )
    return None


def _read_date(digits: str, form: str) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.strptime(digits, form)
    except ValueError:
        return None
    return moment if moment.year in _YEARS else None


def _iso(text: str, utc: bool) -> float:
    try:
        # As the console shows it.
        moment = datetime.datetime.fromisoformat(re.sub(r" ?UTC$", "Z", text.strip().upper()))
    except ValueError:
        forms = FORMS.replace("local time", "UTC") if utc else FORMS
        raise ValueError(f"{text!r} is not a time; write {forms}") from None
    if utc and moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    try:
        return moment.timestamp()
    except (OverflowError, ValueError, OSError):
        # Within a day of the calendar's ends: an offset leads out of it.
        return 0 if moment.year < 1970 else MAX_TIME + 1


def _clamp(seconds: float) -> int:
    return min(max(math.ceil(seconds), 0), MAX_TIME + 1)
