"""CSV for programs and for people: read back without loss, and no formula in any spreadsheet."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.export.csv_form import CSV_COLUMNS, csv_blocks, csv_header, guard
from tests.support.archive import document

FORMULAS = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20A1"]
#: What separates cells in one country or program or another.
SEPARATORS = [",", ";", "\t", "|"]


def begins_formula(cell: str) -> bool:
    """Whether a spreadsheet may take the cell for a formula."""
    return cell.lstrip().lstrip('"\ufeff\u200b').lstrip()[:1] in {one[0] for one in FORMULAS}


def cells(text: str, separator: str) -> list[str]:
    """All cells that a program makes of the text which takes this for the separator."""
    return [cell for row in csv.reader(text.splitlines(), delimiter=separator) for cell in row]


def as_csv(data: Any, **more: Any) -> str:
    made = document(1, data=data, time_uploaded=2000, ip="192.0.2.1", gateway="a1", **more)
    return (csv_header(True) + b"".join(csv_blocks([made], suspicious=True))).decode()


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("before", ["", "x;", "x\t", "x|", "x,", " ", "\t", "x; ", 'x;"', "x\r"])
def test_no_cell_is_a_formula_wherever_cells_end(separator: str, formula: str, before: str) -> None:
    text = as_csv({"name": before + formula, before + formula: 1}, suspicious=before + formula)
    assert not [cell for cell in cells(text, separator) if begins_formula(cell)]
    assert not begins_formula(guard(before + formula))
    line = f"A,{guard(before + formula)},B"
    assert not [cell for cell in line.split(separator) if begins_formula(cell)]


@pytest.mark.parametrize("column", ["callsign", "type", "ip", "_id"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_a_document_of_somebody_else_has_no_formula_either(column: str, formula: str) -> None:
    made = document(1, data={}) | {column: f"{formula}|' /C calc'!A0"}
    (row,) = csv_blocks([made], suspicious=False)
    assert not [cell for cell in cells(row.decode(), ",") if begins_formula(cell)]


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**60), 2**60) | st.booleans()))
def test_the_data_is_read_back_without_loss(data: dict[str, Any]) -> None:
    header, row = csv.reader(as_csv(data).split("\n")[:2])
    assert header[: len(CSV_COLUMNS)] == list(CSV_COLUMNS)
    assert json.loads(row[header.index("data")]) == data


@pytest.mark.parametrize("text", ["", "Daniel", "50 W; a yagi", "a-b", "x = 1", "e@mail"])
def test_other_text_is_as_it_is(text: str) -> None:
    assert guard(text) == text
