"""The short cut of the fault campaign, and what the campaign itself relies on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.campaign import Campaign, Result
from tests.faults.catalogue import SCENARIOS
from tests.faults.disk import Disk, Loss
from tests.faults.judge import judge
from tests.faults.ledger import Ledger
from tests.faults.messages import Messages, number_of
from tests.faults.mutants import MUTANTS, Mutant
from tests.faults.report import markdown
from tests.faults.shim import Event, Op
from tests.support.net import ROOT

#: The short cut's chance is always the same, so that a red test is red again.
SEED = 1
SHORT = [name for name, scenario in SCENARIOS.items() if scenario.short]


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    with Campaign(SEED, short=True) as made:
        yield made


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_and_nothing_doubled(campaign: Campaign, tmp_path: Path, name: str) -> None:
    result = campaign.run(SCENARIOS[name], tmp_path)
    if result.skipped:
        pytest.skip(result.skipped)
    assert result.problem is None, f"{result.problem}\nagain: {result.command}"
    assert result.faults > 0
    assert (result.lost, result.doubled) == (0, 0)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_as_it_is(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(text) != text
    assert {*mutant.short, *mutant.full} <= SCENARIOS.keys()
    assert set(mutant.short) <= set(SHORT)


# -- the report


def test_one_table_of_several_runs() -> None:
    def result(name: str, seed: int, **more: Any) -> Result:
        command = f'make faults ARGS="--seed {seed} --exact --only {name}"'
        return Result(name, f"the fault {name}", seed, command, **more)

    runs = [result("x", seed, faults=3, sent=1000) for seed in (7, 8)]
    skipped = result("y", 7, skipped="no room")
    table = markdown([*runs, skipped]).splitlines()
    assert table[2:] == [
        "| the fault x | 6 | 0 | 2,000 | 0 | 0 | 0 | 0 | `--seed 7 --exact --only x`, `--seed 8` |",
        "| the fault y | not run |  |  |  |  |  |  | `--seed 7 --exact --only y` |",
        "| all | 6 | 0 | 2,000 | 0 | 0 | 0 | 0 | |",
    ]


# -- the judge


MESSAGES = Messages()


def archived(number: int, **changes: Any) -> dict[str, Any]:
    """The document that a message becomes."""
    message = MESSAGES.message(number)
    return {
        "_id": f"{message['time_created']:010d}-{number:024x}",
        "type": message["type"],
        "callsign": message["callsign"].upper(),
        "ip": None,
        "time_created": message["time_created"] + 100,
        "time_uploaded": message["time_uploaded"] + 100,
        "data": message["data"],
        "gateway": "test",
        **changes,
    }


def findings(ledger: Ledger, documents: list[dict[str, Any]], **more: Any) -> set[str]:
    return set(judge(ledger, MESSAGES, documents, **more).findings)


def ledger_of(acknowledged: range, refused: range = range(0)) -> Ledger:
    ledger = Ledger()
    ledger.sending(acknowledged, refused)
    ledger.answered(200, acknowledged, refused)
    return ledger


def test_the_judge_finds_nothing_where_nothing_is_wrong() -> None:
    ledger = ledger_of(range(20), range(20, 25))
    assert findings(ledger, [archived(number) for number in range(20)]) == set()


def test_the_judge_finds_what_is_wrong() -> None:
    ledger = ledger_of(range(20), range(20, 25))
    good = [archived(number) for number in range(20)]
    assert findings(ledger, good[1:]) == {"lost"}
    assert findings(ledger, [*good, archived(3, _id="1295103598-ff")]) == {"doubled"}
    assert findings(ledger, [*good, archived(30)]) == {"foreign"}
    assert findings(ledger, [*good, archived(21)]) == {"refused"}
    assert findings(ledger, [archived(0, callsign="ST1"), *good[1:]]) == {"altered"}
    assert findings(ledger, [archived(0, time_created=1), *good[1:]]) == {"altered"}
    assert findings(ledger, good, dead_letters=[archived(5)]) == {"dead"}
    ledger.sending([25])
    assert findings(ledger, good) == {"unanswered"}
    ledger.answered(400, [], [25])
    assert findings(ledger, good) == {"turned_away"}


def test_a_forbidden_message_has_to_be_a_dead_letter() -> None:
    ledger = ledger_of(range(5))
    good = [archived(number) for number in range(4)]
    dead = [archived(4)]

    def forbidden(number: int) -> bool:
        return number == 4

    assert findings(ledger, good, dead_letters=dead, forbidden=forbidden) == set()
    assert findings(ledger, good, forbidden=forbidden) == {"lost"}
    assert "refused" in findings(ledger, good + dead, forbidden=forbidden)
    assert findings(ledger, good, dead_letters=dead + dead, forbidden=forbidden) == {"doubled"}


def test_a_document_tells_its_number() -> None:
    for messages in (Messages(), Messages(chorus=True)):
        for number in range(2000):
            message = messages.message(number)
            document = {**message, "callsign": message["callsign"].upper()}
            assert number_of(document) == number


# -- the model of the disk

PATH = "/d/file"
BLOCK = b"a" * 512


def disk_after(*events: Event) -> Disk:
    disk = Disk(Path("/d"), random.Random(1))
    for event in (Event(Op.CREATE, PATH, 0, 0, 3, b""), *events):
        disk.apply(event)
    return disk


def write(data: bytes, offset: int = 0) -> Event:
    return Event(Op.WRITE, PATH, offset, len(data), len(data), data)


SYNC = Event(Op.SYNC, PATH, 0, 0, 0, b"")
FAILED = SYNC._replace(result=-1)
DIRECTORY = SYNC._replace(path="/d")


def left(disk: Disk, target: Path) -> set[bytes | None]:
    """All that a file may hold after a power loss, None where it may not be there."""
    found: set[bytes | None] = set()
    for seed in range(200):
        file = target / "file"
        file.unlink(missing_ok=True)
        disk.lose_power(target, random.Random(seed))
        found.add(file.read_bytes() if file.exists() else None)
    return found


def test_what_was_synced_stays(tmp_path: Path) -> None:
    assert left(disk_after(write(BLOCK), SYNC, DIRECTORY), tmp_path) == {BLOCK}


def test_what_was_not_synced_may_be_lost_torn_or_not_there(tmp_path: Path) -> None:
    found = left(disk_after(DIRECTORY, write(BLOCK + BLOCK)), tmp_path)
    assert {b"", BLOCK + BLOCK, BLOCK + bytes(512), bytes(512) + BLOCK} <= found
    assert None in left(disk_after(write(BLOCK), SYNC), tmp_path)


def test_a_second_fsync_does_not_bring_what_the_first_failed_to(tmp_path: Path) -> None:
    disk = disk_after(DIRECTORY, write(BLOCK), SYNC, write(b"b" * 512), FAILED, SYNC)
    assert len(left(disk, tmp_path)) == 1, "it is decided"
    written_again = disk_after(DIRECTORY, write(BLOCK), FAILED, write(BLOCK), SYNC)
    assert left(written_again, tmp_path) == {BLOCK}


def test_the_disk_keeps_what_a_checkpoint_overwrites_until_it_is_synced(tmp_path: Path) -> None:
    disk = disk_after(DIRECTORY, write(BLOCK), SYNC, write(b"b" * 512))
    assert left(disk, tmp_path) == {BLOCK, b"b" * 512}
    assert {loss.value for loss in Loss} == {"dropped", "kept", "torn and reordered"}
