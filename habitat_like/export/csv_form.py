"""Documents as CSV: the same from the command line and from the console.

The file must read back without loss, mainly by programs, and do no harm in a spreadsheet, which
takes anything that begins with ``= + - @`` for a formula. What a station chooses freely is only in
``data``, whose cell is JSON and begins with ``{``. Characters that separate cells in other locales
(``;`` where the comma is the decimal point) are JSON escapes in it, so that no cell begins after
them. A callsign has only letters, digits and ``/ _ -``, which can't call a function. Free text that
is not JSON goes through ``guard``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterable, Iterator
from types import SimpleNamespace

from habitat_like.archive.base import Document, to_json
from habitat_like.export.form import Form, Part, not_whole
from habitat_like.export.source import Source

#: The columns; ``data`` holds JSON.
CSV_COLUMNS = ("time_created", "time_uploaded", "callsign", "type", "ip", "gateway", "_id", "data")
#: The column that says why a message can't be right, when such messages are requested.
MARK = "suspicious"
#: Rows encoded at once, and their characters; fewer rows if they are large.
BLOCK = 200
BLOCK_LENGTH = 256 * 1024


#: Columns of free text: an operator's, or a sink's.
_FREE = frozenset({"gateway", MARK})
#: What others have from our stations; documents of somebody else can be imported.
_PLAIN = re.compile(r"[A-Za-z0-9/_.:%-]*")
#: What begins a formula, at the start of a cell or after a character that separates cells in some
#: locale. Blanks may precede it, and in some languages' versions it may be full-width.
_FORMULA = re.compile(r"(^|[;,|\t\r\n])([\s\"\ufeff\u200b]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_SEPARATOR = re.compile(r"[;|\t]")


def guard(text: str) -> str:
    """``text`` with ``'`` before any part that a spreadsheet would take for a formula."""
    return _FORMULA.sub(r"\1\2'", text)


def csv_header(suspicious: bool) -> bytes:
    """The header line with its line end; ``suspicious`` adds a column of that name."""
    return csv_line(_columns(suspicious))


def csv_blocks(documents: Iterable[Document], *, suspicious: bool) -> Iterator[bytes]:
    """The rows in UTF-8, at most ``BLOCK`` at a time, without the header."""
    columns = _columns(suspicious)
    rows: list[list[str]] = []
    length = 0
    for document in documents:
        row = _cells(document, columns)
        rows.append(row)
        length += sum(map(len, row))
        if len(rows) == BLOCK or length >= BLOCK_LENGTH:
            yield csv_lines(rows)
            rows, length = [], 0
    if rows:
        yield csv_lines(rows)


def csv_line(cells: Iterable[str]) -> bytes:
    """One row with its line end."""
    return csv_lines([list(cells)])


def csv_lines(rows: list[list[str]]) -> bytes:
    """Rows with their line ends."""
    lines: list[str] = []
    # Characters of the line end are quoted in a value: \r must be too, or no reader takes the row.
    csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n").writerows(rows)
    text = "".join([line.removesuffix("\r\n") + "\n" for line in lines])
    return text.encode("utf-8", "backslashreplace")


def _escape(found: re.Match[str]) -> str:
    # In JSON these characters occur only in strings.
    return f"\\u{ord(found[0]):04x}"


def _columns(suspicious: bool) -> tuple[str, ...]:
    return (*CSV_COLUMNS, MARK) if suspicious else CSV_COLUMNS


def _cells(document: Document, columns: tuple[str, ...]) -> list[str]:
    cells = []
    for name in columns:
        value = document.get(name)
        if value is None:
            cells.append("")
        elif isinstance(value, str):
            is_plain = name not in _FREE and _PLAIN.fullmatch(value)
            cells.append(value if is_plain else guard(value))
        else:
            text = to_json(value).decode("utf-8")
            cells.append(_SEPARATOR.sub(_escape, text) if "{" in text else text)
    return cells


def _write(source: Source, _: int | None) -> Generator[Part, None, None]:
    suspicious = source.query.suspicious
    yield Part(csv_header(suspicious), 0)
    for documents in source.documents():
        data = b"".join(csv_blocks(documents, suspicious=suspicious))
        yield Part(data, len(documents), source.at)


def broken_row(reason: str) -> bytes:
    """The end of CSV that is not whole: a row that says so."""
    return csv_line([not_whole(reason)])


CSV = Form(suffix="csv", mimetype="text/csv", write=_write, is_resumable=True, broken=broken_row)
