"""GeoJSON (https://www.rfc-editor.org/rfc/rfc7946): a point for each message with a position.

Its properties are the cells of the flat row.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from habitat_like.archive.base import Document, to_json
from habitat_like.export import flat
from habitat_like.export.form import Form, Part
from habitat_like.export.selection import Telling
from habitat_like.export.source import Source

_PLACE = ("longitude", "latitude", "altitude")


def feature(document: Document, facts: Telling) -> dict[str, Any] | None:
    """The document as a feature, None without a position."""
    cells: dict[str, Any] = flat.row(document, facts)
    if "latitude" not in cells:
        return None
    for name in flat.TIMES:
        if name in cells:
            cells[name] = flat.iso(cells[name]) or cells[name]
    place = [cells.pop(name) for name in _PLACE if name in cells]
    return {
        "type": "Feature",
        "id": cells.pop("id", None),
        "geometry": {"type": "Point", "coordinates": place},
        "properties": cells,
    }


def _write(source: Source, _: int | None) -> Generator[Part, None, None]:
    yield Part(b'{"type":"FeatureCollection","features":[\n', 0)
    before = b""
    for documents in source.documents():
        features = [feature(document, source.facts) for document in documents]
        lines = [to_json(one) for one in features if one is not None]
        for _missing in range(len(features) - len(lines)):
            source.leave_out("a position")
        yield Part(before + b",\n".join(lines) if lines else b"", len(lines), source.at)
        before = b",\n" if lines else before
    yield Part(b"\n]}\n", 0)


GEOJSON = Form(suffix="geojson", mimetype="application/geo+json", write=_write, idle=b"\n")
