"""The embedded archive's tables: schema, inserts and queries. No I/O."""

from __future__ import annotations

from typing import Any

from habitat_like.archive.base import Query

#: The version of the tables, kept in the file's user_version.
VERSION = 1

#: Marks the tables as ours in the file's header ("habi").
APPLICATION = 0x68616269

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS document (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: follow() counts on it
    id TEXT NOT NULL UNIQUE,
    type, callsign, time_created,  -- as in the document, for the indexes; NULL where it has none
    document TEXT NOT NULL         -- the JSON text as it came
);
CREATE INDEX IF NOT EXISTS by_time ON document (time_created, id);
CREATE INDEX IF NOT EXISTS by_type_time ON document (type, time_created, id);
CREATE INDEX IF NOT EXISTS by_callsign_time ON document (callsign, time_created, id);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""

# One statement for a whole batch: the interpreter's lock is released once and the loop over the
# documents runs in C. executemany releases and retakes it for every row, and with a busy gateway
# thread each retake waits. "OR IGNORE" would hide more than a repeated id.
INSERT = """
INSERT INTO document (id, type, callsign, time_created, document)
SELECT json_extract(value, '$._id'), json_extract(value, '$.type'),
       json_extract(value, '$.callsign'), json_extract(value, '$.time_created'), value
FROM json_each(?) WHERE true
ON CONFLICT (id) DO NOTHING
"""


def statements(query: Query) -> tuple[tuple[str, str], dict[str, Any]]:
    """The statement for the first page and the one for later pages, and their fixed values.

    The index is named, so that SQLite fails instead of scanning or sorting.
    """
    values: dict[str, Any] = {"since": query.since, "until": query.until}
    terms = []
    index = "by_time"
    if query.type is not None:
        index = "by_type_time"
        terms.append("type = :type")
        values["type"] = query.type
    if query.callsign is not None:
        index = "by_callsign_time"
        terms.append("callsign = :callsign")
        values["callsign"] = query.callsign
    since, until = "time_created >= :since", "time_created < :until"
    # A later page has no other bound on this side: SQLite would search with that one, and reread
    # all earlier pages.
    if query.order == "asc":
        way, later = "ASC", ["(time_created, id) > (:time, :id)", until]
    else:
        way, later = "DESC", [since, "(time_created, id) < (:time, :id)"]
    first_page, later_page = (
        f"SELECT time_created, id, document FROM document INDEXED BY {index}"  # noqa: S608 (constants)
        f" WHERE {' AND '.join(where)} ORDER BY time_created {way}, id {way} LIMIT :size"
        for where in ([*terms, since, until], [*terms, *later])
    )
    return (first_page, later_page), values
