"""The tables of the statistics, in the journal's file: their schema, and how sums get into them.

An older version leaves these tables alone, so they don't change the journal's format. Every
time is in UNIX seconds; ``minute``, ``hour`` and ``day`` are the first second of one, in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from habitat_like.times import RELEASED

MINUTE, HOUR, DAY = 60, 3600, 86400

#: What ``sum_latency`` stores as the bound of the last, unbounded bucket; in seconds.
UNBOUNDED = 1e9
#: The callsign under which messages of stations without their own sums are counted.
OTHERS = ""

SCHEMA = (
    # The last message counted: it moves in the transaction that adds the sums.
    "CREATE TABLE IF NOT EXISTS counted"
    " (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS message_type (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS sum_total (type INTEGER PRIMARY KEY, messages INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sum_minute (minute INTEGER, type INTEGER, messages INTEGER"
    " NOT NULL, PRIMARY KEY (minute, type)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS sum_hour (hour INTEGER, type INTEGER, messages INTEGER NOT NULL,"
    " PRIMARY KEY (hour, type)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS sum_station_hour (hour INTEGER, callsign TEXT, type INTEGER,"
    " messages INTEGER NOT NULL, PRIMARY KEY (hour, callsign, type)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS sum_station_day (day INTEGER, callsign TEXT, type INTEGER,"
    " messages INTEGER NOT NULL, PRIMARY KEY (day, callsign, type)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS sum_requests (day INTEGER, action TEXT, status INTEGER,"
    " requests INTEGER NOT NULL, PRIMARY KEY (day, action, status)) WITHOUT ROWID",
    # What networks' stations uploaded: kinds and reasons as in rows.NetworkCount.
    "CREATE TABLE IF NOT EXISTS sum_network (day INTEGER, network TEXT, kind TEXT, reason TEXT,"
    " number INTEGER NOT NULL, PRIMARY KEY (day, network, kind, reason)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS sum_latency (minute INTEGER, bound REAL, requests INTEGER"
    " NOT NULL, PRIMARY KEY (minute, bound)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS sample_backlog (minute INTEGER PRIMARY KEY,"
    " messages INTEGER NOT NULL, largest INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sample_disk (minute INTEGER, place TEXT, free INTEGER NOT NULL,"
    " total INTEGER NOT NULL, PRIMARY KEY (minute, place)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS station (callsign TEXT PRIMARY KEY, first_heard INTEGER NOT NULL,"
    " last_heard INTEGER NOT NULL, messages INTEGER NOT NULL, time_created INTEGER NOT NULL,"
    " ip TEXT, clock_offset INTEGER, info_time INTEGER, name TEXT, location TEXT, radio TEXT,"
    " antenna TEXT, position_time INTEGER, latitude REAL, longitude REAL, altitude REAL)"
    " WITHOUT ROWID",
)


class Retention(NamedTuple):
    """How long the rows of ``table`` are kept: ``seconds`` after the time in ``column``.

    ``key`` are the columns of its primary key.
    """

    table: str
    column: str
    key: str
    seconds: int


RETENTIONS = (
    Retention("sum_minute", "minute", "minute, type", 2 * DAY),
    Retention("sum_station_hour", "hour", "hour, callsign, type", 8 * DAY),
    Retention("sum_station_day", "day", "day, callsign, type", 400 * DAY),
    Retention("sum_requests", "day", "day, action, status", 400 * DAY),
    Retention("sum_network", "day", "day, network, kind, reason", 400 * DAY),
    Retention("sum_latency", "minute", "minute, bound", 2 * DAY),
    Retention("sample_backlog", "minute", "minute", 2 * DAY),
    Retention("sample_disk", "minute", "minute, place", 2 * DAY),
)

#: An SQL statement and its parameters.
Statement = tuple[str, tuple[object, ...]]

# All rows of a table are inserted by one statement, as JSON: one call into SQLite, one release of
# the interpreter's lock, however many there are.
_ROW = "json_extract(value, '$[{}]')"
_TYPE = "(SELECT id FROM message_type WHERE name = json_extract(value, '$[{}]'))"
_ADD = " ON CONFLICT DO UPDATE SET {0} = {0} + excluded.{0}"


def _insert(table: str, columns: str, on_conflict: str) -> str:
    """The statement that puts JSON rows into ``columns``; one named type is a type's name."""
    values = ", ".join(
        (_TYPE if name == "type" else _ROW).format(at) for at, name in enumerate(columns.split())
    )
    names = columns.replace(" ", ", ")
    # 'WHERE true' tells ON CONFLICT from a join's ON (https://www.sqlite.org/lang_upsert.html).
    return (
        f"INSERT INTO {table} ({names}) SELECT {values} FROM json_each(?)"  # noqa: S608
        f" WHERE true{on_conflict}"
    )


def _newest(column: str, when: str) -> str:
    """Take the new value of ``column`` if the new row has a time in ``when``."""
    return f"{column} = iif(excluded.{when} IS NULL, station.{column}, excluded.{column})"


#: A clock may be set back by this many seconds; if by more, it was wrong before.
AHEAD = 3 * DAY
_HEARD = "callsign first_heard last_heard messages time_created ip clock_offset"
_HEARD_UPDATE = (
    " ON CONFLICT DO UPDATE SET last_heard = iif(last_heard > excluded.last_heard +"
    f" {AHEAD}, excluded.last_heard, max(last_heard, excluded.last_heard)),"
    f" first_heard = iif(first_heard < {RELEASED}, excluded.first_heard,"
    " min(first_heard, excluded.first_heard)),"
    " messages = messages + excluded.messages, time_created = excluded.time_created,"
    " ip = coalesce(excluded.ip, ip), clock_offset = coalesce(excluded.clock_offset, clock_offset)"
)
_DETAILS = " info_time name location radio antenna position_time latitude longitude altitude"
_DETAILS_UPDATE = (
    ", "
    + ", ".join(_newest(name, "info_time") for name in ("name", "location", "radio", "antenna"))
    + ", info_time = coalesce(excluded.info_time, info_time), "
    + ", ".join(_newest(name, "position_time") for name in ("latitude", "longitude", "altitude"))
    + ", position_time = coalesce(excluded.position_time, position_time)"
)

#: How rows get into each table: the statement's parameter is a JSON array of rows.
INSERTS = {
    "message_type": "INSERT OR IGNORE INTO message_type (name) SELECT value FROM json_each(?)",
    "sum_total": _insert("sum_total", "type messages", _ADD.format("messages")),
    "sum_minute": _insert("sum_minute", "minute type messages", _ADD.format("messages")),
    "sum_hour": _insert("sum_hour", "hour type messages", _ADD.format("messages")),
    "sum_station_hour": _insert(
        "sum_station_hour", "hour callsign type messages", _ADD.format("messages")
    ),
    "sum_station_day": _insert(
        "sum_station_day", "day callsign type messages", _ADD.format("messages")
    ),
    "sum_requests": _insert("sum_requests", "day action status requests", _ADD.format("requests")),
    "sum_network": _insert("sum_network", "day network kind reason number", _ADD.format("number")),
    "sum_latency": _insert("sum_latency", "minute bound requests", _ADD.format("requests")),
    "sample_backlog": _insert(
        "sample_backlog",
        "minute messages largest",
        " ON CONFLICT DO UPDATE SET messages = excluded.messages,"
        " largest = max(largest, excluded.largest)",
    ),
    "sample_disk": _insert(
        "sample_disk",
        "minute place free total",
        " ON CONFLICT DO UPDATE SET free = excluded.free, total = excluded.total",
    ),
    # Most messages only say that a station was heard: half the work.
    "station": _insert("station", _HEARD, _HEARD_UPDATE),
    "station details": _insert("station", _HEARD + _DETAILS, _HEARD_UPDATE + _DETAILS_UPDATE),
}

_encode = msgspec.json.Encoder().encode


def insert(table: str, rows: Sequence[tuple[object, ...] | str]) -> Statement:
    """The statement that adds ``rows`` to what ``table`` has."""
    return INSERTS[table], (_encode(rows).decode(),)


def move_cursor(seq: int) -> Statement:
    """The statement that records that all messages up to ``seq`` are counted."""
    return "INSERT OR REPLACE INTO counted VALUES (1, ?)", (seq,)


def correct_heard(now: int, earliest: int, latest: int) -> Statement:
    """The statement for stations heard while the clock was wrong.

    That is before ``earliest`` or after ``latest``. The real time is unknown, but not after
    ``now``: a station silent from now on is silent since now.
    """
    first, last = (f"({column} < ?2 OR {column} > ?3)" for column in ("first_heard", "last_heard"))
    return (
        f"UPDATE station SET last_heard = iif({last}, ?1, last_heard),"  # noqa: S608
        f" first_heard = iif({first}, iif({last}, ?1, last_heard), first_heard)"
        f" WHERE {first} OR {last}",
        (now, earliest, latest),
    )


def expire(retention: Retention, now: int, limit: int) -> Statement:
    """The statement that deletes up to ``limit`` rows of a table that are too old."""
    table, column, key, seconds = retention
    return (
        f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table}"  # noqa: S608
        f" WHERE {column} < ? ORDER BY {key} LIMIT ?)",
        (now - seconds, limit),
    )


def forget(callsigns: list[str]) -> Statement:
    """The statement that deletes stations."""
    return (
        "DELETE FROM station WHERE callsign IN (SELECT value FROM json_each(?))",
        (_encode(callsigns).decode(),),
    )
