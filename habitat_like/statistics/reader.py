"""StatisticsReader: queries the statistics, with or without a running gateway."""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from habitat_like.journal.file import errors, open_file
from habitat_like.message import facts
from habitat_like.message.facts import Position
from habitat_like.statistics.estimates import latency_of, outlook_of
from habitat_like.statistics.rows import (
    Absent,
    Backlog,
    Disk,
    DiskOutlook,
    HeardStation,
    Latency,
    NetworkCount,
    NetworkSum,
    Requests,
    Series,
    StationPage,
    Top,
)
from habitat_like.statistics.tables import DAY, HOUR, MINUTE, OTHERS, RETENTIONS
from habitat_like.times import MAX_TIME

Step = Literal["minute", "hour", "day"]
STEPS: dict[str, int] = {"minute": MINUTE, "hour": HOUR, "day": DAY}
#: Steps that one series may have.
MAX_STEPS = 100_000
#: What stations can be sorted by.
SORTS = tuple(field.name for field in msgspec.structs.fields(HeardStation))

_KEPT = {retention.table: retention.seconds for retention in RETENTIONS}
_STATION = ", ".join(
    "(SELECT coalesce(sum(d.messages), 0) FROM sum_station_day d WHERE d.day = :today"
    " AND d.callsign = s.callsign) AS messages_today"
    if name == "messages_today"
    else f"s.{name}"
    for name in SORTS
)
# SQLite's LIKE ignores case only in ASCII.
_SEARCH = (
    "(:search IS NULL OR s.callsign LIKE :search ESCAPE '\\' OR s.name LIKE :search ESCAPE '\\'"
    " OR folded(s.name) LIKE folded(:search) ESCAPE '\\')"
)


class StatisticsReader:
    """Answers from the statistics in the journal's file ``path``; writes nothing.

    For one thread at a time. Works alongside a running gateway; a journal without statistics
    answers like an empty one. Days are in UTC. Ranges are from ``since`` to before ``until`` in
    UNIX seconds, and include the whole minutes, hours or days they touch. ``clock`` gives UNIX
    seconds. The constructor and every method raise JournalError if there is no journal that this
    version can read.
    """

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        self._has_tables = False
        self._connection = open_file(self._path)
        with errors(self._path):
            self._connection.execute("PRAGMA query_only=1")
            self._connection.create_function("folded", 1, _folded, deterministic=True)

    def __enter__(self) -> StatisticsReader:
        """The reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # -- messages

    def totals(self, since: int | None = None, until: int | None = None) -> dict[str, int]:
        """Messages by type: of all time, or in a range of hours."""
        if since is None and until is None:
            rows = self._rows(
                "SELECT t.name, s.messages FROM sum_total s JOIN message_type t ON t.id = s.type"
                " ORDER BY t.name"
            )
        else:
            low = 0 if since is None else since - since % HOUR
            rows = self._rows(
                "SELECT t.name, sum(s.messages) FROM sum_hour s JOIN message_type t"
                " ON t.id = s.type WHERE s.hour >= ? AND s.hour < ? GROUP BY t.name"
                " ORDER BY t.name",
                (low, MAX_TIME if until is None else until),
            )
        return dict(rows)

    def series(self, step: Step, since: int, until: int, callsign: str | None = None) -> Series:
        """Messages by type in each minute, hour or day; of one station in each hour or day.

        Minutes are kept for 2 days, a station's hours for 8 and its days for 400, hours and days of
        all messages forever. Raises ValueError for a station's minutes, and for over MAX_STEPS.
        """
        seconds = STEPS[step]
        times = range(since - since % seconds, until, seconds)
        if len(times) > MAX_STEPS:
            raise ValueError(f"more than {MAX_STEPS} {step}s")
        if callsign is None:
            column = "minute" if step == "minute" else "hour"
            rows = self._rows(
                f"SELECT s.{column} - s.{column} % ?, t.name, sum(s.messages)"  # noqa: S608
                f" FROM sum_{column} s JOIN message_type t ON t.id = s.type"
                f" WHERE s.{column} >= ? AND s.{column} < ? GROUP BY 1, 2",
                (seconds, times.start, until),
            )
        elif step == "minute":
            raise ValueError("there are no minutes of a single station")
        else:
            # One lookup per step: the tables are ordered by time.
            kept = _KEPT[f"sum_station_{step}"] + DAY
            low = max(times.start, int(self._clock() - kept) // seconds * seconds)
            rows = self._rows(
                "WITH RECURSIVE step(at) AS (SELECT ?1 WHERE ?1 < ?2 UNION ALL"  # noqa: S608
                " SELECT at + ?3 FROM step WHERE at + ?3 < ?2)"
                f" SELECT step.at, t.name, s.messages FROM step CROSS JOIN sum_station_{step} s"
                f" ON s.{step} = step.at AND s.callsign = ?4 JOIN message_type t ON t.id = s.type",
                (low, until, seconds, callsign),
            )
        types = sorted({name for _, name, _ in rows})
        counts = {name: [0] * len(times) for name in types}
        for at, name, messages in rows:
            counts[name][(at - times.start) // seconds] = messages
        return Series(
            seconds, tuple(times), {name: tuple(values) for name, values in counts.items()}
        )

    def top(
        self, since: int, until: int, limit: int = 10, type: str | None = None
    ) -> tuple[Top, ...]:
        """The stations with the most messages (of ``type``): the first has the most.

        A range of up to two days, within the last eight, counts by hours; any other by days. Each
        day means reading all stations heard on it.
        """
        is_day = since % DAY == 0 and until % DAY == 0
        is_long = until - since > 2 * DAY or since < self._clock() - _KEPT["sum_station_hour"]
        step: Step = "day" if is_day or is_long else "hour"
        rows = self._rows(
            f"SELECT callsign, sum(messages) FROM sum_station_{step}"  # noqa: S608
            f" WHERE {step} >= ?1 AND {step} < ?2 AND callsign <> ?3"
            " AND (?4 IS NULL OR type = (SELECT id FROM message_type WHERE name = ?4))"
            " GROUP BY callsign ORDER BY 2 DESC, 1 LIMIT ?5",
            (since - since % STEPS[step], until, OTHERS, type, limit),
        )
        return tuple(Top(*row) for row in rows)

    # -- stations

    def stations(
        self,
        search: str | None = None,
        sort: str = "callsign",
        *,
        descending: bool = False,
        heard_since: float = 0,
        heard_before: float = MAX_TIME + 1,
        limit: int = 50,
        offset: int = 0,
        after: tuple[Any, str] | None = None,
    ) -> StationPage:
        """Stations whose callsign or name contains ``search`` (ignoring case).

        Those last heard at ``heard_since`` or later, and before ``heard_before``. Sorted by
        ``sort``, one of SORTS, then by callsign; unknown values come last. ``after``, a station's
        sort value and callsign, starts after that station, even if stations have come or gone.
        Raises ValueError for any other ``sort``.
        """
        if sort not in SORTS:
            raise ValueError(f"sort by one of {', '.join(SORTS)}")
        order, beyond = ("DESC", "<") if descending else ("ASC", ">")
        parameters = {
            **self._today(),
            "search": _pattern(search),
            "since": heard_since,
            "before": heard_before,
            "limit": limit,
            "at": offset,
        }
        wanted = f"{_SEARCH} AND s.last_heard >= :since AND s.last_heard < :before"
        behind = wanted
        if after is not None:
            value, callsign = after
            parameters |= {"value": value, "callsign": callsign}
            equal = f"{sort} IS :value AND s.callsign {beyond} :callsign"
            if value is not None:
                equal = f"{sort} {beyond} :value OR {sort} IS NULL OR {equal}"
            behind = f"{wanted} AND ({equal})"
        rows = self._rows(
            f"SELECT {_STATION} FROM station s WHERE {behind}"  # noqa: S608
            f" ORDER BY {sort} IS NULL, {sort} {order}, s.callsign {order} LIMIT :limit OFFSET :at",
            parameters,
        )
        ((total,),) = self._rows(
            f"SELECT count(*) FROM station s WHERE {wanted}",  # noqa: S608
            parameters,
        ) or [(0,)]
        return StationPage(total, _stations(rows))

    def station(self, callsign: str) -> HeardStation | None:
        """One station, None if it is not known."""
        return next(iter(self._select("s.callsign = :callsign", callsign=callsign)), None)

    def places(self, limit: int) -> Iterator[tuple[str, float, Position]]:
        """Where stations said they are: callsign, UNIX time and place; the latest ``limit``."""
        rows = self._rows(
            "SELECT callsign, position_time, latitude, longitude, altitude FROM station"
            " WHERE latitude IS NOT NULL AND longitude IS NOT NULL"
            " ORDER BY position_time DESC LIMIT :limit",
            {"limit": limit},
        )
        for callsign, when, *place in reversed(rows):
            named = dict(zip(("latitude", "longitude", "altitude"), place, strict=True))
            if (found := facts.position(named)) is not None:
                yield callsign, when or 0, found

    def silent(self, seconds: float, known: float = 7 * DAY) -> tuple[HeardStation, ...]:
        """Stations not heard for over ``seconds``, but within ``known`` seconds; longest first.

        Those heard only in the future, by a clock that was ahead then, come last.
        """
        now = self._clock()
        return self._select(
            "s.last_heard < :before AND s.last_heard >= :since OR s.last_heard > :latest"
            " ORDER BY s.last_heard, s.callsign",
            before=now - seconds,
            since=now - known,
            latest=now + MINUTE,
        )

    def new_stations(self, since: int, until: int) -> tuple[HeardStation, ...]:
        """Stations first heard in a range, earliest first."""
        return self._select(
            "s.first_heard >= :since AND s.first_heard < :until ORDER BY s.first_heard, s.callsign",
            since=since,
            until=until,
        )

    def absent(self, day: int, known: int = 7) -> tuple[Absent, ...]:
        """Stations not heard on ``day``, but on one of the ``known`` days before; longest first."""
        rows = self._rows(
            "SELECT d.callsign, s.name, max(d.day) FROM sum_station_day d LEFT JOIN station s"
            " ON s.callsign = d.callsign WHERE d.day >= ? AND d.day <= ? AND d.callsign <> ?"
            " GROUP BY d.callsign HAVING max(d.day) < ? ORDER BY 3, 1",
            (day - known * DAY, day, OTHERS, day),
        )
        return tuple(Absent(*row) for row in rows)

    def last_heard(self) -> int | None:
        """When the last message of any station came in, None without one."""
        return self._number("SELECT coalesce(max(last_heard), 0) FROM station") or None

    def heard_wrongly(self, earliest: float, latest: float) -> bool:
        """Whether there are stations heard before ``earliest`` or after ``latest``."""
        sql = (
            "SELECT 1 FROM station WHERE last_heard < ?1 OR first_heard < ?1"
            " OR last_heard > ?2 OR first_heard > ?2 LIMIT 1"
        )
        return bool(self._rows(sql, (earliest, latest)))

    def heard_since(self, when: float) -> int:
        """How many stations were heard at ``when`` or later."""
        return self._number("SELECT count(*) FROM station WHERE last_heard >= ?", (when,))

    def count_stations(self) -> int:
        """How many stations are known."""
        return self._number("SELECT count(*) FROM station")

    def count_heard(self, day: int) -> int:
        """How many stations were heard on the day that begins at ``day``."""
        return self._number(
            "SELECT count(DISTINCT callsign) FROM sum_station_day WHERE day = ? AND callsign <> ?",
            (day, OTHERS),
        )

    # -- requests, backlog, disk

    def requests(self, since: int, until: int) -> tuple[Requests, ...]:
        """Requests by day, action and status."""
        rows = self._rows(
            "SELECT day, action, status, requests FROM sum_requests WHERE day >= ? AND day < ?"
            " ORDER BY day, action, status",
            (since - since % DAY, until),
        )
        return tuple(Requests(*row) for row in rows)

    def networks(self, since: int, until: int) -> tuple[NetworkCount, ...]:
        """What networks' stations uploaded, by day, network, kind and reason."""
        # The journal of an older version has all tables but this one.
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'sum_network'"):
            return ()
        rows = self._rows(
            "SELECT day, network, kind, reason, number FROM sum_network"
            " WHERE day >= ? AND day < ? ORDER BY day, network, kind, reason",
            (since - since % DAY, until),
        )
        return tuple(NetworkCount(*row) for row in rows)

    def network_sums(self, since: int, until: int) -> tuple[NetworkSum, ...]:
        """The same by network: those with requests, in alphabetical order."""
        sums: dict[str, Counter[str]] = {}
        for one in self.networks(since, until):
            sums.setdefault(one.network, Counter())[one.kind] += one.number
        kinds = NetworkSum.__struct_fields__[1:]
        return tuple(
            NetworkSum(network, *(counts[kind] for kind in kinds))
            for network, counts in sorted(sums.items())
        )

    def latency(self, since: int, until: int) -> Latency:
        """Median and 99th percentile of all requests in a range of minutes."""
        rows = self._rows(
            "SELECT bound, sum(requests) FROM sum_latency WHERE minute >= ? AND minute < ?"
            " GROUP BY bound",
            (since - since % MINUTE, until),
        )
        return latency_of(since, Counter(dict(rows)))

    def latencies(self, since: int, until: int) -> tuple[Latency, ...]:
        """Median and 99th percentile of each minute that had requests, ascending."""
        minutes: dict[int, Counter[float]] = {}
        for minute, bound, requests in self._rows(
            "SELECT minute, bound, requests FROM sum_latency WHERE minute >= ? AND minute < ?"
            " ORDER BY minute",
            (since - since % MINUTE, until),
        ):
            minutes.setdefault(minute, Counter())[bound] = requests
        return tuple(latency_of(minute, counts) for minute, counts in minutes.items())

    def backlog(self, since: int, until: int) -> tuple[Backlog, ...]:
        """The backlog of each sampled minute, ascending."""
        rows = self._rows(
            "SELECT minute, messages, largest FROM sample_backlog WHERE minute >= ? AND minute < ?"
            " ORDER BY minute",
            (since - since % MINUTE, until),
        )
        return tuple(Backlog(*row) for row in rows)

    def disk(self, since: int, until: int) -> tuple[Disk, ...]:
        """The room on the disks in each sampled minute, ascending."""
        rows = self._rows(
            "SELECT minute, place, free, total FROM sample_disk WHERE minute >= ? AND minute < ?"
            " ORDER BY minute, place",
            (since - since % MINUTE, until),
        )
        return tuple(Disk(*row) for row in rows)

    def outlook(self) -> tuple[DiskOutlook, ...]:
        """The newest sample of each place, and when its disk will be full.

        Fits a straight line through all samples (least squares), of at most two days.
        """
        places: dict[str, list[Disk]] = {}
        for sample in self.disk(0, MAX_TIME):
            places.setdefault(sample.place, []).append(sample)
        return tuple(outlook_of(samples) for _, samples in sorted(places.items()))

    # -- for the aggregator

    def counted(self) -> int:
        """The sequence number of the last message that is counted."""
        return self._number("SELECT coalesce(max(seq), 0) FROM counted")

    def callsigns_of_hour(self, hour: int) -> set[str]:
        """The callsigns with their own sums in an hour."""
        rows = self._rows("SELECT DISTINCT callsign FROM sum_station_hour WHERE hour = ?", (hour,))
        return {callsign for (callsign,) in rows if callsign}

    def callsigns_of_day(self, day: int) -> set[str]:
        """The callsigns with their own sums on a day."""
        rows = self._rows("SELECT DISTINCT callsign FROM sum_station_day WHERE day = ?", (day,))
        return {callsign for (callsign,) in rows if callsign}

    def least_recently_heard(self, limit: int) -> list[str]:
        """The callsigns of the least recently heard stations."""
        rows = self._rows(
            "SELECT callsign FROM station ORDER BY last_heard, callsign LIMIT ?", (limit,)
        )
        return [callsign for (callsign,) in rows]

    def oldest(self, table: str, column: str) -> int:
        """The smallest time in a table's ``column``, MAX_TIME if it is empty."""
        return self._number(
            f"SELECT coalesce(min({column}), ?) FROM {table}",  # noqa: S608
            (MAX_TIME,),
        )

    # --

    def _today(self) -> dict[str, Any]:
        now = int(self._clock())
        return {"today": now - now % DAY}

    def _select(self, condition: str, **parameters: Any) -> tuple[HeardStation, ...]:
        return _stations(
            self._rows(
                f"SELECT {_STATION} FROM station s WHERE {condition}",  # noqa: S608
                {**self._today(), **parameters},
            )
        )

    def _number(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        rows = self._rows(sql, parameters)
        return int(rows[0][0]) if rows else 0

    def _rows(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[Any]:
        """All rows at once, so that no checkpoint of the gateway waits for this reader."""
        with errors(self._path):
            if not self._has_tables:
                found = self._connection.execute(
                    "SELECT 1 FROM sqlite_master WHERE name = 'counted'"
                ).fetchone()
                if not found:
                    return []
                self._has_tables = True
            return self._connection.execute(sql, parameters).fetchall()


def _stations(rows: Iterable[tuple[Any, ...]]) -> tuple[HeardStation, ...]:
    return tuple(HeardStation(*row) for row in rows)


def _folded(text: str | None) -> str | None:
    """A text folded for comparison regardless of case and form; None if ASCII is enough."""
    if text is None or text.isascii():
        return text
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Turkish has an i with a dot and one without, in both cases.
    folded = folded.replace("i\u0307", "i").replace("\u0131", "i")
    return unicodedata.normalize("NFKC", folded)


def _pattern(search: str | None) -> str | None:
    """The LIKE pattern for texts that contain ``search``."""
    if not search:
        return None
    for special in "\\%_":
        search = search.replace(special, f"\\{special}")
    return f"%{search}%"
