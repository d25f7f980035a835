"""What is measured beside the cells: each row is a function from a Context to named figures."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.results import Figure
from benchmarks.rows import disk
from benchmarks.rows.context import Context

ROWS: dict[str, Callable[[Context], dict[str, Figure]]] = {
    "disk": disk.fdatasync,
}

__all__ = ["ROWS", "Context"]
