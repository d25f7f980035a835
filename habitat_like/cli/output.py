"""Prints documents as they come: table, JSON, NDJSON or CSV, in memory that doesn't grow."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from habitat_like import times
from habitat_like.archive.base import Document, to_json
from habitat_like.cli.text import printable
from habitat_like.export.csv_form import MARK, csv_blocks, csv_header

TABLE_HEADER = ("time_created", "callsign", "type", "ip", "data")
#: Rows from which a table chooses its columns' widths, and characters of them; later rows keep
#: these widths.
TABLE_BLOCK = 200
TABLE_LENGTH = 1024 * 1024
#: A terminal narrower than this wraps lines instead of losing nearly all of the last column.
NARROWEST_LAST = 20


def print_lines(lines: Iterable[bytes], *, array: bool) -> None:
    """Print documents that are JSON already, one a line or as one ``array``."""
    sys.stdout.flush()
    # Bytes, as JSON is UTF-8 whatever the locale says.
    out = sys.stdout.buffer
    if sys.stdout.isatty():
        lines = map(for_terminal, lines)
    if not array:
        out.writelines(line + b"\n" for line in lines)
    else:
        before = b"[\n"
        for line in lines:
            out.write(before + line)
            before = b",\n"
        out.write(b"[]\n" if before == b"[\n" else b"\n]\n")
    out.flush()


def print_documents(documents: Iterable[Document], form: str, *, suspicious: bool = False) -> None:
    """Print ``documents`` in the ``form`` table or csv.

    ``suspicious`` adds a column of that name to the table and the csv.
    """
    if form == "table":
        columns = (*TABLE_HEADER[:-1], MARK, TABLE_HEADER[-1]) if suspicious else TABLE_HEADER
        print_table(columns, (_table_row(document, columns) for document in documents))
    else:
        _print_csv(documents, suspicious)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print ``rows`` under ``header``; on a terminal each row is one line."""
    clean = ([printable(cell) for cell in row] for row in rows)
    first: list[list[str]] = []
    length = 0
    while len(first) < TABLE_BLOCK and length < TABLE_LENGTH and (row := next(clean, None)):
        first.append(row)
        length += sum(map(len, row))
    widths = [max(map(len, column)) for column in zip(header, *first, strict=True)]
    room = None
    if sys.stdout.isatty():
        before = sum(widths[:-1]) + 2 * (len(widths) - 1)
        import shutil  # noqa: PLC0415 (slow to import)

        room = max(shutil.get_terminal_size().columns - before, NARROWEST_LAST)
    titles = _line([name.upper() for name in header], widths, room)
    # The message is of our own making; echo leaves the colour out where there is no terminal.
    click.echo(click.style(titles, bold=True))
    for cells in itertools.chain(first, clean):
        sys.stdout.write(_line(cells, widths, room) + "\n")


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


def encode_for(document: Any, terminal: bool) -> bytes:
    """``document`` as one line of JSON, safe to show where it goes to a ``terminal``."""
    line = to_json(document)
    return for_terminal(line) if terminal else line


def for_terminal(line: bytes) -> bytes:
    """A line of JSON with the control characters in its strings escaped."""
    text = line.decode("utf-8")
    if text.isprintable():
        return line
    # Outside strings our JSON has only printable characters, so this changes no value.
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text).encode(
        "utf-8"
    )


def text_for_terminal(data: bytes) -> bytes:
    """Lines of text with all that could steer a terminal written as escapes."""
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    return "\n".join(map(printable, lines)).encode()


def pretty(document: bytes) -> str:
    """A document's JSON bytes indented for people; what is no JSON comes as it is, escaped."""
    try:
        lines = json.dumps(json.loads(document), indent=2, ensure_ascii=False).split("\n")
    except (ValueError, RecursionError):
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
        "data": "" if data is None else to_json(data).decode("utf-8"),
    }
    return [cells[name] if name in cells else str(document.get(name) or "") for name in columns]


def _print_csv(documents: Iterable[Document], suspicious: bool) -> None:
    sys.stdout.flush()
    out = sys.stdout.buffer
    rows = csv_blocks(documents, suspicious=suspicious)
    out.write(csv_header(suspicious))
    out.writelines(map(text_for_terminal, rows) if sys.stdout.isatty() else rows)
    out.flush()
