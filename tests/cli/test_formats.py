"""``habitat export`` in other people's formats, and what is selected by content."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import geojson
import gpxpy
import pyarrow.parquet
import pytest
from lxml import etree

from habitat_like.archive.base import Archive
from tests.support import schemas
from tests.support.cli import Run, fails, on_terminal, store
from tests.support.observations import document, flight

COUNT = len(flight())
#: A type of the operator's own, which keeps its position in its own way.
OWN = """
import msgspec
from habitat_like.message.facts import Facts, Position
class Buoy(msgspec.Struct):
    lat: float
    lon: float
    @staticmethod
    def facts(data):
        return Facts("BUOY-7", Position(data["lat"], data["lon"]), {})
"""


@pytest.fixture
def archive(embedded_archive: Archive) -> Archive:
    store(embedded_archive, flight())
    return embedded_archive


def exported(run: Run, *words: str, said: str | None = None) -> str:
    done = run("export", *words)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    if said is not None:
        assert done.stderr == said + "\n"
    return done.stderr


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_the_files_name_tells_the_format(run: Run, archive: Archive, tmp_path: Path) -> None:
    without = "; left out: 1 without a position"
    for name in ("all.kml", "all.gpx", "all.geojson", "all.parquet", "all.kml.gz"):
        path = tmp_path / name
        rest = "" if "parquet" in name else without
        count = COUNT if "parquet" in name else COUNT - 1
        exported(run, str(path), said=f"wrote {count} messages to {path}{rest}")
    packed = etree.fromstring(gzip.decompress((tmp_path / "all.kml.gz").read_bytes()))
    schemas.kml().assertValid(packed)
    assert (tmp_path / "all.kml").read_bytes() == etree.tostring(
        packed, xml_declaration=True, encoding="UTF-8"
    ).replace(b"'", b'"') + b"\n"
    assert len(gpxpy.parse((tmp_path / "all.gpx").read_text()).tracks) == 4
    assert len(geojson.loads((tmp_path / "all.geojson").read_text()).features) == COUNT - 1
    assert pyarrow.parquet.read_table(tmp_path / "all.parquet").num_rows == COUNT
    assert not list(tmp_path.glob("*.part*"))


def test_a_format_to_standard_output(run: Run, archive: Archive) -> None:
    done = run("export", "--format", "geojson", "--type", "TELEM")
    assert (done.returncode, done.stderr) == (0, "")
    assert geojson.loads(done.stdout).is_valid
    done = run("export", "--format", "gpx")
    assert done.stderr == f"{COUNT - 1} messages; left out: 1 without a position\n"


def test_flat_csv(run: Run, archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "flat.csv"
    exported(run, "--flat", str(path), said=f"wrote {COUNT} messages to {path}")
    table = rows(path)
    assert table[0]["string"] == "$$HAB-1,1*ABCD\\n"
    assert (table[3]["payload"], table[3]["temperature"]) == ("HAB-1", "19.7")
    assert run("export", "--flat").stdout == path.read_text()
    fails(run("export", "--flat", "x.kml"), 2, "--flat is for csv, not for kml")
    fails(run("export", "--flat", "--format", "ndjson"), 2, "--flat is for csv, not for ndjson")


@pytest.mark.parametrize(
    ("words", "payloads"),
    [
        (("--payload", "hab-1"), {"HAB-1"}),
        (("--network", "weather"), {""}),
        (("--box", "5,51,6,52"), {""}),
        (("--box", "-0.0945,51.5,0,52"), {"HAB-1", "HAB-2"}),
        (("--box", "170,-90,-170,90"), set()),
        (("--payload", "HAB-1", "--box", "-180,-90,180,90", "--until", "1700000010"), {"HAB-1"}),
    ],
)
def test_selected_by_content(
    run: Run, archive: Archive, tmp_path: Path, words: tuple[str, ...], payloads: set[str]
) -> None:
    path = tmp_path / "some.csv"
    exported(run, "--flat", *words, str(path))
    table = rows(path)
    assert {row["payload"] for row in table} == payloads
    queried = run("query", *words, "--order", "asc", "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line)["_id"] for line in queried] == [row["id"] for row in table]
    assert run("export", *words).stdout.splitlines() == queried
    limited = run("query", *words, "--order", "asc", "--format", "ndjson", "--limit", "2")
    assert limited.stdout.splitlines() == queried[:2]
    assert run("query", *words, "--format", "csv").stdout.count("\n") == len(table) + 1


def test_boxes_that_are_none(run: Run, archive: Archive) -> None:
    for box, said in (
        ("1,2,3", "is not west,south,east,north in degrees"),
        ("1,2,3,nan", "is not west,south,east,north in degrees"),
        ("0,0,181,1", "longitudes (first and third) are -180 to 180"),
        ("0,5,1,-5", "nothing can be in this box"),
    ):
        for command in ("export", "query"):
            fails(run(command, "--box", box), 2, said)


def test_an_operators_own_type_is_on_the_map_too(
    run: Run, embedded_archive: Archive, config_file: str, tmp_path: Path
) -> None:
    (tmp_path / "buoys.py").write_text(OWN)
    with Path(config_file).open("a") as config:
        config.write("types: {BUOY: buoys.Buoy}\n")
    store(embedded_archive, [document(0, "BUOY", "NS-7", {"lat": 54.5, "lon": 6.25})])
    done = run("export", "--format", "geojson", "--payload", "buoy-7")
    (feature,) = geojson.loads(done.stdout).features
    assert feature.geometry.coordinates == [6.25, 54.5]
    # What is wrong with a type is told where it is needed, and does not stop a backup.
    (tmp_path / "buoys.py").write_text("class Buoy: pass")
    fails(run("export", "--format", "geojson"), 2, "types.BUOY")
    assert run("export").returncode == 0
    assert run("query").returncode == 0


def test_without_pyarrow_one_line_says_what_to_install(
    run: Run, archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pyarrow.py").write_text("raise ImportError('there is none')")
    hidden = {"PYTHONPATH": str(tmp_path / "hidden")}
    path = tmp_path / "all.parquet"
    fails(run("export", str(path), **hidden), 1, "pip install 'habitat_like[parquet]'")
    assert not path.exists()


def test_an_unfinished_file_of_another_format_is_begun_anew(
    run: Run, archive: Archive, tmp_path: Path
) -> None:
    path = tmp_path / "flight.kml"
    exported(run, "--payload", "HAB-2", str(path))
    whole = path.read_bytes()
    plan = {
        "archive": archive.name,
        "form": "kml",
        "callsign": None,
        "type": None,
        "suspicious": False,
        "since": 0,
        "until": 9999999999,
        "begun": 0.0,
        "payload": "HAB-2",
        "network": None,
        "box": None,
    }
    path.unlink()
    path.with_name("flight.kml.part").write_bytes(whole[:1000])
    path.with_name("flight.kml.part.json").write_text(json.dumps(plan))
    fails(run("export", "--resume", "--payload", "HAB-1", str(path)), 1, "another --payload")
    fails(run("export", "--resume", "--box", "0,0,1,1", str(path)), 1, "another --box")
    said = exported(run, "--resume", str(path))
    assert said.startswith("kml can't be continued: starting over\n")
    assert path.read_bytes() == whole


def test_a_selected_csv_goes_on(run: Run, archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    exported(run, "--box", "-180,-90,180,90", str(path))
    whole = path.read_bytes()
    plan: dict[str, Any] = {
        "archive": archive.name,
        "form": "csv",
        "callsign": None,
        "type": None,
        "suspicious": False,
        "since": 0,
        "until": 9999999999,
        "begun": 0.0,
        "box": {"west": -180, "south": -90, "east": 180, "north": 90},
    }
    path.unlink()
    path.with_name("some.csv.part").write_bytes(whole[:2000])
    path.with_name("some.csv.part.json").write_text(json.dumps(plan))
    assert "of them now" in exported(run, "--resume", "--box", "-180,-90,180,90", str(path))
    assert path.read_bytes() == whole


def test_on_a_terminal(archive: Archive, config_file: str) -> None:
    words = ("export", "--config", config_file)
    code, shown = on_terminal(*words, "--format", "parquet")
    assert (code, "parquet is not for a terminal; name a FILE" in shown) == (2, True)
    code, shown = on_terminal(*words, "--format", "kml", "--payload", "HAB-2")
    assert code == 0
    assert "<name>HAB-2</name>" in shown
