"""``habitat stations``: who was heard, and who fell silent."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import cli
from tests.support.cli import Run, fails
from tests.support.messages import INFO, WHERE
from tests.support.statistics import Site
from tests.support.wait import away_from_midnight

HOUR = 3600


@pytest.fixture
def site(config_file: str) -> Iterator[Site]:
    """The statistics of the configuration that ``run`` uses, at the present."""
    away_from_midnight()
    made = Site(Path(config_file).parent / "var" / "journal.sqlite")
    made.clock.now = time.time()
    yield made
    made.close()


def heard(site: Site, callsign: str, hours: float) -> None:
    """A message of ``callsign``, so many hours ago."""
    site.clock.now = time.time() - hours * HOUR
    site.write(callsign)


def test_ls_lists_the_stations_that_were_heard(site: Site, run: Run) -> None:
    now = int(site.clock.now)
    for message in (INFO, WHERE):
        own = {"time_created": now + 90, "time_uploaded": now + 90}
        site.upload({**message, **own})
    heard(site, "2E0UPU", 1)
    site.count()
    done = run("stations", "ls", TZ="UTC")
    header, first, second = done.stdout.splitlines()
    assert header.split() == [
        "CALLSIGN",
        "NAME",
        "LAST",
        "HEARD",
        "TODAY",
        "MESSAGES",
        "CLOCK",
        "RADIO",
    ]
    assert first.startswith("2E0UPU")
    assert "M0ZDR" in second
    assert "+90 s" in second
    assert second.endswith("FT-817")
    rows = [json.loads(line) for line in run("stations", "ls", "--format", "ndjson").stdout.split()]
    assert [row["callsign"] for row in rows] == ["2E0UPU", "M0ZDR"]
    assert rows[1]["latitude"] == 52.1
    newest = run("stations", "ls", "--sort", "last_heard", "--format", "json", "--limit", "1")
    assert [row["callsign"] for row in json.loads(newest.stdout)] == ["M0ZDR"]
    found = run("stations", "ls", "--search", "dan", "--format", "csv", "--order", "desc")
    (row,) = csv.DictReader(found.stdout.splitlines())
    assert (row["callsign"], row["messages"], row["clock_offset"]) == ("M0ZDR", "2", "90")
    nobody = run("stations", "ls", "--search", "nobody")
    assert (nobody.returncode, nobody.stderr) == (0, "no station matches\n")


def test_show_tells_what_is_known_of_one(site: Site, run: Run) -> None:
    now = int(site.clock.now)
    site.upload({**INFO, "time_created": now - 90, "time_uploaded": now - 90})
    site.upload({**WHERE, "time_created": now - 90, "time_uploaded": now - 90})
    site.count()
    lines = run("stations", "show", "m0zdr").stdout
    for part in ("Daniel", "Yagi", "latitude 52.1", "1m 30s behind", "2, 2 of them", "203.0.113.7"):
        assert part in lines
    station = json.loads(run("stations", "show", "M0ZDR", "--json").stdout)
    assert (station["callsign"], station["clock_offset"]) == ("M0ZDR", -90)
    fails(run("stations", "show", "NOBODY"), 1, "NOBODY was never heard")
    fails(run("stations", "show", "no such"), 2, "callsign")


def test_silent_names_who_should_speak_with_exit_code_1(site: Site, run: Run) -> None:
    heard(site, "GONE", 8 * 24)
    heard(site, "SILENTER", 30)
    heard(site, "SILENT", 3)
    heard(site, "HERE", 0.1)
    site.count()
    done = run("stations", "silent", "--for", "2h")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["SILENTER", "SILENT"]
    assert "silent for 3h" in done.stdout
    as_json = run("stations", "silent", "--for", "2h", "--known", "1d", "--json")
    assert [station["callsign"] for station in json.loads(as_json.stdout)] == ["SILENT"]
    quiet = run("stations", "silent", "--for", "1h30m", "--known", "2h")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    fails(run("stations", "silent", "--for", "soon"), 2, "not a length of time")
    fails(run("stations", "silent", "--for", "8d"), 2, "--known must be longer")


def test_a_name_can_not_steer_the_terminal(site: Site, config_file: str) -> None:
    site.upload({**INFO, "data": {"name": "Ann\x1b[31m"}})
    site.count()
    code, shown = cli.on_terminal("--config", config_file, "stations", "ls", columns=200)
    assert code == 0
    assert "Ann?[31m" in shown


def test_without_a_journal_it_says_what_to_do(run: Run) -> None:
    for words in (["ls"], ["silent"], ["show", "M0ZDR"]):
        fails(run("stations", *words), 1, "no journal at")


def test_a_search_knows_upper_and_lower_case_of_every_letter(site: Site, run: Run) -> None:
    names = {"A": "\u00d6zg\u00fcr", "B": "O\u0308ZG\u00dcR", "C": "Stra\u00dfe", "D": "\u0130zmir"}
    names |= {"E": "\u0131\u015f\u0131k", "F": "\uff21lba \u2163"}
    for callsign, name in names.items():
        site.upload({**INFO, "callsign": callsign, "data": {"name": name}})
    site.count()

    def found(text: str) -> str:
        done = run("stations", "ls", "--format", "csv", "--search", text)
        return "".join(row["callsign"] for row in csv.DictReader(done.stdout.splitlines()))

    assert found("\u00f6zg\u00fcr") == found("\u00d6ZG\u00dcR") == found("zG\u00fc") == "AB"
    assert found("STRASSE") == found("stra\u00dfe") == "C"
    assert found("\u0130ZMIR") == found("izmir") == "D"
    assert found("I\u015eIK") == found("i\u015fik") == "E"
    assert found("\u00e1lba") == ""
    assert found("alba iv") == "F"
    assert found("\u00f6zgur") == found("%") == found("_") == ""


def test_what_a_station_calls_itself_is_no_formula_in_a_spreadsheet(site: Site, run: Run) -> None:
    now = int(site.clock.now)
    data = {"name": "=1+1", "location": "x;=1+1", "radio": " @A1", "antenna": "a-b"}
    site.upload({**INFO, "time_created": now, "time_uploaded": now + 9, "data": data})
    site.count()
    (row,) = csv.DictReader(run("stations", "ls", "--format", "csv").stdout.splitlines())
    assert (row["name"], row["location"], row["antenna"]) == ("'=1+1", "x;'=1+1", "a-b")
    assert row["radio"] == "'@A1"
    assert row["latitude"] == ""
