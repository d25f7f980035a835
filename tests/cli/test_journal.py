"""``habitat journal`` in real processes, on real journals."""

import contextlib
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from habitat_like.journal.journal import Journal
from tests.conftest import HabitatFactory
from tests.support.cli import Run, environment, fails
from tests.support.gateway import ARCHIVE_SINK
from tests.support.wait import PATIENCE, eventually

#: What ``ls`` says where there are no dead letters.
NONE: dict[str, object] = {"count": {}, "newest": []}


def body(number: int) -> bytes:
    return json.dumps({"_id": str(number), "type": "TEST", "data": {"name": "é\x1b"}}).encode()


@pytest.fixture
def gateway_ends() -> Iterator[contextlib.ExitStack]:
    """Closed, it lets go of the journal as a gateway does that ends."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def journal(tmp_path: Path, gateway_ends: contextlib.ExitStack) -> Journal:
    """Ten messages of which the archive's sink has passed six; two dead letters (ids 1 and 2)."""
    journal = Journal(tmp_path / "var/journal.sqlite")
    gateway_ends.callback(journal.close)
    journal.register(ARCHIVE_SINK)
    journal.write([(str(number), body(number)) for number in range(1, 11)])
    journal.advance(ARCHIVE_SINK, 6)
    with journal.dead_letters() as letters:
        letters.add(ARCHIVE_SINK, [(3, body(3), "forbidden: no"), (5, body(5), "too\x1b[2J large")])
    return journal


def ls(run: Run, *words: str) -> dict[str, object]:
    done = run("journal", "ls", "--json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


@pytest.mark.parametrize("running", [True, False])
def test_ls_beside_a_running_gateway_and_without_one(
    run: Run, journal: Journal, gateway_ends: contextlib.ExitStack, running: bool
) -> None:
    if not running:
        gateway_ends.close()
    facts = ls(run)
    assert facts["last_seq"] == 10
    assert isinstance(facts["bytes"], int)
    assert facts["bytes"] > 8192
    assert facts["sinks"] == [{"sink": ARCHIVE_SINK, "cursor": 6, "backlog": 4, "configured": True}]
    letters = facts["dead_letters"]
    assert isinstance(letters, dict)
    assert letters["count"] == {ARCHIVE_SINK: 2}
    assert [(one["id"], one["seq"]) for one in letters["newest"]] == [(2, 5), (1, 3)]
    text = run("journal", "ls").stdout
    assert re.search(rf"^4 +6 +{ARCHIVE_SINK}$", text, re.MULTILINE)
    assert "forbidden: no" in text
    assert "\x1b" not in text


def test_ls_limits_the_dead_letters(run: Run, journal: Journal) -> None:
    letters = ls(run, "--limit", "1")["dead_letters"]
    assert isinstance(letters, dict)
    assert (letters["count"], [one["id"] for one in letters["newest"]]) == ({ARCHIVE_SINK: 2}, [2])
    assert "2 dead letters, the newest 1 of them" in run("journal", "ls", "--limit", "1").stdout


def test_ls_of_an_empty_journal(run: Run, tmp_path: Path) -> None:
    Journal(tmp_path / "var/journal.sqlite").close()
    text = run("journal", "ls").stdout
    assert "no messages in it" in text
    assert "no sink has read from it yet" in text
    assert "no dead letters" in text


@pytest.mark.parametrize(
    "words",
    [["ls"], ["show", "1"], ["retry", "1"], ["export"], ["drop", "1", "--yes"]],
)
def test_no_journal_is_one_line(run: Run, words: list[str]) -> None:
    fails(run("journal", *words), 1, "no journal at")


def test_an_empty_file_is_no_journal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/journal.sqlite").touch()
    fails(run("journal", "ls"), 1, "is empty, no journal")


def test_a_newer_journal_is_refused(
    run: Run, journal: Journal, gateway_ends: contextlib.ExitStack
) -> None:
    gateway_ends.close()
    with contextlib.closing(sqlite3.connect(journal.path)) as connection:
        connection.execute("PRAGMA user_version=99")
    fails(run("journal", "ls"), 1, "format 99")


def test_show(run: Run, journal: Journal) -> None:
    done = run("journal", "show", "2")
    assert done.returncode == 0
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "too\\x1b[2J large" in done.stdout
    start = done.stdout.index("{")
    assert json.loads(done.stdout[start:]) == json.loads(body(5))
    assert '"name": "é' in done.stdout
    fails(run("journal", "show", "7"), 1, "no dead letter 7")


def test_retry_marks_the_given_ones(run: Run, journal: Journal) -> None:
    done = run("journal", "retry", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "marked 1 dead letter for a retry" in done.stdout
    with journal.dead_letters() as letters:
        assert [letter.id for letter in letters.due(ARCHIVE_SINK, 10)] == [2]
    assert run("journal", "retry", "--all").stdout.startswith("marked 2 dead letters")
    with journal.dead_letters() as letters:
        assert [letter.id for letter in letters.due(ARCHIVE_SINK, 10)] == [1, 2]


def test_retry_of_some_that_are_not_there(run: Run, journal: Journal) -> None:
    done = run("journal", "retry", "1", "7", "8")
    assert done.returncode == 1
    assert "marked 1 dead letter" in done.stdout
    assert "no dead letter 7, 8" in done.stderr


def test_export_of_dead_letters(run: Run, journal: Journal, tmp_path: Path) -> None:
    expected = body(3) + b"\n" + body(5) + b"\n"
    for words in ([], ["-"], ["--dead", "-"], ["--dead"]):
        done = run("journal", "export", *words)
        assert (done.stdout.encode(), done.stderr, done.returncode) == (expected, "", 0)
    target = tmp_path / "dead.ndjson"
    done = run("journal", "export", str(target))
    assert (done.stdout, done.stderr) == ("", f"wrote 2 dead letters to {target}\n")
    assert target.read_bytes() == expected
    assert [path.name for path in tmp_path.glob("*dead*")] == ["dead.ndjson"]


def test_export_of_the_backlog(run: Run, journal: Journal) -> None:
    done = run("journal", "export", "--backlog", HABITAT_SINKS=ARCHIVE_SINK)
    assert done.stdout.encode() == b"".join(body(number) + b"\n" for number in range(7, 11))
    journal.write([(str(number), body(number)) for number in range(11, 3001)])
    done = run("journal", "export", "--backlog", HABITAT_SINKS=ARCHIVE_SINK)
    assert done.stdout.encode() == b"".join(body(number) + b"\n" for number in range(7, 3001))
    journal.advance(ARCHIVE_SINK, 3000)
    assert run("journal", "export", "--backlog", HABITAT_SINKS=ARCHIVE_SINK).stdout == ""


def test_the_backlog_is_what_the_configured_sinks_have_not_passed(
    run: Run, journal: Journal
) -> None:
    journal.register("gone.Sink")
    journal.advance("gone.Sink", 2)
    for sinks, count in ((ARCHIVE_SINK, 4), (f"{ARCHIVE_SINK},gone.Sink", 8)):
        done = run("journal", "export", "--backlog", HABITAT_SINKS=sinks)
        assert len(done.stdout.splitlines()) == count
    done = run("journal", "export", "--backlog", HABITAT_SINKS=f"{ARCHIVE_SINK},new.Sink")
    assert len(done.stdout.splitlines()) == 10


def test_an_export_that_fails_leaves_the_old_file(
    run: Run, journal: Journal, tmp_path: Path
) -> None:
    fails(run("journal", "export", str(tmp_path / "missing/file")), 1, "No such file")
    assert run("journal", "export", "/dev/null").returncode == 0
    assert not Path("/dev/null").is_file()


def test_drop(run: Run, journal: Journal) -> None:
    fails(run("journal", "drop", "1"), 2, "--yes")
    assert run("journal", "drop", "1", "--yes").stdout == "dropped 1 dead letter\n"
    with journal.dead_letters() as letters:
        assert [letter.id for letter in letters.select()] == [2]
    fails(run("journal", "drop", "1", "--yes"), 1, "no dead letter 1")
    assert run("journal", "drop", "--all", "--yes").stdout == "dropped 1 dead letter\n"
    assert run("journal", "drop", "--all", "--yes").stdout == "there are no dead letters\n"
    with journal.dead_letters() as letters:
        assert letters.count() == {}


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, [2]), ("n", 1, [1, 2])])
def test_drop_asks_on_a_terminal(
    journal: Journal, run: Run, tmp_path: Path, answer: str, code: int, left: list[int]
) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "habitat_like.cli", "journal", "drop", "1"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(HABITAT_CONFIG=str(tmp_path / "config.yml")),
    )
    os.write(leader, f"{answer}\n".encode())
    _, errors = process.communicate(timeout=PATIENCE)
    os.close(leader)
    os.close(follower)
    assert process.returncode == code
    assert "Delete 1 dead letter for good?" in errors
    with journal.dead_letters() as letters:
        assert [letter.id for letter in letters.select()] == left


def test_drop_of_a_sink_that_is_no_longer_configured(run: Run, journal: Journal) -> None:
    journal.register("gone.Sink")
    assert "gone.Sink  (not configured)" in run("journal", "ls").stdout
    fails(run("journal", "drop", "--sink", "gone.Sink"), 2, "--yes")
    fails(run("journal", "drop", "--sink", ARCHIVE_SINK, "--yes"), 2, "is configured")
    fails(run("journal", "drop", "--sink", "never.Was", "--yes"), 1, "never.Was")
    fails(run("journal", "drop", "1", "--sink", "gone.Sink", "--yes"), 2, "not both")
    assert run("journal", "drop", "--sink", "gone.Sink", "--yes").returncode == 0
    sinks = ls(run)["sinks"]
    assert isinstance(sinks, list)
    assert [sink["sink"] for sink in sinks] == [ARCHIVE_SINK]


def test_retry_is_taken_up_by_a_running_gateway(
    habitat: HabitatFactory, journal: Journal, gateway_ends: contextlib.ExitStack
) -> None:
    good = {
        "_id": "1295103598-0",
        "type": "LISTENER_INFO",
        "callsign": "M0ZDR",
        "time_created": 1295103598,
        "data": {},
    }
    with journal.dead_letters() as letters:
        letters.drop()
        letters.add(
            ARCHIVE_SINK, [(6, json.dumps(good, separators=(",", ":")).encode(), "forbidden")]
        )
        (letter,) = letters.select()
    gateway_ends.close()
    gateway = habitat({"journal": {"path": str(journal.path)}})
    assert gateway.cli("journal", "retry", str(letter.id)).returncode == 0
    eventually(lambda: ls(gateway.cli)["dead_letters"] == NONE, "it is tried again")
    done = gateway.cli("query", "--format", "json", "--callsign", "M0ZDR")
    assert json.loads(done.stdout) == [good]
