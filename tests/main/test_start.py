"""The start of the program: what it says, what it refuses, and a stop in the middle of it."""

from __future__ import annotations

import json
import random
import select
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HabitatFactory
from tests.support.gateway import ARCHIVE_SINK, OWN, Habitat
from tests.support.log import log_entries, plain_lines, refusal, wait_for_log
from tests.support.station import archived, body
from tests.support.wait import eventually


def test_its_start_says_what_runs(habitat: HabitatFactory) -> None:
    gateway = habitat({"archive": {"uri": "couchdb://op:s3cret@127.0.0.1:1/down"}})
    (entry,) = wait_for_log(gateway, "habitat_like started")
    assert {"version", "instance", "workers", "max_body", "archive", "journal"} <= set(entry)
    assert all("s3cret" not in json.dumps(entry) for entry in log_entries(gateway))
    assert "s3cret" not in gateway.log


def refused(gateway: Habitat, code: int) -> str:
    """The one line with which it ends at its start, before there is a socket."""
    line = refusal(gateway, code)
    assert not gateway.socket_path.exists()
    return line


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"gateway": {"wrkers": 1}}, "gateway.workers"),
        ({"gateway": {"workers": 0}}, "gateway.workers"),
        ({"journal": {"retention": float("inf")}}, "journal.retention"),
        ({"gateway": {"shutdown_timeout": float("inf")}}, "gateway.shutdown_timeout"),
        ({"types": {"WEATHER": "own.Nothing"}}, "own.Nothing"),
        ({"types": {"bad name": "own.Weather"}}, "bad name"),
        ({"archive": {"uri": "mysql://x"}}, "archive.uri"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_code_2(
    habitat: HabitatFactory, config: dict[str, Any], told: str
) -> None:
    gateway = habitat(config, start=False, own=OWN)
    assert told in refused(gateway, 2)
    assert not gateway.journal_path.exists()


@pytest.mark.parametrize("sink", ["own.Missing", "own.Weather", "own.BadStart", "no.such.Sink"])
def test_a_sink_that_can_not_be_had_is_one_line(habitat: HabitatFactory, sink: str) -> None:
    gateway = habitat({"sinks": [ARCHIVE_SINK, sink]}, start=False, own=OWN).start(ready=False)
    assert gateway.wait() in (1, 2)
    (line,) = plain_lines(gateway)
    assert sink in line


def test_a_journal_that_can_not_be_made_is_one_line_and_code_1(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    (gateway.directory / "file").touch()
    path = gateway.directory / "file" / "journal.sqlite"
    gateway.config["journal"]["path"] = str(path)
    assert str(path) in refused(gateway, 1)


def test_a_journal_that_is_a_directory_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    gateway.journal_path.mkdir()
    assert str(gateway.journal_path) in refused(gateway, 1)


def test_a_file_that_is_no_journal_is_refused_and_left_alone(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    gateway.journal_path.write_bytes(b"precious" * 1000)
    assert str(gateway.journal_path) in refused(gateway, 1)
    assert gateway.journal_path.read_bytes() == b"precious" * 1000


def test_a_newer_journal_is_refused_and_left_alone(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert gateway.stop() == 0
    with sqlite3.connect(gateway.journal_path) as file:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        file.execute(f"PRAGMA user_version={version + 1}")
    file.close()
    before = gateway.journal_path.read_bytes()
    line = refused(gateway, 1)
    assert f"format {version + 1}" in line
    assert "upgrade" in line
    assert gateway.journal_path.read_bytes() == before


#: What shows how far a start has come.
MOMENTS: dict[str, Callable[[Habitat], bool]] = {
    "spawned": lambda _: True,
    "journal locked": lambda gateway: Path(f"{gateway.journal_path}.lock").exists(),
    "socket": lambda gateway: gateway.socket_path.exists(),
    "started": lambda gateway: "habitat_like started" in gateway.log,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stop_at_any_moment_of_the_start_is_clean(habitat: HabitatFactory, moment: str) -> None:
    gateway = habitat(start=False)
    chance = random.Random(moment)
    for _ in range(4):
        gateway.start(ready=False)
        eventually(lambda: MOMENTS[moment](gateway), moment, pause=0.0005)
        # Not to wait for something, but to hit anywhere.
        select.select([], [], [], chance.uniform(0, 0.05 if moment == "spawned" else 0.01))
        code = gateway.stop()
        if moment == "spawned":
            # Python was still starting: nothing was built yet.
            assert code in (0, -signal.SIGTERM)
        else:
            assert code == 0
        assert not gateway.socket_path.exists()
        assert plain_lines(gateway) == []
        gateway.log_path.write_text("")
        Path(f"{gateway.journal_path}.lock").unlink(missing_ok=True)
    assert gateway.start().scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]
