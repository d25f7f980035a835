"""Flat CSV: a column for each value, times in ISO 8601, packets as text.

The header needs the names of all values, so the rows are put aside until the last one is read.
"""

from __future__ import annotations

from collections.abc import Generator

from habitat_like.export import flat
from habitat_like.export.csv_form import broken_row, csv_line, csv_lines, guard
from habitat_like.export.flat import Cell
from habitat_like.export.form import Form, Part
from habitat_like.export.source import Source
from habitat_like.export.spool import Spool
from habitat_like.export.table import Table


def _write(source: Source, most: int | None) -> Generator[Part, None, None]:
    with Spool(most) as spool:
        table = Table(spool)
        yield from table.read(source)
        columns = table.columns
        yield Part(csv_line(_titles(columns)), 0)
        for batch in table.batches():
            rows = [[_show(name, row.get(name)) for name in columns] for row in batch]
            yield Part(csv_lines(rows), 0)


def _show(name: str, cell: Cell | None) -> str:
    if cell is None:
        return ""
    if name in flat.TIMES and (time := flat.iso(cell)) is not None:
        return time
    return guard(cell) if isinstance(cell, str) else flat.show(cell)


def _titles(columns: list[str]) -> list[str]:
    """The names of columns, each of them once, and none a formula."""
    titles: dict[str, None] = {}
    for column in columns:
        title = guard(column)
        while title in titles:
            title += "_"
        titles[title] = None
    return list(titles)


FLAT = Form(suffix="csv", mimetype="text/csv", write=_write, broken=broken_row)
