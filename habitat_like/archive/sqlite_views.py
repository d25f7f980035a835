"""The embedded archive's views, which analysts query with SQL: docs/sql.md promises them. No I/O.

A view's columns stay as they are; new ones come at the end. ``time`` is the column of the table, so
that a condition on it can use an index.
"""

from __future__ import annotations

from collections.abc import Mapping

_UTC = "strftime('%Y-%m-%dT%H:%M:%SZ', {}, 'unixepoch')"
#: Never suspicious ones, as in queries.
_TRUSTED = "json_type(document, '$.suspicious') IS NULL"


def _place(name: str, function: str = "json_extract") -> str:
    """A coordinate, of the position or of the data itself."""
    return (
        f"coalesce({function}(document, '$.data.position.{name}'),"
        f" {function}(document, '$.data.{name}'))"
    )


def _is_number(name: str) -> str:
    return f"{_place(name, 'json_type')} IN ('integer', 'real')"


# What message/facts.py takes for a position.
_IS_SOMEWHERE = f"""
    {_is_number("latitude")} AND {_is_number("longitude")}
    AND {_place("latitude")} BETWEEN -90 AND 90 AND {_place("longitude")} BETWEEN -180 AND 180
    AND ({_place("latitude")} <> 0 OR {_place("longitude")} <> 0)
"""
_ALTITUDE = f"iif({_is_number('altitude')}, {_place('altitude')}, NULL)"

VIEWS = {
    "messages": f"""
SELECT id, type, callsign, time_created AS time, {_UTC.format("time_created")} AS utc,
    json_extract(document, '$.time_uploaded') AS time_uploaded,
    json_extract(document, '$.data.payload') AS payload,
    json_extract(document, '$.data.network') AS network,
    json_extract(document, '$.ip') AS ip,
    json_extract(document, '$.gateway') AS gateway,
    json_extract(document, '$.suspicious') AS suspicious,
    json_extract(document, '$.data') AS data
FROM document""",  # noqa: S608 (constants)
    "telemetry": f"""
SELECT id, type, callsign, time_created AS time, {_UTC.format("time_created")} AS utc,
    json_extract(document, '$.data.payload') AS payload,
    json_extract(document, '$.data.network') AS network,
    json_extract(document, '$.data.sensor') AS sensor,
    json_extract(document, '$.data.protocol') AS protocol,
    json_extract(document, '$.data.sequence') AS sequence,
    json_extract(document, '$.data.position.latitude') AS latitude,
    json_extract(document, '$.data.position.longitude') AS longitude,
    json_extract(document, '$.data.position.altitude') AS altitude,
    json_extract(document, '$.data.values') AS readings
FROM document
WHERE type <> 'RECEIVED_TELEM' AND json_type(document, '$.data.values') = 'object'
    AND {_TRUSTED}""",  # noqa: S608 (constants)
    "positions": f"""
SELECT id, type, callsign, time_created AS time, {_UTC.format("time_created")} AS utc,
    json_extract(document, '$.data.payload') AS payload,
    json_extract(document, '$.data.network') AS network,
    {_place("latitude")} AS latitude, {_place("longitude")} AS longitude,
    {_ALTITUDE} AS altitude
FROM document
WHERE type <> 'RECEIVED_TELEM' AND {_TRUSTED} AND {_IS_SOMEWHERE}""",  # noqa: S608 (constants)
    # With max(), SQLite takes the other columns from the row that has it
    # (https://www.sqlite.org/lang_select.html#bareagg).
    "stations": f"""
WITH info AS (
    SELECT callsign, max(time_created) AS time, document FROM document
    WHERE type = 'LISTENER_INFO' AND {_TRUSTED} GROUP BY callsign
), place AS (
    SELECT callsign, max(time_created) AS time, document FROM document
    WHERE type = 'LISTENER_TELEM' AND {_TRUSTED} AND {_IS_SOMEWHERE} GROUP BY callsign
), heard AS (
    SELECT callsign, min(time_created) AS first_time, max(time_created) AS last_time,
        count(*) AS messages
    FROM document WHERE type <> 'TELEM' AND {_TRUSTED} GROUP BY callsign
)
SELECT heard.callsign, messages,
    first_time, {_UTC.format("first_time")} AS first_utc,
    last_time, {_UTC.format("last_time")} AS last_utc,
    json_extract(info.document, '$.data.name') AS name,
    json_extract(info.document, '$.data.location') AS location,
    json_extract(info.document, '$.data.radio') AS radio,
    json_extract(info.document, '$.data.antenna') AS antenna,
    json_extract(place.document, '$.data.latitude') AS latitude,
    json_extract(place.document, '$.data.longitude') AS longitude,
    json_extract(place.document, '$.data.altitude') AS altitude
FROM heard LEFT JOIN info USING (callsign) LEFT JOIN place USING (callsign)""",  # noqa: S608 (constants)
}


def changes(present: Mapping[str, tuple[str, str]]) -> tuple[str, list[str]]:
    """The statements that make the views which are missing or differ, and what is in the way.

    ``present`` has the kind and the SQL of what there is, by name. What is in the way has the name
    of a view; there is a line about each.
    """
    statements, problems = [], []
    for name, select in VIEWS.items():
        wanted = f"CREATE VIEW {name} AS{select}".rstrip()  # as SQLite keeps it
        kind, sql = present.get(name, ("view", ""))
        if kind != "view":
            problems.append(f"there is no view {name} for analysts: a {kind} has its name")
        elif sql != wanted:
            statements.append(f"DROP VIEW IF EXISTS {name}; {wanted};")
    return "\n".join(statements), problems
