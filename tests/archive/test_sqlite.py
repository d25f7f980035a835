"""What only SqliteArchive promises, and what can go wrong with its file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from habitat_like.archive import ArchiveError, ArchiveUnavailable, Query, sqlite_tables
from habitat_like.archive import sqlite as sqlite_module
from tests.support.archive import ORDERS, Order, document, encode, everything


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.sqlite"


@pytest.fixture
def sqlite(path: Path) -> Iterator[sqlite_module.SqliteArchive]:
    archive = sqlite_module.SqliteArchive(str(path), timeout=0.3)
    archive.prepare()
    yield archive
    archive.close()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", [None, "T"])
@pytest.mark.parametrize("callsign", [None, "C"])
def test_walks_an_index_and_never_sorts(
    sqlite: sqlite_module.SqliteArchive,
    path: Path,
    order: Order,
    kind: str | None,
    callsign: str | None,
) -> None:
    query = Query(callsign=callsign, type=kind, order=order)
    pages, values = sqlite_tables.statements(query)
    with closing(sqlite3.connect(path)) as connection:
        for page in pages:
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN {page}", {**values, "size": 5, "time": 1, "id": "x"}
            ).fetchall()
            (step,) = [row[3] for row in plan]
            assert step.startswith("SEARCH document USING INDEX by_")
            assert "time_created" in step
        # A later page begins where the one before it ended, however far that is.
        beyond = ">" if order == "asc" else "<"
        assert f"(time_created,id){beyond}(?,?)" in step


def test_is_durable_and_lets_others_read(sqlite: sqlite_module.SqliteArchive, path: Path) -> None:
    writer = sqlite._open_writer()
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    reader = sqlite_module.SqliteArchive(str(path))
    answers = reader.query(Query(order="asc"))
    sqlite.store(encode([document(number) for number in range(1200)]))
    next(answers)
    # A query in the middle keeps nothing: the whole log can be checkpointed and emptied.
    assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert len(list(answers)) == 1199
    reader.close()


def test_is_read_without_rights_to_write(sqlite: sqlite_module.SqliteArchive, path: Path) -> None:
    sqlite.store(encode([document(1)]))
    reader = sqlite_module.SqliteArchive(str(path))
    assert everything(reader) == [document(1)]
    connection = reader._reader
    assert connection is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM document")
    reader.close()


def test_numbers_survive_to_the_last_digit(sqlite: sqlite_module.SqliteArchive) -> None:
    text = b'{"_id":"a","time_created":1,"x":[12345678901234567890123, 1e-7, 1.0, -0.0, 0.1]}'
    assert sqlite.store([text]) == []
    (found,) = everything(sqlite)
    assert repr(found["x"]) == "[12345678901234567890123, 1e-07, 1.0, -0.0, 0.1]"


def test_locked_by_another_process(sqlite: sqlite_module.SqliteArchive, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ArchiveUnavailable, match="locked") as caught:
        sqlite.store(encode([document(1)]))
    assert "\n" not in str(caught.value)
    assert everything(sqlite) == []
    other.execute("ROLLBACK")
    other.close()
    assert sqlite.store(encode([document(1)])) == []


def test_interrupt_ends_the_wait_for_a_lock(path: Path) -> None:
    archive = sqlite_module.SqliteArchive(str(path), timeout=3600)
    archive.prepare()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    caught: list[str] = []

    def store() -> None:
        try:
            archive.store(encode([document(1)]))
        except ArchiveUnavailable as error:
            caught.append(str(error))

    thread = threading.Thread(target=store)
    thread.start()
    archive.interrupt()
    thread.join()
    assert "interrupted" in caught[0]
    archive.close()
    other.close()


def test_after_a_failed_fsync_nobody_else_may_have_the_file_open(
    sqlite: sqlite_module.SqliteArchive, path: Path
) -> None:
    """The log is read anew by whoever opens the file first, and trusted by whoever comes later."""
    sqlite.store(encode([document(1)]))
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute(sys.argv[2]));"
    command = [sys.executable, "-c", f"{code} sys.stdout.flush(); input()", str(path)]
    command.append("SELECT count(*) FROM document")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"(1,)\n"
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        sqlite._let_go(error)
        for _ in range(2):
            with pytest.raises(ArchiveUnavailable, match="another process has it open"):
                sqlite.store(encode([document(2)]))
        other.communicate(b"\n")
    assert sqlite.store(encode([document(2)])) == []
    assert len(everything(sqlite)) == 2


def test_after_a_failed_fsync_nobody_in_the_same_process_keeps_the_file_open(
    sqlite: sqlite_module.SqliteArchive, path: Path
) -> None:
    """As the console, beside the sink: locks say nothing of what one's own process has open."""
    sqlite.store(encode([document(1)]))
    with closing(sqlite_module.SqliteArchive(str(path))) as page:
        assert len(everything(page)) == 1
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        sqlite._let_go(error)
        with pytest.raises(ArchiveUnavailable, match="console still reads it"):
            sqlite.store(encode([document(2)]))
        for _ in range(2):
            with pytest.raises(ArchiveUnavailable, match="not opened anew yet"):
                everything(page)
        assert sqlite.store(encode([document(2)])) == []
        assert len(everything(page)) == 2


def test_disk_full_stores_nothing_and_recovers(
    sqlite: sqlite_module.SqliteArchive,
) -> None:
    sqlite.store(encode([document(1)]))
    writer = sqlite._open_writer()
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    batch = encode([document(number, data={"string": "x" * 4000}) for number in range(2, 50)])
    with pytest.raises(ArchiveUnavailable, match="disk is full"):
        sqlite.store(batch)
    assert everything(sqlite) == [document(1)]
    assert sqlite.store(batch) == []  # the limit went with the connection
    assert len(everything(sqlite)) == 49


def test_damaged_or_foreign_files(path: Path) -> None:
    path.write_bytes(b"no database at all\n" * 1000)
    archive = sqlite_module.SqliteArchive(str(path))
    with pytest.raises(ArchiveUnavailable, match="not an SQLite database"):
        archive.prepare()
    with pytest.raises(ArchiveUnavailable, match="not an SQLite database"):
        archive.position()
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE somebody (elses)")
    for call in (archive.prepare, archive.position, lambda: archive.store([b'{"_id":"a"}'])):
        with pytest.raises(ArchiveUnavailable, match="another program"):
            call()
    path.unlink()
    assert archive.prepare() == []
    archive.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {sqlite_tables.VERSION + 1}")
    with pytest.raises(ArchiveUnavailable, match="newer version"):
        archive.prepare()


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    archive = sqlite_module.SqliteArchive(str(tmp_path / "file" / "archive.sqlite"))
    with pytest.raises(ArchiveUnavailable, match="file"):
        archive.prepare()
    with pytest.raises(ArchiveUnavailable, match="file"):
        list(archive.query(Query()))


def test_refuses_a_position_of_another_archive(
    sqlite: sqlite_module.SqliteArchive,
) -> None:
    with pytest.raises(ArchiveError, match="no position"):
        sqlite.follow("12-g1AAAACheJzLYWBg")


def test_path_with_odd_characters(tmp_path: Path) -> None:
    archive = sqlite_module.SqliteArchive(str(tmp_path / "a b?c#d%41.sqlite"))
    archive.store(encode([document(1)]))
    assert (tmp_path / "a b?c#d%41.sqlite").exists()
    archive.close()


def test_reader_sees_a_file_that_was_made_anew(
    sqlite: sqlite_module.SqliteArchive, path: Path
) -> None:
    reader = sqlite_module.SqliteArchive(str(path))
    sqlite.store(encode([document(1)]))
    assert everything(reader) == [document(1)]
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    sqlite.store(encode([document(2)]))
    assert everything(reader) == [document(2)]
    reader.close()
