"""Parquet (https://parquet.apache.org), as a flat table, with pyarrow from the extra [parquet].

Times are timestamps in UTC. A column of numbers is one of whole numbers, or of doubles if any of
them is; where numbers and text are mixed, all of it is text. Rows are put aside until the last one
is read, as the file begins with the first of them in the types of all.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Generator
from typing import Any

from habitat_like.export import flat
from habitat_like.export.flat import Row
from habitat_like.export.form import ExportError, Form, Part
from habitat_like.export.source import Source
from habitat_like.export.spool import Spool
from habitat_like.export.table import Table

#: Cells, and bytes of text in them, that end a group of rows.
GROUP_CELLS = 200_000
GROUP_BYTES = 8 * 1024 * 1024


@functools.cache
def is_installed() -> bool:
    """Whether there is a pyarrow."""
    return importlib.util.find_spec("pyarrow") is not None


def _write(source: Source, most: int | None) -> Generator[Part, None, None]:
    arrow, parquet = _import()
    with Spool(most) as spool:
        table = Table(spool)
        yield from table.read(source)
        kinds = {name: _kind(arrow, name, table.kinds.get(name, set())) for name in table.columns}
        schema = arrow.schema([(name, kind) for name, (kind, _) in kinds.items()])
        out = _Collector()
        with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
            group: list[Row] = []
            size = 0
            for batch in table.batches():
                group += batch
                size += sum(len(one) for row in batch for one in row.values() if type(one) is str)
                if len(group) * len(kinds) >= GROUP_CELLS or size >= GROUP_BYTES:
                    writer.write_table(_columns(arrow, schema, kinds, group))
                    group, size = [], 0
                yield Part(out.take(), 0)
            if group:
                writer.write_table(_columns(arrow, schema, kinds, group))
        yield Part(out.take(), 0)


def _columns(arrow: Any, schema: Any, kinds: dict[str, Any], rows: list[Row]) -> Any:
    arrays = [
        arrow.array([_convert(row.get(name), convert) for row in rows], kind)
        for name, (kind, convert) in kinds.items()
    ]
    return arrow.Table.from_arrays(arrays, schema=schema)


def _convert(cell: Any, convert: Callable[[Any], Any]) -> Any:
    return None if cell is None else convert(cell)


def _kind(arrow: Any, name: str, found: set[type]) -> tuple[Any, Callable[[Any], Any]]:
    """A column's type, and what makes its values of cells."""
    if name in flat.TIMES and found <= {int, float}:
        return arrow.timestamp("ms", tz="UTC"), flat.moment
    if found == {bool}:
        return arrow.bool_(), bool
    if found == {int}:
        return arrow.int64(), int
    if (found or name in ("latitude", "longitude", "altitude")) and found <= {int, float}:
        return arrow.float64(), float
    return arrow.string(), flat.show


class _Collector:
    """A file that keeps what is written until it is taken."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _import() -> tuple[Any, Any]:
    # It takes a second, and most never need it.
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ExportError(
            f"Parquet needs pyarrow ({error}): pip install 'habitat_like[parquet]'"
        ) from None


PARQUET = Form(
    suffix="parquet",
    mimetype="application/vnd.apache.parquet",
    write=_write,
    is_binary=True,
)
