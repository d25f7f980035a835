"""Documents as CSV: the same from the command line and from the console.

Every value is written as it is, also one that begins with ``= + - @``, which some spreadsheets
take for a formula: the file is to be read back without loss, by programs above all, and an ``'``
put before such a value would be one more character of it. What a station chooses freely is in
``data`` alone, whose cell is JSON and begins with ``{``; a callsign has letters, digits and
``/ _ -`` alone, which make no call of a function; the other columns are of the gateway's making.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace

from habitat_like.archive.base import Document, to_json

#: The columns; ``data`` holds JSON.
CSV_COLUMNS = ("time_created", "time_uploaded", "callsign", "type", "ip", "gateway", "_id", "data")
#: The column of why a message can't be right, for who asks for such messages.
MARK = "suspicious"
#: Rows that are encoded at once.
BLOCK = 200


def csv_header(suspicious: bool) -> bytes:
    """The first line with its end; ``suspicious`` adds a column of that name."""
    return csv_line(_columns(suspicious))


def csv_blocks(
    documents: Iterable[Document],
    *,
    suspicious: bool,
    clean: Callable[[str], str] | None = None,
) -> Iterator[bytes]:
    """The rows in UTF-8, some at a time, without the header.

    ``clean`` is applied to each cell, for where the rows are shown to people.
    """
    columns = _columns(suspicious)
    rows = (_cells(document, columns) for document in documents)
    while some := list(itertools.islice(rows, BLOCK)):
        yield _encode([list(map(clean, row)) for row in some] if clean else some)


def csv_line(cells: Iterable[str]) -> bytes:
    """One row with its end."""
    return _encode([list(cells)])


def _encode(rows: list[list[str]]) -> bytes:
    lines: list[str] = []
    # What is in the line's end is quoted in a value: \r must be too, or no reader takes the row.
    csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n").writerows(rows)
    text = "".join([line.removesuffix("\r\n") + "\n" for line in lines])
    return text.encode("utf-8", "backslashreplace")


def _columns(suspicious: bool) -> tuple[str, ...]:
    return (*CSV_COLUMNS, MARK) if suspicious else CSV_COLUMNS


def _cells(document: Document, columns: tuple[str, ...]) -> list[str]:
    cells = []
    for name in columns:
        value = document.get(name)
        if value is None:
            cells.append("")
        elif isinstance(value, str):
            cells.append(value)
        else:
            cells.append(to_json(value).decode("utf-8"))
    return cells
