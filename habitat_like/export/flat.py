"""Flat: a message as one row, with a cell for each value. No I/O."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from habitat_like.archive.base import Document, to_json
from habitat_like.export.selection import Telling, network_of
from habitat_like.message.facts import data_of

#: What a cell can hold. Times are UNIX seconds.
Cell = str | int | float | bool
#: A row: only the cells that have something.
Row = dict[str, Cell]

#: The columns that every table begins with,
HEAD = ("time", "callsign", "type", "payload", "network", "latitude", "longitude", "altitude")
#: and those that it ends with; between them are the values.
TAIL = ("time_uploaded", "ip", "gateway", "suspicious", "id")
#: The columns whose cells are times.
TIMES = ("time", "time_uploaded")

#: Keys of ``data`` that hold a packet as base64.
PACKETS = ("string", "raw")

#: All of these names.
FIXED = frozenset((*HEAD, *TAIL))
_PLACE = ("latitude", "longitude", "altitude")
_INTEGERS = range(-(2**63), 2**63)


def row(document: Document, facts: Telling) -> Row:
    """The document as a row.

    A column has the name of its value, or of its key in ``data``. Where one of ``HEAD`` and
    ``TAIL`` has that name already, ``values.`` or ``data.`` precedes it. Packets are decoded;
    lists and objects are JSON.
    """
    said = facts(document)
    data = data_of(document)
    cells: Row = {}
    _put(cells, "time", document.get("time_created"))
    for name in ("callsign", "type"):
        _put(cells, name, document.get(name))
    _put(cells, "payload", said.payload)
    _put(cells, "network", network_of(document))
    if said.position is not None:
        for name in _PLACE:
            _put(cells, name, getattr(said.position, name))
    for name, value in said.values.items():
        _put(cells, _free(cells, name, "values"), value)
    values = data.get("values")
    if isinstance(values, dict):
        # Traces and the like, which are no plain values.
        for name, value in values.items():
            if name not in said.values:
                _put(cells, _free(cells, name, "values"), value)
    for name, value in data.items():
        if name in PACKETS:
            _put(cells, _free(cells, name, "data"), text_of(value))
        elif not _is_told(name, value, cells, said.position is not None):
            _put(cells, _free(cells, name, "data"), value)
    for name in ("time_uploaded", "ip", "gateway", "suspicious"):
        _put(cells, name, document.get(name))
    _put(cells, "id", document.get("_id"))
    return cells


def show(cell: Cell) -> str:
    """A cell as text."""
    return cell if isinstance(cell, str) else to_json(cell).decode("ascii")


def columns(found: Iterable[str]) -> list[str]:
    """All columns of a table in whose rows these names were ``found``."""
    return [*HEAD, *(name for name in found if name not in FIXED), *TAIL]


def moment(seconds: Any) -> datetime.datetime | None:
    """UNIX seconds as a time in UTC, None if they can't be one."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return None


def iso(seconds: Any) -> str | None:
    """UNIX seconds as ISO 8601 in UTC, such as 2026-11-21T14:00:00Z; None if they can't be."""
    found = moment(seconds)
    if found is None:
        return None
    kind = "seconds" if not found.microsecond else "milliseconds"
    return found.replace(tzinfo=None).isoformat(timespec=kind) + "Z"


def text_of(value: Any) -> Any:
    """What a packet in base64 says, with anything unprintable as an escape such as ``\\x1f``."""
    try:
        packet = base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return value
    text = packet.decode("utf-8", "backslashreplace")
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def _put(cells: Row, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, str):
        cells[name] = value if value.isascii() else _whole(value)
    elif isinstance(value, int) and value not in _INTEGERS:
        cells[name] = str(value)
    elif isinstance(value, int | float):
        cells[name] = value
    else:
        cells[name] = to_json(value).decode("utf-8")


def _free(cells: Mapping[str, Cell], name: str, where: str) -> str:
    """The column for a value of this name."""
    name = name if name.isascii() else _whole(name)
    return f"{where}.{name}" if name in FIXED or name in cells else name


def _is_told(name: str, value: Any, cells: Row, is_placed: bool) -> bool:
    """Whether the row has this entry of ``data`` already."""
    if name == "values":
        return isinstance(value, dict)
    if name == "position":
        return isinstance(value, dict) and is_placed
    return isinstance(value, str | int | float) and cells.get(name) == value


def _whole(text: str) -> str:
    """``text`` without lone surrogates, which UTF-8 can't hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
