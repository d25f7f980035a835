"""``habitat archive`` in real processes: months listed, made and dropped."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive import Archive, open_archive
from habitat_like.archive.months import month_of
from habitat_like.config.keys import ArchiveConfig
from tests.archive.test_months import DAY, document
from tests.support.archive import encode, everything
from tests.support.cli import Run, fails
from tests.support.couch import CouchServer

NOW = int(time.time())
DAYS = (0, 40, 400, 401, 800)


def months() -> dict[str, int]:
    found: dict[str, int] = {}
    for days in sorted(DAYS, reverse=True):
        month = month_of(NOW - days * DAY)
        found[month] = found.get(month, 0) + 1
    return found


def fill(archive: Archive) -> None:
    archive.prepare()
    made = [document(days, NOW - days * DAY, time_uploaded=NOW) for days in DAYS]
    archive.store(encode(made))


@pytest.fixture
def embedded(embedded_archive: Archive) -> Archive:
    fill(embedded_archive)
    return embedded_archive


@pytest.fixture
def uri(couch: CouchServer, database: str) -> Iterator[str]:
    made = f"{couch.uri(database)}-{{month}}"
    with closing(open_archive(ArchiveConfig(uri=made))) as archive:
        fill(archive)
    yield made
    for name in couch.databases():
        if name.startswith(f"{database}-"):
            couch.delete(name)


def listed(run: Run, **more: str) -> dict[str, Any]:
    done = run("archive", "ls", "--json", **more)
    assert done.returncode == 0, done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)}


def test_months_of_the_embedded_archive(run: Run, embedded: Archive) -> None:
    found = listed(run)
    assert {name: one["messages"] for name, one in found.items()} == months()
    assert found[month_of(NOW)]["last"] == NOW
    text = run("archive", "ls").stdout
    assert "MESSAGES" in text.upper()
    assert month_of(NOW) in text


def test_months_of_couchdb(run: Run, uri: str, couch: CouchServer, database: str) -> None:
    found = listed(run, HABITAT_ARCHIVE_URI=uri)
    assert {name: one["messages"] for name, one in found.items() if one["messages"]} == months()
    one = listed(run, HABITAT_ARCHIVE_URI=couch.uri(f"{database}-{month_of(NOW)}"))
    assert [row["messages"] for row in one.values()] == [months()[month_of(NOW)]]


def test_drop_shows_first_and_then_drops(run: Run, embedded: Archive) -> None:
    dry = run("archive", "drop", "--older", "365d", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "3 messages would go" in dry.stdout
    assert len(everything(embedded)) == 5
    done = run("archive", "drop", "--older", "365d", "--yes")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "dropped 3 messages")
    assert len(everything(embedded)) == 2
    for age in ("365d", "36500000d", "999999999999999d"):
        assert "nothing is that old" in run("archive", "drop", "--older", age).stdout


def test_drop_in_couchdb(run: Run, uri: str, couch: CouchServer, database: str) -> None:
    old = month_of(NOW - 800 * DAY)
    done = run("archive", "drop", old, "--yes", HABITAT_ARCHIVE_URI=uri)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "dropped 1 message"), done
    assert f"{database}-{old}" not in couch.databases()
    dry = run("archive", "drop", "--older", "365d", "--dry-run", HABITAT_ARCHIVE_URI=uri)
    assert "2 messages would go" in dry.stdout
    assert sum(one["messages"] for one in listed(run, HABITAT_ARCHIVE_URI=uri).values()) == 4


def test_nothing_goes_without_a_yes(run: Run, embedded: Archive) -> None:
    assert run("archive", "drop", "--older", "365d").returncode != 0
    assert len(everything(embedded)) == 5


def test_nothing_goes_while_an_export_runs(run: Run, embedded: Archive) -> None:
    with embedded.hold():  # type: ignore[attr-defined]
        done = run("archive", "drop", "--older", "365d", "--yes")
    assert done.returncode == 1
    assert "an export is running" in done.stderr
    assert len(everything(embedded)) == 5


def test_make_makes_months(run: Run, uri: str, couch: CouchServer, database: str) -> None:
    done = run("archive", "make", "2031-01", "2031-02", HABITAT_ARCHIVE_URI=uri)
    assert (done.returncode, done.stdout) == (0, "2031-01 is ready\n2031-02 is ready\n")
    designs = couch.all_docs(f"{database}-2031-02", design=True)
    assert "_design/habitat-time" in [one["_id"] for one in designs]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["make"], "Missing argument"),
        (["make", "november"], "not a month such as 2026-11"),
        (["drop"], "Give either months or --older AGE"),
        (["drop", "2026-01", "--older", "10d"], "Give either months or --older AGE"),
        (["drop", "--older", "1h"], "at least 1d"),
        (["drop", "--older", "old"], "--older"),
        (["drop", "--older", "20261121"], "'20261121' looks like a date"),
    ],
)
def test_wrong_words(run: Run, words: list[str], says: str) -> None:
    fails(run("archive", *words), 2, says)


def test_what_an_archive_can_not_do_is_said(
    run: Run, embedded: Archive, couch: CouchServer, database: str
) -> None:
    fails(run("archive", "make", "2026-01"), 1, "has no database for each month")
    dropped = run("archive", "drop", month_of(NOW), "--yes")
    assert dropped.returncode == 1
    assert "its messages go by age" in dropped.stderr
    one = {"HABITAT_ARCHIVE_URI": couch.uri(database)}
    done = run("archive", "drop", "--older", "9d", "--yes", **one)
    fails(done, 1, "wants a database for each month")


def test_moving_to_months_and_back_loses_nothing(
    run: Run, embedded: Archive, couch: CouchServer, database: str, tmp_path: Path
) -> None:
    """As docs/growing.md says: export, import, and count on both sides."""
    plain = {"HABITAT_ARCHIVE_URI": couch.uri(f"{database}-plain")}
    monthly = {"HABITAT_ARCHIVE_URI": f"{couch.uri(database)}-{{month}}"}
    back = {"HABITAT_ARCHIVE_URI": couch.uri(f"{database}-back")}
    wanted = everything(embedded)
    ways: list[dict[str, str]] = [{}, plain, monthly, back]
    for number, (source, target) in enumerate(itertools.pairwise(ways)):
        file = str(tmp_path / f"{number}.ndjson.gz")
        exported = run("export", "--suspicious", file, **source)
        assert "wrote 5 messages" in exported.stderr
        for _ in range(2):
            done = run("import", file, **target)
            assert done.returncode == 0, done.stderr
        there = listed(run, **target)
        assert sum(one["messages"] for one in there.values()) == 5
    with closing(open_archive(ArchiveConfig(uri=back["HABITAT_ARCHIVE_URI"]))) as last:
        assert everything(last) == wanted
    for name in couch.databases():
        if name.startswith(f"{database}-"):
            couch.delete(name)
