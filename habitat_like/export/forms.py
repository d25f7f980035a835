"""The formats of exports, by name."""

from __future__ import annotations

from habitat_like.export.csv_form import CSV
from habitat_like.export.flat_csv import FLAT
from habitat_like.export.form import Form
from habitat_like.export.geojson import GEOJSON
from habitat_like.export.gpx import GPX
from habitat_like.export.json_form import JSON, NDJSON
from habitat_like.export.kml import KML
from habitat_like.export.parquet import PARQUET

FORMS: dict[str, Form] = {
    "ndjson": NDJSON,
    "json": JSON,
    "csv": CSV,
    "flat": FLAT,
    "parquet": PARQUET,
    "geojson": GEOJSON,
    "kml": KML,
    "gpx": GPX,
}
