"""What is measured beside the cells: each row is a function from a Context to named figures."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.results import Figure
from benchmarks.rows import (
    archive,
    beside,
    console,
    disk,
    drain,
    journal,
    memory,
    start,
    telemetry,
    visible,
)
from benchmarks.rows.context import Context

ROWS: dict[str, Callable[[Context], dict[str, Figure]]] = {
    "disk": disk.fdatasync,
    "couch": drain.couch,
    "visible": visible.visible,
    "journal": journal.growth,
    "query": archive.query,
    "stream": archive.stream,
    "parser": telemetry.parser,
    "start": start.start,
    "memory": memory.memory,
    "console pages": console.pages,
    "console pages couch": console.pages_couch,
    "console memory": console.memory,
    "console memory couch": console.memory_couch,
    "console users": beside.users,
    "console stuck": beside.stuck,
    "console download": beside.download,
}

__all__ = ["ROWS", "Context"]
