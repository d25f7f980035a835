"""The embedded archive's files vanish or are replaced while it is open; its log after a reader."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive import Query, sqlite_file
from habitat_like.archive.sqlite import SqliteArchive
from tests.conftest import HabitatFactory
from tests.support.archive import document, encode
from tests.support.gateway import Habitat
from tests.support.messages import TELEM
from tests.support.wait import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "archive.sqlite"


@pytest.fixture
def archive(path: Path) -> Iterator[SqliteArchive]:
    made = SqliteArchive(str(path))
    yield made
    made.close()


def stored(path: Path) -> list[str]:
    """The ids in the file that the path leads to, for a reader of its own."""
    with closing(SqliteArchive(str(path))) as reader:
        return [one["_id"] for one in reader.query(Query(order="asc"))]


def ids(*numbers: int) -> list[str]:
    return [document(number)["_id"] for number in numbers]


def test_the_log_is_small_again_after_a_long_reader(
    path: Path, archive: SqliteArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "WAL_KEPT", 100_000)
    monkeypatch.setattr(sqlite_file, "CHECKPOINT_EVERY", 0)
    archive.store(encode([document(0)]))
    log = Path(f"{path}-wal")
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM document").fetchone()
        for number in range(1, 500, 50):
            batch = [document(n, data={"string": "x" * 4000}) for n in range(number, number + 50)]
            archive.store(encode(batch))
        assert log.stat().st_size > 1_000_000
    archive.tend()
    assert log.stat().st_size <= 100_000
    assert len(stored(path)) == 501


def test_a_lost_log_loses_nothing(path: Path, archive: SqliteArchive) -> None:
    archive.store(encode([document(1)]))
    archive.store(encode([document(2)]))
    Path(f"{path}-wal").unlink()
    archive.store(encode([document(3)]))
    assert archive.begun_anew() is None
    assert stored(path) == ids(1, 2, 3)


def test_another_file_in_its_place_is_told_once(path: Path, archive: SqliteArchive) -> None:
    archive.store(encode([document(1)]))
    snapshot = path.with_name("snapshot.sqlite")
    with closing(SqliteArchive(str(snapshot))) as other:
        other.store(encode([document(7)]))
    archive.store(encode([document(2)]))
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink()
    snapshot.rename(path)
    assert archive.gone() is None
    archive.store(encode([document(3)]))
    assert "was replaced" in str(archive.begun_anew())
    assert archive.begun_anew() is None
    assert stored(path) == ids(3, 7)


def test_a_file_that_was_emptied_is_begun_anew(path: Path, archive: SqliteArchive) -> None:
    archive.store(encode([document(1)]))
    path.write_bytes(b"")
    archive.store(encode([document(2)]))
    assert "was overwritten" in str(archive.begun_anew())
    assert stored(path) == ids(2)


def test_the_log_of_a_restored_file_is_left_alone(path: Path, archive: SqliteArchive) -> None:
    """SQLite deletes the log by its name when it closes a file."""
    archive.store(encode([document(1)]))
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink()
    with closing(SqliteArchive(str(path))) as restored:
        restored.store(encode([document(7)]))
        log = Path(f"{path}-wal").stat()
        archive.store(encode([document(3)]))
        assert Path(f"{path}-wal").stat().st_ino == log.st_ino
        assert stored(path) == ids(3, 7)


def test_what_was_moved_away_is_whole(path: Path, archive: SqliteArchive) -> None:
    archive.store(encode([document(1)]))
    moved = path.with_name("moved.sqlite")
    path.rename(moved)
    assert f"was moved to {moved}: put it back" in str(archive.gone())
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink()
    assert stored(moved) == ids(1)


def test_a_deleted_file_is_saved_with_the_command_that_is_told(
    path: Path, archive: SqliteArchive
) -> None:
    for number in range(1, 20):
        archive.store(encode([document(number)]))
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    told = str(archive.gone())
    assert "was deleted" in told
    command = told.partition("before anything else: ")[2]
    assert shlex.split(command)[0] == "cp"
    subprocess.run(command, shell=True, check=True)
    assert archive.gone() is None
    archive.store(encode([document(20)]))
    assert stored(path) == ids(*range(1, 21))


# -- with a whole gateway


def upload(gateway: Habitat, number: int) -> None:
    body = json.dumps({**TELEM, "time_created": TELEM["time_created"] + number})
    assert gateway.scgi("POST", "/message", body).status == 200


def archived(gateway: Habitat) -> Counter[str]:
    return Counter(one["_id"] for one in gateway.documents())


def problem(gateway: Habitat) -> str:
    archive: dict[str, Any] = gateway.status()["archive"]
    return str(archive["problem"] or "")


@pytest.fixture
def gateway(habitat: HabitatFactory) -> Habitat:
    made = habitat(start=False)
    (made.directory / "kept").mkdir()
    made.config["archive"]["uri"] = f"sqlite:{made.directory}/kept/archive.sqlite"
    made.start()
    for number in range(5):
        upload(made, number)
    made.wait_until_archived()
    return made


@pytest.fixture
def kept(gateway: Habitat) -> Path:
    return gateway.directory / "kept"


def remove_files(kept: Path) -> None:
    for file in kept.iterdir():
        file.unlink()


def remove_directory(kept: Path) -> None:
    shutil.rmtree(kept)


def move_directory(kept: Path) -> None:
    kept.rename(kept.with_name("elsewhere"))


@pytest.mark.parametrize("lose", [remove_files, remove_directory, move_directory])
def test_messages_wait_while_the_archive_is_gone(
    gateway: Habitat, kept: Path, lose: Callable[[Path], None]
) -> None:
    before = gateway.status()["archive"]["cursor"]
    lose(kept)
    eventually(lambda: "archive.sqlite was" in problem(gateway), "noticed when idle")
    for number in range(5, 10):
        upload(gateway, number)
    assert gateway.scgi("GET", "/readyz").status == 200
    state = gateway.status()["archive"]
    assert (state["cursor"], state["backlog"]) == (before, 5)
    eventually(lambda: gateway.log.count("sink can't go on") == 1, "one line in the log")
    assert not (kept / "archive.sqlite").exists()


def test_a_restored_archive_is_given_what_the_journal_still_holds(
    gateway: Habitat, kept: Path
) -> None:
    backup = kept.with_name("backup.sqlite")
    with closing(SqliteArchive(str(backup))) as other:
        other.prepare()  # from before the first message
    remove_files(kept)
    eventually(lambda: "was deleted" in problem(gateway), "noticed")
    upload(gateway, 5)
    backup.rename(kept / "archive.sqlite")
    eventually(lambda: not problem(gateway), "it goes on")
    gateway.wait_until_archived()
    with closing(SqliteArchive(str(kept / "archive.sqlite"))) as found:
        documents = Counter(one["_id"] for one in found.query(Query()))
    assert len(documents) == 6
    assert set(documents.values()) == {1}
