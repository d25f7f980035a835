"""Coordinates and times of day as sentences carry them. No I/O.

The rules are those of habitat's parser, except for a bug there: it does not check the minutes of
negative coordinates.
"""

from __future__ import annotations

import re

DAY = 86400

_DEGREES = re.compile(r" *([+-]?)(\d{1,8}(?:\.\d{0,12})?|\.\d{1,12})\Z")
_MINUTES = re.compile(r"([+-]?)(\d{0,6}?)(\d{2}\.(\d{0,12}))\Z")
_TIME = re.compile(r"(\d\d)(:?)(\d\d)(?:\2(\d\d))?\Z")


def degrees(text: str, most: float) -> float:
    """``dd.dddd``: a sign, blanks and zeros in front are allowed. Raises ValueError.

    ``most`` is the largest value: 90 for a latitude, 180 for a longitude.
    """
    found = _DEGREES.match(text.rstrip(" "))
    if found is None:
        raise ValueError(f"{text[:32]!r} is no number of degrees")
    value = float(found[2])
    return _signed(found[1], value, most, text)


def minutes(text: str, most: float) -> float:
    """``ddmm.mm``: the last two digits before the point are minutes. Raises ValueError.

    Rounded to three more decimals than are given.
    """
    found = _MINUTES.match(text.strip(" "))
    if found is None:
        raise ValueError(f"{text[:32]!r} is not of degrees and minutes")
    sign, whole, part, decimals = found.groups()
    if float(part) > 60:
        raise ValueError(f"{text[:32]!r} has more than 60 minutes")
    value = round(int(whole or "0") + float(part) / 60, len(decimals) + 3)
    return _signed(sign, value, most, text)


def time_of_day(text: str) -> int:
    """``HH:MM:SS``, ``HHMMSS``, ``HH:MM`` or ``HHMM`` as seconds of the day. Raises ValueError."""
    found = _TIME.match(text)
    if found is None:
        raise ValueError(f"{text[:32]!r} is no time of day")
    hour, minute, second = int(found[1]), int(found[3]), int(found[4] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"{text[:32]!r} is no time of day")
    return 3600 * hour + 60 * minute + second


def show_time(seconds: int) -> str:
    """Seconds of the day as ``HH:MM:SS``."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def fix_time(seconds: int, received: int) -> int:
    """The UNIX time of a fix at these seconds of the day, ``received`` at a UNIX time.

    A sentence has no date: it is the reception's, or the day before or after if that is nearer.
    """
    fix = received // DAY * DAY + seconds
    if fix - received > DAY // 2:
        fix -= DAY
    elif received - fix > DAY // 2:
        fix += DAY
    return max(fix, 0)


def _signed(sign: str, value: float, most: float, text: str) -> float:
    if value > most:
        raise ValueError(f"{text[:32]!r} is over {most:g} degrees")
    return -value if sign == "-" else value
