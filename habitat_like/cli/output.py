"""Prints documents as they come: table, JSON, NDJSON or CSV, in memory that doesn't grow."""

from __future__ import annotations

import csv
import io
import itertools
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
import msgspec

from habitat_like.archive.base import Document
from habitat_like.cli import times
from habitat_like.cli.text import printable

#: The columns of the CSV form; ``data`` holds JSON.
CSV_COLUMNS = ("time_created", "time_uploaded", "callsign", "type", "ip", "gateway", "_id", "data")
#: The column of why a message can't be right, for who asks for such messages.
MARK = "suspicious"
TABLE_HEADER = ("time_created", "callsign", "type", "ip", "data")
#: Rows that a table looks at to choose its columns' widths; later rows keep these.
TABLE_BLOCK = 200
#: A terminal narrower than this wraps lines instead of losing nearly all of the last column.
NARROWEST_LAST = 20


def print_documents(documents: Iterable[Document], form: str, *, suspicious: bool = False) -> None:
    """Print ``documents`` in the ``form`` table, json, ndjson or csv.

    ``suspicious`` adds a column of that name to the table and the csv.
    """
    if form == "table":
        columns = (*TABLE_HEADER[:-1], MARK, TABLE_HEADER[-1]) if suspicious else TABLE_HEADER
        print_table(columns, (_table_row(document, columns) for document in documents))
    elif form == "csv":
        _print_csv(documents, (*CSV_COLUMNS, MARK) if suspicious else CSV_COLUMNS)
    else:
        _print_json(documents, array=form == "json")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print ``rows`` under ``header``; on a terminal each row is one line."""
    clean = ([printable(cell) for cell in row] for row in rows)
    first = list(itertools.islice(clean, TABLE_BLOCK))
    widths = [max(map(len, column)) for column in zip(header, *first, strict=True)]
    room = None
    if sys.stdout.isatty():
        before = sum(widths[:-1]) + 2 * (len(widths) - 1)
        room = max(shutil.get_terminal_size().columns - before, NARROWEST_LAST)
    titles = _line([name.upper() for name in header], widths, room)
    # The message is of our own making; echo leaves the colour out where there is no terminal.
    click.echo(click.style(titles, bold=True))
    for row in itertools.chain(first, clean):
        sys.stdout.write(_line(row, widths, room) + "\n")


def print_small_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of a few rows; on a terminal long cells are folded and nothing is cut."""
    if not sys.stdout.isatty():
        print_table(header, rows)
        return
    from rich.console import Console  # noqa: PLC0415 (slow to import)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(file=sys.stdout, highlight=False).print(table)


def encode(document: Any) -> bytes:
    """``document`` as one line of JSON in UTF-8."""
    try:
        return msgspec.json.encode(document)
    except (OverflowError, UnicodeEncodeError):
        # Integers over 64 bits and lone surrogates, which other writers of the database may leave.
        return json.dumps(document, separators=(",", ":")).encode("ascii")


def encode_for(document: Any, terminal: bool) -> bytes:
    """As ``encode``; for a ``terminal``, control characters inside of strings are escaped."""
    line = encode(document)
    if not terminal:
        return line
    text = line.decode("utf-8")
    if text.isprintable():
        return line
    # Outside of its strings our JSON has printable characters alone, so this changes no value.
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text).encode(
        "utf-8"
    )


def pretty(document: bytes) -> str:
    """A document's JSON bytes indented for people; what is no JSON comes as it is, escaped."""
    try:
        lines = json.dumps(json.loads(document), indent=2, ensure_ascii=False).split("\n")
    except ValueError:
        lines = [document.decode("utf-8", "backslashreplace")]
    return "\n".join(map(printable, lines))


def _line(cells: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    *padded, last = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    last = last.rstrip()
    if room is not None and len(last) > room:
        last = last[: room - 1] + "…"
    return "  ".join([*padded, last]).rstrip()


def _table_row(document: Document, columns: Sequence[str]) -> list[str]:
    data = document.get("data")
    cells = {
        "time_created": times.show(document.get("time_created", "")),
        "data": "" if data is None else encode(data).decode("utf-8"),
    }
    return [cells[name] if name in cells else str(document.get(name) or "") for name in columns]


def _print_json(documents: Iterable[Document], *, array: bool) -> None:
    sys.stdout.flush()
    # Bytes, as JSON is UTF-8 whatever the locale says.
    out = sys.stdout.buffer
    terminal = sys.stdout.isatty()
    before = b"[\n" if array else b""
    for document in documents:
        out.write(before + encode_for(document, terminal) + (b"" if array else b"\n"))
        before = b",\n" if array else b""
    if array:
        out.write(b"[]\n" if before == b"[\n" else b"\n]\n")
    out.flush()


def _print_csv(documents: Iterable[Document], columns: Sequence[str]) -> None:
    sys.stdout.flush()
    terminal = sys.stdout.isatty()
    block = io.StringIO()
    writer = csv.writer(block, lineterminator="\n")
    writer.writerow(columns)
    for rows in _blocks(_csv_row(document, columns) for document in documents):
        writer.writerows([map(printable, row) for row in rows] if terminal else rows)
        _empty_into_stdout(block)
    _empty_into_stdout(block)
    sys.stdout.buffer.flush()


def _csv_row(document: Document, columns: Sequence[str]) -> list[str]:
    cells = []
    for name in columns:
        value = document.get(name)
        if value is None:
            cells.append("")
        elif isinstance(value, str):
            cells.append(value)
        else:
            cells.append(encode(value).decode("utf-8"))
    return cells


def _blocks(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while block := list(itertools.islice(rows, TABLE_BLOCK)):
        yield block


def _empty_into_stdout(block: io.StringIO) -> None:
    sys.stdout.buffer.write(block.getvalue().encode("utf-8", "backslashreplace"))
    block.seek(0)
    block.truncate()
