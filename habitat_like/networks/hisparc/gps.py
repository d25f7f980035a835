"""GPS time and UTC. No I/O.

GPS time has no leap seconds: it equalled UTC on 6 January 1980, and has gained one second for each
leap second since. Source of the table: IERS Bulletin C
(https://hpiers.obspm.fr/iers/bul/bulc/Leap_Second.dat), less the 19 s by which TAI is ahead of GPS.
"""

from __future__ import annotations

import calendar
import datetime
from bisect import bisect_right

#: The first moments (UTC, midnight) at which GPS - UTC was 1 s, 2 s, 3 s ... Extend it when IERS
#: announces a leap second; until then the last difference applies.
LEAPS = (
    (1981, 7, 1),
    (1982, 7, 1),
    (1983, 7, 1),
    (1985, 7, 1),
    (1988, 1, 1),
    (1990, 1, 1),
    (1991, 1, 1),
    (1992, 7, 1),
    (1993, 7, 1),
    (1994, 7, 1),
    (1996, 1, 1),
    (1997, 7, 1),
    (1999, 1, 1),
    (2006, 1, 1),
    (2009, 1, 1),
    (2012, 7, 1),
    (2015, 7, 1),
    (2017, 1, 1),
)
# The same moments as GPS clocks show them, in seconds since 1970 by that clock.
_STEPS = [calendar.timegm((*day, 0, 0, 0)) + n for n, day in enumerate(LEAPS, 1)]


def ahead(clock: datetime.datetime) -> int:
    """Seconds by which ``clock``, which shows GPS time, is ahead of UTC."""
    return bisect_right(_STEPS, calendar.timegm(clock.timetuple()))


def unix_time(clock: datetime.datetime) -> int:
    """UNIX seconds, truncated, at the moment when a GPS clock shows ``clock``.

    A leap second has the UNIX time of the second after it (POSIX, "Seconds Since the Epoch").
    """
    return calendar.timegm(clock.timetuple()) - ahead(clock)
