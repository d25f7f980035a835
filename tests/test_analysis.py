"""The archive from Python: documents, rows and pandas."""

from __future__ import annotations

import contextlib
import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

import habitat_like
from habitat_like.archive import Archive, ArchiveUnavailable
from habitat_like.config.keys import ConfigError
from tests.support.archive import Place, encode, ids
from tests.support.cli import environment
from tests.support.observations import START, fix, flight, received


@pytest.fixture
def stored(place: Place, archive: Archive) -> str:
    """The address of an archive with a flight in it."""
    assert archive.store(encode([*flight(), fix(500, suspicious="dated 1980")])) == []
    return place.config.uri


def test_documents_as_they_were_archived(stored: str) -> None:
    with habitat_like.open_archive(stored) as archive:
        assert list(archive.query()) == flight()
        assert list(archive.query(order="desc", limit=2)) == flight()[:-3:-1]
        assert len(list(archive.query(suspicious=True))) == len(flight()) + 1
        assert ids(archive.query(type="received_telem")) == ids(flight()[:1])
        assert ids(archive.query(callsign="garden")) == ids(flight()[2:3])
        assert {one["callsign"] for one in archive.query(payload="hab-2")} == {"HAB-2"}
        assert ids(archive.query(network="weather")) == ids(flight()[2:3])
        assert ids(archive.query(box=(5, 51, 6, 52))) == ids(flight()[2:3])
        assert ids(archive.query(box="5,51,6,52")) == ids(flight()[2:3])
        assert len(list(archive.query(payload="HAB-1", limit=3))) == 3


UTC = datetime.timezone.utc  # noqa: UP017
TIMES: list[Any] = [
    START + 60,
    float(START + 60),
    str(START + 60),
    "2023-11-14T22:14:20Z",
    datetime.datetime.fromtimestamp(START + 60),  # local time
    datetime.datetime.fromtimestamp(START + 60, UTC),
    pandas.Timestamp(START + 60, unit="s", tz="Europe/Berlin"),
]


@pytest.mark.parametrize("when", TIMES, ids=repr)
def test_times_as_people_have_them(embedded_archive: Archive, when: Any) -> None:
    embedded_archive.store(encode(flight()))
    with habitat_like.open_archive(embedded_archive.name) as archive:
        assert {one["callsign"] for one in archive.query(since=when)} == {"HAB-2"}
        assert len(list(archive.query(until=when))) == len(flight()) - 10


def test_what_can_not_be_meant_is_told(embedded_archive: Archive) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"since": "soonish"}, "'soonish' is not a time"),
        ({"since": 2, "until": 1}, "since is later than until"),
        ({"callsign": "not a callsign"}, "must be 1 to 64 characters"),
        ({"type": "no type"}, "is not a type name"),
        ({"box": (1, 2, 3)}, "is not west,south,east,north"),
        ({"order": "down"}, "neither 'asc' nor 'desc'"),
        ({"limit": 0}, "not a number from 1 up"),
    ]
    with habitat_like.open_archive(embedded_archive.name) as archive:
        for filters, said in wrong:
            with pytest.raises(ValueError, match=said):
                archive.query(**filters)
    with pytest.raises(ConfigError, match="neither sqlite:PATH nor couchdb"):
        habitat_like.open_archive("archive.sqlite")
    with (
        habitat_like.open_archive("sqlite:/nowhere/archive.sqlite") as archive,
        pytest.raises(ArchiveUnavailable, match="no archive at /nowhere"),
    ):
        list(archive.query())


def test_rows_have_what_a_flat_file_has(embedded_archive: Archive) -> None:
    embedded_archive.store(encode([received(0, frequency=1.5), fix(10)]))
    with habitat_like.open_archive(embedded_archive.name) as archive:
        heard, fixed = archive.rows()
        assert (heard["time"], heard["string"]) == (START, "$$HAB-1,1*ABCD\\n")
        assert (fixed["payload"], fixed["altitude"], fixed["temperature"]) == ("HAB-1", 50, 19.0)


def test_pandas_gets_columns_with_types_and_a_time_zone(stored: str) -> None:
    with habitat_like.open_archive(stored) as archive:
        table = archive.to_pandas(payload="HAB-1")
        none = archive.to_pandas(callsign="NOBODY")
    assert table.time.dt.tz is not None
    assert table.time.iloc[0] == pandas.Timestamp(START + 3, unit="s", tz="UTC")
    climb = table.set_index("time").altitude
    rate = climb.diff() / climb.index.to_series().diff().dt.total_seconds()
    assert rate.dropna().unique().tolist() == [5.0]
    assert table["temperature"].dtype == float
    assert list(none.columns[:3]) == ["time", "callsign", "type"]
    assert (len(none), str(none.time.dtype)) == (0, "datetime64[us, UTC]")


def test_an_import_of_the_package_loads_nothing_else() -> None:
    code = (
        "import sys, habitat_like; print([name for name in sys.modules if 'habitat_like.' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        habitat_like.nothing  # noqa: B018


def test_without_pandas_it_says_what_to_install(embedded_archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise ImportError('there is none')")
    code = (
        "import habitat_like, sys\n"
        "try: habitat_like.open_archive(sys.argv[1]).to_pandas()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, embedded_archive.name],
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'habitat_like[pandas]'" in done.stdout


def test_it_can_be_closed_and_read_again(stored: str) -> None:
    with contextlib.closing(habitat_like.open_archive(stored)) as archive:
        assert next(archive.query()) == flight()[0]
        archive.close()
        assert next(archive.query()) == flight()[0]
        assert ":" in archive.name
