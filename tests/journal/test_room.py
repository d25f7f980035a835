"""How much the journal holds: bytes, pruning early and in time, wrong clocks, slices."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from habitat_like.config.keys import JournalConfig
from habitat_like.journal import pruning, room
from habitat_like.journal.file import JournalDiskFull, JournalError
from habitat_like.journal.journal import Journal, Row
from habitat_like.main import housekeeping
from habitat_like.main.housekeeping import Housekeeping
from tests.support.net import short_directory

#: In 2026.
NOW = 1_790_000_000.0
YEARS = 10 * 365 * 86400
HOUR = 3600


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "journal.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(path: Path, clock: Clock) -> Iterator[Journal]:
    made = Journal(path, clock=clock)
    made.register("sink")
    yield made
    made.close()


def rows(first: int, count: int, size: int = 100) -> list[Row]:
    return [(str(n), b'{"_id":"%d"}' % n + b"x" * size) for n in range(first, first + count)]


def stored(path: Path) -> int:
    """The bytes of the documents that are in the file."""
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute("SELECT total(length(document)) FROM message").fetchone()
    return int(row[0])


def numbers(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM message ORDER BY seq")]


# -- bytes


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(1, 9)),
            st.tuples(st.just("advance"), st.integers(0, 9)),
            st.tuples(st.just("prune"), st.integers(0, 3000)),
            st.tuples(st.just("reopen"), st.just(0)),
            st.tuples(st.just("crash"), st.just(0)),
        ),
        max_size=20,
    )
)
def test_the_bytes_are_counted_exactly_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.sqlite"
    journal = Journal(path)
    journal.register("sink")
    written = 0
    for name, value in steps:
        if name == "write":
            journal.write(rows(written, value, size=100 + value))
            written += value
        elif name == "advance":
            seq = min(journal.cursors["sink"] + value, journal.last_seq)
            journal.advance("sink", seq, rows(10_000 + written, value))
            written += value
        elif name == "prune":
            journal.prune(1e9, max_bytes=value)
        elif name == "crash":
            copy = path.with_name(f"copy{written}")
            copy.mkdir(exist_ok=True)
            for file in path.parent.glob("j.sqlite*"):
                (copy / file.name).write_bytes(file.read_bytes())
            with closing(Journal(copy / path.name)) as after:
                assert after.message_bytes == stored(copy / path.name)
        else:
            journal.close()
            journal = Journal(path)
            journal.register("sink")
        assert journal.message_bytes == stored(path)
    journal.close()


def test_a_start_counts_only_what_came_in_behind_the_tally(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "TALLY_EVERY", 1000)
    journal.write(rows(0, 50))
    assert journal.prune(HOUR) == 0
    with closing(sqlite3.connect(path)) as connection:
        tally = connection.execute("SELECT first, seq, bytes FROM tally").fetchone()
    assert tally == (1, 50, journal.message_bytes)


def test_messages_that_something_else_deleted_are_not_counted(path: Path) -> None:
    journal = Journal(path)
    journal.write(rows(0, 50))
    journal.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM message WHERE seq < 20")
    journal = Journal(path)
    assert journal.message_bytes == stored(path) > 0
    journal.close()


def test_what_is_archived_goes_early_and_what_waits_stays(path: Path, journal: Journal) -> None:
    journal.write(rows(0, 100))
    size = journal.message_bytes
    assert journal.prune(HOUR, max_bytes=size // 2) == 0
    journal.advance("sink", 40)
    assert journal.prune(HOUR, max_bytes=size // 2) == 40
    journal.advance("sink", 100)
    journal.prune(HOUR, max_bytes=size // 2)
    assert 0 < journal.message_bytes <= size // 2
    left = numbers(path)
    assert left == list(range(left[0], 101)), "the oldest go first"


def test_room_is_made_at_once_where_a_message_needs_it(path: Path, journal: Journal) -> None:
    journal.write(rows(0, 100))
    limit = journal.message_bytes
    journal.make_room(1000, limit)
    assert journal.message_bytes == limit, "nothing is archived yet"
    journal.advance("sink", 100)
    journal.make_room(1000, limit)
    assert limit - 2000 < journal.message_bytes <= limit - 1000


# -- clocks


def test_messages_from_a_clock_that_was_ahead_hold_up_nothing(
    path: Path, journal: Journal, clock: Clock
) -> None:
    clock.now = NOW + YEARS
    journal.write(rows(0, 2500))
    clock.now = NOW
    journal.write(rows(5000, 3))
    journal.advance("sink", 2503)
    clock.now += HOUR - 1
    assert journal.prune(HOUR) == 0
    journal.write(rows(6000, 2))
    journal.advance("sink", 2505)
    clock.now += 2
    assert journal.prune(HOUR) == 2503
    assert numbers(path) == [2504, 2505]


def test_messages_from_a_clock_that_was_ahead_go_although_nothing_follows(
    path: Path, journal: Journal, clock: Clock
) -> None:
    clock.now = NOW + YEARS
    journal.write(rows(0, 1500))
    journal.advance("sink", 1500)
    clock.now = NOW + HOUR
    assert journal.prune(HOUR) == 0
    clock.now += HOUR - 1
    assert journal.prune(HOUR) == 0
    clock.now += 2
    assert journal.prune(HOUR) == 1500


def test_messages_from_a_clock_at_1970_are_as_old_as_what_follows(
    path: Path, journal: Journal, clock: Clock
) -> None:
    journal.write(rows(0, 10))
    clock.now = 100.0  # a board without a battery, before it has asked for the time
    journal.write(rows(100, 10))
    journal.advance("sink", 20)
    clock.now += 2 * HOUR
    assert journal.prune(3 * HOUR) == 0
    clock.now = NOW + 600
    journal.write(rows(200, 10))
    journal.advance("sink", 30)
    assert journal.prune(HOUR) == 0
    clock.now = NOW + HOUR + 1
    assert journal.prune(HOUR) == 10
    clock.now = NOW + 600 + HOUR + 1
    journal.prune(HOUR)
    assert numbers(path) == []


# -- slices


def test_a_slice_is_bounded_in_rows_and_in_bytes(journal: Journal, clock: Clock) -> None:
    journal.write(rows(0, 2500))
    journal.write(rows(5000, 12, size=1_000_000))
    journal.advance("sink", 2512)
    clock.now += 2 * HOUR
    slices = iter(lambda: journal.prune_slice(HOUR), 0)
    assert [next(slices), next(slices)] == [pruning.SLICE_ROWS] * 2
    assert list(slices) == [505, 5, 2]


def test_a_round_of_housekeeping_prunes_for_a_while_and_says_that_there_is_more(
    journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PRUNE_FOR", 0.0)
    monkeypatch.setattr(pruning, "SLICE_ROWS", 10)
    keeper = Housekeeping(journal, lambda: None)
    config = JournalConfig(retention=HOUR)
    journal.write(rows(0, 25))
    journal.advance("sink", 25)
    assert not keeper.round(config)
    clock.now += 2 * HOUR
    sizes = []
    while keeper.round(config):
        sizes.append(journal.message_bytes)
    assert len(sizes) >= 2, "the watchdog and the checkpoint have their turn between two slices"
    assert journal.message_bytes == 0


def test_the_log_stays_small_while_much_is_pruned(
    path: Path, journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in range(0, 40_000, 2000):
        journal.write(rows(first, 2000, size=400))
        journal.checkpoint()
    journal.advance("sink", journal.last_seq)
    clock.now += 2 * HOUR
    monkeypatch.setattr(housekeeping, "PRUNE_FOR", 0.01)
    keeper = Housekeeping(journal, lambda: None)
    log = Path(f"{path}-wal")
    largest = log.stat().st_size
    while keeper.round(JournalConfig(retention=HOUR)):
        largest = max(largest, log.stat().st_size)
    assert numbers(path) == []
    assert largest <= 16 * 1024 * 1024, "not much more than what a start makes of it"


# -- a full disk


@contextlib.contextmanager
def small_disk(kilobytes: int) -> Iterator[Path]:
    directory = short_directory()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        directory.rmdir()
        pytest.skip(f"can't mount a small file system here: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
        directory.rmdir()


def fill(directory: Path) -> Path:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return filler


def write_until_full(journal: Journal, keeper: Housekeeping, config: JournalConfig) -> int:
    """Write, as the archive takes it, until the disk is full; returns how many messages."""
    written = journal.last_seq
    with contextlib.suppress(JournalDiskFull):
        while True:
            journal.write(rows(written, 50, size=1000))
            written += 50
            journal.advance("sink", written)
            journal.checkpoint()
    return written


def test_a_journal_alone_on_a_full_disk_goes_on_by_itself() -> None:
    """What is archived goes early there, and its pages take what comes."""
    config = JournalConfig(retention=86400)
    with small_disk(16 * 1024) as directory:
        journal = Journal(directory / "j.sqlite")
        try:
            journal.register("sink")
            keeper = Housekeeping(journal, lambda: None)
            written = write_until_full(journal, keeper, config)
            assert journal.problem is not None
            with pytest.raises(JournalDiskFull, match=r"the disk is full.*: du -xh /"):
                journal.write(rows(1_000_000, 1))
            for turn in range(10):
                while keeper.round(config):
                    pass
                keeper.round(config)
                assert journal.problem is None, f"turn {turn}"
                for _ in range(5):
                    journal.write(rows(written, 50, size=1000))
                    written += 50
                    journal.advance("sink", journal.last_seq)
            with closing(sqlite3.connect(journal.path)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        finally:
            journal.close()


def test_what_waits_on_a_full_disk_can_still_be_archived_and_pruned() -> None:
    """The archive takes it, though not a byte can be written at first; then there is room again."""
    config = JournalConfig(retention=86400)
    with small_disk(16 * 1024) as directory:
        journal = Journal(directory / "j.sqlite")
        try:
            journal.register("sink")
            keeper = Housekeeping(journal, lambda: None)
            written = 0
            with contextlib.suppress(JournalDiskFull):
                while True:
                    journal.write(rows(written, 50, size=1000))
                    written += 50
                    journal.checkpoint()
            for _ in range(3):
                keeper.round(config)
            assert journal.problem is not None, "everything still waits"
            journal.advance("sink", journal.last_seq)
            for _ in range(3):
                while keeper.round(config):
                    pass
            assert journal.problem is None
            assert journal.write(rows(2_000_000, 50)) == 50
        finally:
            journal.close()


def test_a_disk_that_others_filled_is_left_without_an_operator_once_there_is_room() -> None:
    config = JournalConfig(retention=86400)
    with small_disk(16 * 1024) as directory:
        journal = Journal(directory / "j.sqlite")
        try:
            journal.register("sink")
            keeper = Housekeeping(journal, lambda: None)
            journal.write(rows(0, 200))
            filler = fill(directory)
            with contextlib.suppress(JournalDiskFull):
                for number in range(1000, 100_000, 50):
                    journal.write(rows(number, 50, size=1000))
            assert journal.problem is not None
            last = journal.last_seq
            for _ in range(3):
                keeper.round(config)
                with pytest.raises(JournalError):
                    journal.write(rows(1_000_000, 1))
                with pytest.raises(JournalError):
                    journal.probe()
            filler.unlink()
            for _ in range(3):
                keeper.round(config)
            assert journal.problem is None
            journal.probe()
            assert journal.write(rows(1_000_000, 1)) == 1
            assert journal.last_seq == last + 1
        finally:
            journal.close()


def test_a_start_on_a_full_disk_prunes_with_the_reserve() -> None:
    config = JournalConfig(retention=86400)
    with small_disk(16 * 1024) as directory:
        with closing(Journal(directory / "j.sqlite")) as journal:
            journal.register("sink")
            keeper = Housekeeping(journal, lambda: None)
            write_until_full(journal, keeper, config)
        fill(directory)
        with closing(Journal(directory / "j.sqlite")) as journal:
            keeper = Housekeeping(journal, lambda: None)
            for _ in range(3):
                while keeper.round(config):
                    pass
            assert journal.problem is None
            assert journal.write(rows(1_000_000, 1)) == 1
