"""The embedded archive's views: what they show, that they are quick, and who can read them."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive import Query
from habitat_like.archive.sqlite import SqliteArchive
from habitat_like.archive.sqlite_views import VIEWS
from habitat_like.message.types import Registry
from tests.support.archive import encode
from tests.support.docs import text
from tests.support.net import short_directory
from tests.support.observations import START, document, fix, flight, received, weather

ODD = [
    document(100, "POSITION", "NO-FIX", {"position": {"latitude": 0, "longitude": 0}}),
    document(101, "POSITION", "FAR", {"position": {"latitude": 91, "longitude": 0}}),
    document(102, "POSITION", "TEXT", {"position": {"latitude": "51", "longitude": 0}}),
    document(103, "POSITION", "TRUE", {"position": {"latitude": True, "longitude": 1}}),
    document(104, "OWN", "BUOY", {"latitude": 1, "longitude": 2, "altitude": "high"}),
    document(105, "OWN", "BARE", {}),
    document(106, "EVENT", "LIST", {"values": [1]}),
    received(107, latitude=1.0, longitude=2.0),
    fix(108, suspicious="dated 1980"),
    document(109, "LISTENER_INFO", "M0ZDR", {"name": "Adam", "radio": "old"}),
    document(110, "LISTENER_INFO", "M0ZDR", {"name": "Adam", "location": "Here"}),
    {**document(111, "OWN", "TIME", {}), "time_created": 1e300, "data": None},
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("views") / "archive.sqlite"
    with contextlib.closing(SqliteArchive(str(made))) as archive:
        assert archive.prepare() == []
        assert archive.store(encode(flight() + ODD)) == []
    return made


def ask(path: Path, statement: str, *values: Any) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement, values)]


# -- what they show


def test_messages_are_all_documents(path: Path) -> None:
    rows = ask(path, "SELECT * FROM messages")
    assert len(rows) == len(flight()) + len(ODD)
    by_id = {row["id"]: row for row in rows}
    one = fix(3)
    row = by_id[one["_id"]]
    assert (row["time"], row["utc"]) == (START + 3, "2023-11-14T22:13:23Z")
    assert (row["payload"], row["callsign"], row["ip"]) == ("HAB-1", "HAB-1", None)
    assert json.loads(row["data"]) == one["data"]
    assert by_id[ODD[8]["_id"]]["suspicious"] == "dated 1980"
    assert by_id[weather(2)["_id"]]["network"] == "weather"


def test_telemetry_and_positions_are_the_facts_of_types(path: Path) -> None:
    facts = Registry().facts
    with contextlib.closing(SqliteArchive(str(path))) as archive:
        documents = list(archive.query(Query(order="asc")))
    placed = {
        one["_id"]: (place.latitude, place.longitude, place.altitude)
        for one in documents
        if (place := facts(one).position) is not None
    }
    found = ask(path, "SELECT * FROM positions")
    assert placed == {
        row["id"]: (row["latitude"], row["longitude"], row["altitude"]) for row in found
    }
    telemetry = {row["id"]: row for row in ask(path, "SELECT * FROM telemetry")}
    valued = {one["_id"]: one for one in documents if isinstance(values_of(one), dict)}
    assert telemetry.keys() == valued.keys()
    for name, row in telemetry.items():
        assert json.loads(row["readings"]) == facts(valued[name]).values
        assert row["payload"] == facts(valued[name]).payload
    row = telemetry[fix(3)["_id"]]
    assert (row["protocol"], row["sequence"], row["altitude"]) == ("ukhas", 3, 15)


def values_of(document: dict[str, Any]) -> Any:
    return (document["data"] or {}).get("values")


def test_stations_have_their_last_words(path: Path) -> None:
    rows = {row["callsign"]: row for row in ask(path, "SELECT * FROM stations")}
    assert "HAB-1" not in rows  # a payload is no station
    adam = rows["M0ZDR"]
    assert (adam["messages"], adam["first_time"], adam["last_time"]) == (5, START, START + 110)
    assert adam["last_utc"] == "2023-11-14T22:15:10Z"
    assert (adam["name"], adam["location"], adam["radio"]) == ("Adam", "Here", None)
    assert (adam["latitude"], adam["longitude"], adam["altitude"]) == (52.0, 0.25, 30.0)
    assert rows["GARDEN"]["latitude"] is None
    only = ask(path, "SELECT * FROM stations WHERE callsign = 'M0ZDR'")
    assert only == [adam]


def test_every_column_is_documented_and_none_else(path: Path) -> None:
    for name in VIEWS:
        _, _, section = text("docs/sql.md").partition(f"\n### {name}\n")
        cells = re.findall(r"^\| (`.*?`) \|", section.partition("\n#")[0], re.M)
        documented = [word for cell in cells for word in re.findall(r"`(\w+)`", cell)]
        (first,) = ask(path, f"SELECT * FROM {name} LIMIT 1")
        assert sorted(first) == sorted(documented), name


# -- how


@pytest.mark.parametrize(
    ("view", "condition", "index"),
    [
        ("telemetry", "payload = 'HAB-1' AND time > 1700000000", "by_time (time_created>?)"),
        (
            *("telemetry", "payload = 'HAB-1' AND type = 'TELEM' AND time BETWEEN 1 AND 2"),
            "by_type_time (type=? AND time_created>? AND time_created<?)",
        ),
        (
            *("telemetry", "callsign = 'HAB-1' AND time > 1700000000"),
            "by_callsign_time (callsign=? AND time_created>?)",
        ),
        ("positions", "time > 1700000000", "by_time (time_created>?)"),
        ("positions", "callsign = 'M0ZDR'", "by_callsign_time (callsign=?)"),
        ("messages", "type = 'WEATHER'", "by_type_time (type=?)"),
        ("messages", "time < 1700000000", "by_time (time_created<?)"),
        ("messages", "id = 'x'", "sqlite_autoindex_document_1 (id=?)"),
        ("stations", "callsign = 'M0ZDR'", "by_callsign_time (callsign=?)"),
    ],
)
def test_conditions_use_the_archives_indexes(
    path: Path, view: str, condition: str, index: str
) -> None:
    plan = ask(path, f"EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE {condition}")
    steps = [step["detail"] for step in plan]
    assert f"SEARCH document USING INDEX {index}" in steps
    assert not [step for step in steps if step.startswith("SCAN document")]


def test_newest_first_needs_no_sorting(path: Path) -> None:
    plan = ask(path, "EXPLAIN QUERY PLAN SELECT * FROM telemetry ORDER BY time DESC LIMIT 10")
    assert [step["detail"] for step in plan] == ["SCAN document USING INDEX by_time"]


# -- archives of other versions


def drop_views(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for name in VIEWS:
            connection.execute(f"DROP VIEW {name}")


def test_an_older_archive_gets_them_without_being_rewritten(path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.sqlite"
    shutil.copy(path, old)
    drop_views(old)
    with contextlib.closing(SqliteArchive(str(old))) as archive:
        assert len(list(archive.query(Query()))) > len(flight())
        assert ask(old, "SELECT name FROM sqlite_master WHERE type = 'view'") == []
        (before,) = ask(old, "SELECT * FROM pragma_page_count")
        archive.prepare()
        log = os.path.getsize(f"{old}-wal")
    assert len(ask(old, "SELECT * FROM telemetry")) == len(ask(path, "SELECT * FROM telemetry"))
    (after,) = ask(old, "SELECT * FROM pragma_page_count")
    assert after["page_count"] <= before["page_count"] + 4
    assert log < 64 * 1024  # of what was written


def test_a_view_of_another_version_is_replaced_and_a_table_is_left(
    path: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old.sqlite"
    shutil.copy(path, old)
    drop_views(old)
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE VIEW telemetry AS SELECT 1 AS one")
        connection.execute("CREATE TABLE stations (mine)")
        connection.commit()
    with contextlib.closing(SqliteArchive(str(old))) as archive:
        (warning,) = archive.prepare()
        assert "there is no view stations for analysts: a table has its name" in warning
    assert "readings" in ask(old, "SELECT * FROM telemetry LIMIT 1")[0]
    assert ask(old, "SELECT * FROM stations") == []
    before = ask(old, "SELECT rowid, name FROM sqlite_master")
    with contextlib.closing(SqliteArchive(str(old))) as archive:
        archive.prepare()
    assert ask(old, "SELECT rowid, name FROM sqlite_master") == before  # none is made again


# -- who


@pytest.fixture
def guarded() -> Iterator[Path]:
    """An archive as a gateway's account has it: for itself and its group alone."""
    directory = short_directory()
    made = directory / "archive.sqlite"
    with contextlib.closing(SqliteArchive(str(made))) as archive:
        archive.prepare()
        assert archive.store(encode(flight())) == []
    os.chown(directory, 0, GROUP)
    directory.chmod(0o750)
    os.chown(made, 0, GROUP)
    yield made
    shutil.rmtree(directory)


GROUP = 12346
#: Becomes the account itself, which may not be able to start our interpreter.
_READ = """
import os, sqlite3, sys
place, statement, user, *groups = sys.argv[1:]
os.setgroups([int(group) for group in groups])
os.setgid(int(user))
os.setuid(int(user))
print(sqlite3.connect(place, uri=True).execute(statement).fetchone()[0])
"""


def as_analyst(path: Path, mode: str, statement: str, *, group: int = GROUP) -> str:
    """What an account says that is in the gateway's group, and has no other right."""
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        [
            *(sys.executable, "-c", _READ, f"file:{path}?{mode}", statement),
            *(str(nobody.pw_uid), *([str(group)] if group else [])),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_analyst_in_the_group_reads_it_and_nobody_else(guarded: Path) -> None:
    count = "SELECT count(*) FROM telemetry"
    assert guarded.stat().st_mode & 0o777 == 0o640
    assert as_analyst(guarded, "immutable=1", count) == "40"
    with contextlib.closing(SqliteArchive(str(guarded))) as gateway:
        gateway.prepare()
        os.chown(f"{guarded}-wal", 0, GROUP)
        os.chown(f"{guarded}-shm", 0, GROUP)
        assert gateway.store(encode([fix(500)])) == []
        assert as_analyst(guarded, "mode=ro", count) == "41"
        for mode in ("mode=ro", "mode=rw"):
            wrong = as_analyst(guarded, mode, "DELETE FROM document RETURNING 1")
            assert "readonly database" in wrong or "unable to open" in wrong, wrong
        assert "unable to open" in as_analyst(guarded, "mode=ro", count, group=0)
    assert as_analyst(guarded, "immutable=1", count) == "41"
