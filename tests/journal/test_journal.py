"""The journal: durable rows, cursors, repeats, pruning, faults."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from habitat_like.journal import journal as journal_module
from habitat_like.journal import pruning
from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.journal.file import JournalError, open_file
from habitat_like.journal.journal import Journal, Row
from habitat_like.journal.reader import Entry
from tests.support.wait import PATIENCE

pytestmark = pytest.mark.usefixtures("switches")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def row(number: int) -> Row:
    return f"{number:010d}-x", b'{"_id":"%d"}' % number


def contents(journal: Journal, after: int = 0) -> list[Entry]:
    reader = journal.reader()
    try:
        return reader.read(after, 1_000_000)
    finally:
        reader.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "journal.sqlite"


def test_what_is_written_is_read_in_order(path: Path) -> None:
    journal = Journal(path)
    assert journal.write([row(1), row(2)]) == 2
    assert journal.write([row(3)]) == 1
    assert contents(journal) == [Entry(n, row(n)[1]) for n in (1, 2, 3)]
    assert contents(journal, after=2) == [Entry(3, row(3)[1])]
    assert journal.last_seq == 3
    journal.close()


def test_a_repeat_is_written_once(path: Path) -> None:
    journal = Journal(path)
    assert journal.write([row(1), row(1)]) == 1
    assert journal.write([row(1), row(2)]) == 1
    assert len(contents(journal)) == 2
    journal.close()


def test_the_window_of_recent_ids_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "RECENT_IDS", 10)
    journal = Journal(path)
    for number in range(100):
        journal.write([row(number)])
    assert journal.write([row(99)]) == 0
    assert journal.write([row(0)]) == 1  # long ago: written again, which the archive knows
    journal.close()


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_a_batch_of_any_size_is_one_transaction(path: Path, count: int) -> None:
    journal = Journal(path)
    journal.write([row(number) for number in range(count)])
    assert [entry.seq for entry in contents(journal)] == list(range(1, count + 1))
    journal.close()


def test_it_carries_on_where_it_was(path: Path) -> None:
    journal = Journal(path)
    journal.register("sink")
    journal.write([row(1), row(2)])
    journal.advance("sink", 1)
    journal.close()
    journal = Journal(path)
    assert journal.register("sink") == 1
    assert journal.backlog == 1
    journal.write([row(3)])
    assert [entry.seq for entry in contents(journal, after=1)] == [2, 3]
    journal.close()


def test_no_number_is_given_twice_after_everything_was_pruned(path: Path) -> None:
    clock = Clock()
    journal = Journal(path, clock=clock)
    journal.register("sink")
    journal.write([row(n) for n in range(5)])
    journal.advance("sink", 5)
    clock.now += 100
    assert journal.prune(10) == 5
    journal.close()
    journal = Journal(path, clock=clock)
    journal.write([row(9)])
    assert [entry.seq for entry in contents(journal)] == [6]
    assert journal.register("sink") == 5
    journal.close()


def test_only_what_is_old_and_passed_by_every_sink_is_pruned(path: Path) -> None:
    clock = Clock()
    journal = Journal(path, clock=clock)
    journal.register("fast")
    journal.register("slow")
    journal.write([row(n) for n in range(1, 5)])
    clock.now += 100
    journal.write([row(n) for n in range(5, 9)])
    journal.advance("fast", 8)
    assert journal.prune(50) == 0
    journal.advance("slow", 3)
    assert journal.prune(50) == 3
    journal.advance("slow", 8)
    assert journal.prune(50) == 1
    assert [entry.seq for entry in contents(journal)] == [5, 6, 7, 8]
    journal.close()


def test_a_sink_that_is_no_longer_configured_holds_back_pruning(path: Path) -> None:
    clock = Clock()
    journal = Journal(path, clock=clock)
    journal.register("gone")
    journal.register("archive")
    journal.write([row(1)])
    journal.advance("archive", 1)
    journal.unregister("gone")
    clock.now += 100
    assert journal.backlog == 0
    assert journal.prune(10) == 0
    assert journal.stored_cursors() == {"gone": 0, "archive": 1}
    journal.close()


def test_prune_works_in_bounded_transactions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "SLICE_ROWS", 7)
    clock = Clock()
    journal = Journal(path, clock=clock)
    journal.register("sink")
    journal.write([row(n) for n in range(50)])
    journal.advance("sink", 50)
    clock.now += 100
    assert journal.prune(10) == 50
    assert contents(journal) == []
    journal.close()


def test_pushed_rows_and_the_cursor_move_together(path: Path) -> None:
    journal = Journal(path)
    journal.register("sink")
    journal.write([row(1)])
    journal.advance("sink", 1, [row(2)])
    assert journal.cursors == {"sink": 1}
    assert [entry.seq for entry in contents(journal)] == [1, 2]
    assert journal.backlog == 1
    journal.close()


def test_a_second_gateway_is_refused(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(JournalError, match=r"in use by another gateway \(process \d+\)"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_a_newer_format_is_refused(path: Path) -> None:
    Journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(JournalError, match="newer version"):
        Journal(path)
    with pytest.raises(JournalError, match="newer version"):
        open_file(path)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(JournalError, match="no journal"):
        Journal(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    path.write_text("hello, this is no database at all\n" * 100)
    with pytest.raises(JournalError, match="not a database"):
        Journal(path)
    assert path.read_text().startswith("hello")


def test_a_failed_commit_changes_nothing_and_the_next_one_works(path: Path) -> None:
    journal = Journal(path)
    journal.register("sink")
    journal.write([row(1)])
    # The kernel refuses to write beyond the first page of any file: as real as a full disk.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for _ in range(3):
            with pytest.raises(JournalError):
                journal.write([row(2), row(3)])
        with pytest.raises(JournalError):
            journal.write([row(number) for number in range(10, 200)])
        with pytest.raises(JournalError):
            journal.advance("sink", 1)
        with pytest.raises(JournalError):
            journal.probe()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.cursors == {"sink": 0}
    assert [entry.seq for entry in contents(journal)] == [1]
    journal.probe()
    # Not a repeat: the id's first commit never returned.
    assert journal.write([row(2)]) == 1
    assert [entry.seq for entry in contents(journal)] == [1, 2]
    journal.close()


def test_a_waiting_sink_is_woken_by_a_commit(path: Path) -> None:
    journal = Journal(path)
    woken = threading.Event()

    def wait() -> None:
        if journal.wait(0, timeout=PATIENCE):
            woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    journal.write([row(1)])
    thread.join(PATIENCE)
    assert woken.is_set()
    journal.close()


def test_dead_letters_are_kept_retried_and_dropped(path: Path) -> None:
    journal = Journal(path)
    with journal.dead_letters() as letters:
        letters.add("a", [(1, b"one", "forbidden"), (2, b"two", "too large")])
        letters.add("a", [(1, b"one", "still forbidden")])
        letters.add("b", [(1, b"one", "other")])
        assert letters.count() == {"a": 2, "b": 1}
        first = next(iter(letters.select("a")))
        assert (first.seq, first.reason, first.document) == (1, "still forbidden", b"one")
        assert letters.due("a", 10) == []
        assert letters.retry([first.id]) == 1
        assert [letter.seq for letter in letters.due("a", 10)] == [1]
        assert letters.get(first.id) is not None
        assert letters.drop([first.id]) == 1
        assert letters.drop() == 2
        assert letters.get(first.id) is None
    journal.close()


def test_a_repeat_of_a_message_is_no_second_dead_letter(path: Path) -> None:
    document = b'{"_id":"1295103598-5f0c9a7be2d14c3f8a6b1d90","type":"T"}'
    journal = Journal(path)
    with journal.dead_letters() as letters:
        letters.add("a", [(1, document, "forbidden")])
        letters.retry()
        letters.add("a", [(7, document, "still forbidden")])
        letters.add("b", [(7, document, "other")])
        found = [(one.sink, one.seq, one.reason, one.retry) for one in letters.select()]
    assert found == [("a", 1, "still forbidden", False), ("b", 7, "other", False)]
    journal.close()


def test_a_journal_of_the_first_format_is_taken_over(path: Path) -> None:
    Journal(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP INDEX dead_letter_message; ALTER TABLE dead_letter DROP COLUMN message_id;"
            "INSERT INTO dead_letter VALUES (1, 'a', 3, 1295103598, 'no', 1, '{\"_id\":\"x\"}');"
            "PRAGMA user_version=1;"
        )
    with closing(open_file(path)) as connection:
        assert [letter.seq for letter in DeadLetters(connection).select()] == [3]
    journal = Journal(path)
    with journal.dead_letters() as letters:
        letters.add("a", [(4, b'{"_id":"x"}', "no"), (5, b'{"_id":"x"}', "no")])
        assert [(one.seq, one.retry) for one in letters.select()] == [(3, True), (4, False)]
    journal.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.lists(st.integers(0, 30), max_size=5)),
            st.tuples(st.just("advance"), st.integers(0, 10)),
            st.tuples(st.just("prune"), st.integers(0, 200)),
            st.tuples(st.just("reopen"), st.none()),
        ),
        max_size=25,
    )
)
def test_whatever_happens_every_message_is_there_until_it_was_passed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.sqlite"
    clock = Clock()
    journal = Journal(path, clock=clock)
    cursor = journal.register("sink")
    pending: set[bytes] = set()
    passed: set[bytes] = set()
    for name, value in steps:
        clock.now += 50
        if name == "write":
            assert isinstance(value, list)
            rows = [row(number) for number in value]
            journal.write(rows)
            pending |= {document for _, document in rows} - passed
        elif name == "advance":
            assert isinstance(value, int)
            entries = contents(journal, cursor)[:value]
            if entries:
                cursor = entries[-1].seq
                journal.advance("sink", cursor)
                passed |= {entry.document for entry in entries}
                pending -= passed
        elif name == "prune":
            assert isinstance(value, int)
            journal.prune(value)
        else:
            journal.close()
            journal = Journal(path, clock=clock)
            assert journal.register("sink") == cursor
        waiting = contents(journal, cursor)
        assert pending <= {entry.document for entry in waiting}
        assert journal.backlog == journal.last_seq - cursor
        assert [entry.seq for entry in waiting] == sorted({entry.seq for entry in waiting})
    journal.close()


def test_many_threads_write_and_read_at_once(path: Path) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    journal = Journal(path)
    journal.register("sink")
    try:
        threads = [
            threading.Thread(
                target=lambda base=base: [journal.write([row(base + n)]) for n in range(50)]
            )
            for base in range(0, 400, 100)
        ]
        for thread in threads:
            thread.start()
        seen: list[Entry] = []
        reader = journal.reader()
        while len(seen) < 200:
            if journal.wait(len(seen), timeout=PATIENCE):
                seen += reader.read(len(seen), 1000)
                journal.advance("sink", seen[-1].seq)
        for thread in threads:
            thread.join()
        reader.close()
    finally:
        sys.setswitchinterval(interval)
    assert [entry.seq for entry in seen] == list(range(1, 201))
    assert len({entry.document for entry in seen}) == 200
    assert journal.backlog == 0
    journal.close()


def test_a_large_log_is_reset_by_the_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "WAL_LIMIT", 100_000)
    monkeypatch.setattr(journal_module, "WAL_ROOM", 0)
    journal = Journal(path)
    wal = Path(f"{path}-wal")
    for number in range(300):
        journal.write([(str(number), b"x" * 2000)])
        if number % 20 == 0:
            journal.checkpoint()
    assert wal.stat().st_size < 1_000_000
    assert len(contents(journal)) == 300
    journal.close()


def test_a_log_that_is_written_to_all_the_time_starts_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits come during most checkpoints, so what these move is hardly ever all of it."""
    monkeypatch.setattr(journal_module, "WAL_LIMIT", 100_000)
    monkeypatch.setattr(journal_module, "WAL_ROOM", 0)
    journal = Journal(path, sync="normal")
    done = threading.Event()
    # However busy the machine is, no more is written between two checkpoints.
    turns = threading.Semaphore(0)

    def write() -> None:
        for number in range(3000):
            turns.acquire()
            journal.write([(str(number), b"x" * 20_000)])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    largest = 0
    while not done.is_set():
        while turns.acquire(blocking=False):
            pass
        turns.release(200)
        journal.checkpoint()
        largest = max(largest, Path(f"{path}-wal").stat().st_size)
    thread.join()
    assert largest < 45_000_000, "of 80 MB that were written"
    journal.close()


def test_what_was_written_survives_kill_9(path: Path) -> None:
    script = (
        "import sys, os, signal\n"
        "from habitat_like.journal.journal import Journal\n"
        "j = Journal(sys.argv[1])\n"
        "for n in range(100):\n"
        "    j.write([(str(n), b'%d' % n)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    journal = Journal(path)
    assert [entry.document for entry in contents(journal)] == [b"%d" % n for n in range(100)]
    journal.close()
