"""Documents as they are: one a line (NDJSON), or as one array (JSON)."""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from habitat_like.export.form import Form, Part, not_whole
from habitat_like.export.source import Source


def _write_lines(source: Source, _: int | None) -> Generator[Part, None, None]:
    for lines in source.lines():
        yield Part(b"".join([line + b"\n" for line in lines]), len(lines), source.at)


def _write_array(source: Source, _: int | None) -> Generator[Part, None, None]:
    yield Part(b"[", 0)
    before = b"\n"
    for lines in source.lines():
        data = before + b",\n".join(lines) if lines else b""
        before = b",\n" if lines else before
        yield Part(data, len(lines), source.at)
    yield Part(b"]\n" if before == b"\n" else b"\n]\n", 0)


def broken_line(reason: str) -> bytes:
    """The end of NDJSON that is not whole: a line that is not a message."""
    return msgspec.json.encode({"error": not_whole(reason)}) + b"\n"


NDJSON = Form(
    suffix="ndjson",
    mimetype="application/x-ndjson",
    write=_write_lines,
    is_resumable=True,
    idle=b"\n",
    broken=broken_line,
)
#: Without its end it can't be read at all.
JSON = Form(suffix="json", mimetype="application/json", write=_write_array, idle=b"\n")
