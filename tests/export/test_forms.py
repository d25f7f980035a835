"""Every format, opened with the libraries that people open it with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import fastkml
import geojson
import gpxpy
import pandas
import pyarrow.parquet
import pytest
import shapely.geometry
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from habitat_like.archive.base import Query, to_json
from habitat_like.export.form import ExportError
from habitat_like.export.forms import FORMS
from habitat_like.export.selection import Selection
from habitat_like.export.source import Source
from tests.export.test_csv_form import begins_formula
from tests.support import schemas
from tests.support.observations import START, document, fix, flight, listener, received, weather

KML = "{http://www.opengis.net/kml/2.2}"
GPX = "{http://www.topografix.com/GPX/1/1}"


class Lines:
    """Documents that are read as those of an archive."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self._documents = documents

    def lines(self, query: Query) -> Iterator[bytes]:
        return map(to_json, self._documents)


def export(
    name: str, documents: list[dict[str, Any]], selection: Selection | None = None
) -> tuple[bytes, Source]:
    """The whole file, and what it was made of."""
    source = Source(Lines(documents), Query(order="asc", suspicious=True), selection)
    parts = list(FORMS[name].write(source, None))
    return b"".join([part.data for part in parts]), source


def frame(documents: list[dict[str, Any]]) -> pandas.DataFrame:
    return pandas.read_csv(io.BytesIO(export("flat", documents)[0]))


# -- flat tables


def test_a_flat_table_has_a_column_for_each_value() -> None:
    table = frame([received(0, frequency=434075199.23), fix(10), weather(12)])
    assert list(table.columns) == [
        *("time", "callsign", "type", "payload", "network", "latitude", "longitude", "altitude"),
        *("frequency", "string", "temperature", "mode", "protocol", "sequence", "data.time"),
        *("tempf", "humidity", "missing"),
        *("time_uploaded", "ip", "gateway", "suspicious", "id"),
    ]
    heard, fixed, sensed = table.to_dict("records")
    assert heard["time"] == "2023-11-14T22:13:20Z"
    assert heard["string"] == "$$HAB-1,1*ABCD\\n"
    assert heard["frequency"] == 434075199.23
    assert (fixed["payload"], fixed["temperature"], fixed["altitude"]) == ("HAB-1", 19.0, 50)
    assert fixed["data.time"] == "12:00:00"
    assert (sensed["network"], sensed["missing"]) == ("weather", '["soilmoisture1"]')
    assert pandas.to_datetime(table["time"]).dt.tz is not None


def test_a_packet_that_is_not_text_is_shown_by_escapes() -> None:
    (row,) = frame([received(0, b"\x80\x01ok\xff")]).to_dict("records")
    assert row["string"] == "\\x80\\x01ok\\xff"


def test_names_that_columns_have_already_are_told_apart() -> None:
    data = {"values": {"time": 1, "a": 2}, "a": 3, "id": "x", "callsign": "y", "trace": [1, 2]}
    (row,) = frame([document(0, "EVENT", "A", data)]).to_dict("records")
    assert (row["values.time"], row["a"], row["data.a"]) == (1, 2, 3)
    assert (row["data.id"], row["data.callsign"], row["callsign"]) == ("x", "y", "A")
    assert row["trace"] == "[1,2]"


def test_a_table_is_never_wider_than_a_thousand_columns() -> None:
    documents = [
        document(at, "EVENT", "A", {"values": {f"v{at}_{number}": number for number in range(40)}})
        for at in range(40)
    ]
    table = frame(documents)
    assert len(table.columns) < 1020
    rest = json.loads(table["other values"].iloc[-1])
    assert rest == documents[-1]["data"]["values"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "@SUM(A1)", "x;=1", " =1", "\uff1d1"])
def test_no_cell_of_a_flat_table_is_a_formula(text: str) -> None:
    data = {"values": {"note": text, text: 1}, "more": text}
    made = document(0, "EVENT", "A", data, gateway=text, suspicious=text)
    rows = list(csv.reader(io.StringIO(export("flat", [made])[0].decode())))
    for separator in ",;":
        cells = [one for row in rows for cell in row for one in cell.split(separator)]
        assert not [cell for cell in cells if begins_formula(cell)]


def test_parquet_has_the_flat_table_in_its_types() -> None:
    data, _ = export("parquet", flight())
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    assert str(table.schema.field("time").type) == "timestamp[ms, tz=UTC]"
    assert str(table.schema.field("temperature").type) == "double"
    assert str(table.schema.field("sequence").type) == "int64"
    assert str(table.schema.field("mode").type) == "string"
    assert table.num_rows == len(flight())
    found = pandas.read_parquet(io.BytesIO(data))
    climb = found[found.payload == "HAB-1"].set_index("time").altitude
    assert (climb.diff().dropna() == 10).all()
    assert climb.index[0] == pandas.Timestamp(START + 3, unit="s", tz="UTC")


def test_parquet_of_nothing_and_of_mixed_values() -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(export("parquet", [])[0]))
    assert table.num_rows == 0
    mixed = [document(at, "EVENT", "A", {"values": {"v": v}}) for at, v in enumerate([1, "x", 2.5])]
    table = pyarrow.parquet.read_table(io.BytesIO(export("parquet", mixed)[0]))
    assert table["v"].to_pylist() == ["1", "x", "2.5"]


# -- positions


def test_geojson_has_a_point_for_each_position() -> None:
    data, source = export("geojson", flight())
    found = geojson.loads(data)
    assert found.is_valid
    assert len(found.features) == len(flight()) - 1
    assert source.left_out == {"a position": 1}
    first = found.features[2]
    assert first.geometry.coordinates == [-0.0997, 51.5003, 15]
    assert first.properties["temperature"] == 19.7
    assert first.properties["time"] == "2023-11-14T22:13:23Z"
    assert shapely.geometry.shape(first.geometry).z == 15
    assert not shapely.geometry.shape(found.features[1].geometry).has_z


def test_gpx_has_a_track_for_each_payload() -> None:
    data, source = export("gpx", flight())
    schemas.gpx().assertValid(etree.fromstring(data))
    found = gpxpy.parse(data.decode())
    points = {track.name: track.segments[0].points for track in found.tracks}
    assert {name: len(some) for name, some in points.items()} == {
        "GARDEN": 1,
        "HAB-1": 29,
        "HAB-2": 10,
        "M0ZDR": 1,
    }
    first = points["HAB-1"][0]
    assert (first.latitude, first.longitude, first.elevation) == (51.5003, -0.0997, 15)
    assert first.time is not None
    assert first.time.timestamp() == START + 3
    assert points["GARDEN"][0].elevation is None
    assert source.left_out == {"a position": 1}


def test_kml_has_a_folder_for_each_payload() -> None:
    data, _ = export("kml", flight())
    tree = etree.fromstring(data)
    schemas.kml().assertValid(tree)
    folders = {one.findtext(f"{KML}name"): one for one in tree.iter(f"{KML}Folder")}
    assert list(folders) == ["GARDEN", "HAB-1", "HAB-2", "M0ZDR"]
    flown = folders["HAB-1"]
    assert flown.findtext(f"{KML}TimeSpan/{KML}begin") == "2023-11-14T22:13:23Z"
    assert flown.findtext(f"{KML}TimeSpan/{KML}end") == "2023-11-14T22:14:19Z"
    (line,) = flown.iter(f"{KML}LineString")
    assert line.findtext(f"{KML}altitudeMode") == "absolute"
    assert len(line.findtext(f"{KML}coordinates").split()) == 29
    assert len(list(flown.iter(f"{KML}TimeStamp"))) == 29
    garden = folders["GARDEN"]
    assert not list(garden.iter(f"{KML}LineString"))
    assert garden.findtext(f"{KML}Placemark/{KML}Point/{KML}altitudeMode") == "clampToGround"

    parsed: Any = fastkml.KML.parse(io.BytesIO(data), strict=True, validate=True)
    (top,) = parsed.features
    assert [folder.name for folder in top.features] == list(folders)
    (track, *placed) = top.features[1].features
    assert len(list(track.geometry.geoms)) == 1
    assert placed[0].geometry.coords == ((-0.0997, 51.5003, 15.0),)
    assert placed[0].extended_data.elements[1].name == "type"


def test_a_gap_of_six_hours_ends_a_flight() -> None:
    later = [fix(number) for number in range(6 * 3600 + 20, 6 * 3600 + 30)]
    documents = [*(fix(number) for number in range(10)), *later]
    found = gpxpy.parse(export("gpx", documents)[0].decode())
    assert [len(one.points) for one in found.tracks[0].segments] == [10, 10]
    tree = etree.fromstring(export("kml", documents)[0])
    assert len(list(tree.iter(f"{KML}LineString"))) == 2


def test_a_packet_that_many_heard_is_one_point_of_a_track() -> None:
    heard = []
    for number in range(3):
        for receiver in ("A", "B", "C"):
            one = fix(number)
            heard.append({**one, "type": "AMATEUR_TELEM", "callsign": receiver})
    found = gpxpy.parse(export("gpx", heard)[0].decode())
    assert len(found.tracks[0].segments[0].points) == 3
    assert len(geojson.loads(export("geojson", heard)[0]).features) == 9


def test_a_track_across_180_degrees() -> None:
    def at(number: int, longitude: float) -> dict[str, Any]:
        place = {"latitude": -16.5, "longitude": longitude, "altitude": 20000}
        data = {"payload": "FIJI", "position": place, "values": {}}
        return document(number, "TELEM", "FIJI", data)

    documents = [at(0, 179.8), at(1, 180.0), at(2, -179.9), at(3, -179.7)]
    data = export("gpx", documents)[0]
    schemas.gpx().assertValid(etree.fromstring(data))  # 180 is none of its longitudes
    points = gpxpy.parse(data.decode()).tracks[0].segments[0].points
    assert [point.longitude for point in points] == [179.8, -180, -179.9, -179.7]
    tree = etree.fromstring(export("kml", documents)[0])
    schemas.kml().assertValid(tree)
    lines = [one.text.split() for one in tree.iter(f"{KML}coordinates")][:2]
    assert [len(one) for one in lines] == [2, 2]  # no line around the globe


def test_a_selection_leaves_the_rest_out() -> None:
    chosen = Selection(payload="hab-2")
    rows = list(csv.DictReader(io.StringIO(export("flat", flight(), chosen)[0].decode())))
    assert {row["payload"] for row in rows} == {"HAB-2"}
    assert len(export("ndjson", flight(), chosen)[0].splitlines()) == len(rows) == 10


def test_what_xml_and_maps_can_not_hold() -> None:
    bad = "\0<&>\x1b]]>\ud800\ufffe\"'"
    place = {"latitude": 1e-9, "longitude": -1e-7, "altitude": 1e300}
    data = {"payload": bad, "position": place, "values": {bad: bad, "n": 10**400}}
    documents = [document(0, "TELEM", "A", data), document(1, "TELEM", "A", data)]
    for name, schema in (("gpx", schemas.gpx()), ("kml", schemas.kml())):
        tree = etree.fromstring(export(name, documents)[0])
        schema.assertValid(tree)
        names = [one.text or "" for one in tree.iter("{*}name")]
        assert "\ufffd<&>\ufffd]]>\\ud800\ufffd\"'" in names
        assert not list(tree.iter(f"{GPX}ele"))
    first, _ = json.loads(export("geojson", documents)[0])["features"]
    assert first["geometry"]["coordinates"] == [-1e-7, 1e-9, 1e300]


# -- whatever others wrote into the archive


TEXT = st.text() | st.sampled_from(["\0", "\x1b[31m", "\ud800", "]]>", "<&>\"'", "\ufffe", "=1+1"])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.just(10**400)
PLAIN = TEXT | NUMBERS | st.booleans() | st.none()
DEGREES = st.floats(-200, 200) | st.sampled_from([180, -180, 90, -90, 0, 1e-9, -1e-7]) | PLAIN
PLACES = st.fixed_dictionaries(
    {}, optional={"latitude": DEGREES, "longitude": DEGREES, "altitude": NUMBERS | PLAIN}
)
DATA = st.fixed_dictionaries(
    {},
    optional={
        "payload": PLAIN,
        "network": PLAIN,
        "position": PLACES | PLAIN,
        "values": st.dictionaries(TEXT, PLAIN | st.lists(PLAIN, max_size=2), max_size=3) | PLAIN,
        "string": PLAIN,
        "raw": st.binary().map(lambda some: some.hex()),
        "latitude": DEGREES,
        "longitude": DEGREES,
        "time": PLAIN,
    },
)
TIMES = st.integers(0, 9_999_999_999) | st.floats(-1e12, 1e12)
ODD = st.lists(
    st.builds(
        lambda number, time, kind, callsign, data, more: {
            "_id": f"{number}",
            "type": kind,
            "callsign": callsign,
            "time_created": time,
            "data": data,
            **more,
        },
        st.integers(0),
        TIMES,
        TEXT,
        PLAIN,
        DATA | PLAIN,
        st.dictionaries(st.sampled_from(["ip", "gateway", "time_uploaded"]), PLAIN),
    ),
    max_size=6,
)


@given(ODD)
def test_odd_documents_make_valid_files(documents: list[dict[str, Any]]) -> None:
    data, source = export("geojson", documents)
    found = geojson.loads(data)
    assert found.is_valid, found.errors()
    placed = len(found.features)
    assert placed + source.left_out.get("a position", 0) == len(documents)

    tree = etree.fromstring(export("gpx", documents)[0])
    schemas.gpx().assertValid(tree)
    assert len(list(tree.iter(f"{GPX}trkpt"))) <= placed
    tree = etree.fromstring(export("kml", documents)[0])
    schemas.kml().assertValid(tree)

    rows = list(csv.reader(io.StringIO(export("flat", documents)[0].decode(), newline="")))
    assert len(rows) == len(documents) + 1
    assert len({len(row) for row in rows}) == 1
    assert len(set(rows[0])) == len(rows[0])
    assert not [cell for cell in rows[0] if begins_formula(cell)]
    table = pyarrow.parquet.read_table(io.BytesIO(export("parquet", documents)[0]))
    assert table.num_rows == len(documents)
    assert len(json.loads(export("json", documents)[0])) == len(documents)
    assert len(export("ndjson", documents)[0].splitlines()) == len(documents)


def test_a_file_that_puts_too_much_aside_is_given_up() -> None:
    documents = [received(number, b"x" * 1000) for number in range(2000)]
    source = Source(Lines(documents), Query(order="asc"))
    with pytest.raises(ExportError, match="more than 1 MiB would be put aside"):
        list(FORMS["flat"].write(source, 1024 * 1024))
    source = Source(Lines([fix(number) for number in range(20_000)]), Query(order="asc"))
    with pytest.raises(ExportError, match="ask for less"):
        list(FORMS["kml"].write(source, 1024 * 1024))


def test_a_listener_without_a_payload_has_a_track_of_its_own_name() -> None:
    found = gpxpy.parse(export("gpx", [listener(1), listener(2)])[0].decode())
    assert [(track.name, len(track.segments[0].points)) for track in found.tracks] == [("M0ZDR", 2)]
