"""Files of the journal that vanish or are replaced under a running gateway."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from habitat_like.journal.file import JournalError, JournalLost
from habitat_like.journal.journal import Journal, Row
from tests.conftest import HabitatFactory
from tests.support.gateway import Habitat
from tests.support.messages import TELEM
from tests.support.wait import eventually


def row(number: int) -> Row:
    return f"{number:010d}-x", b'{"_id":"%010d-x"}' % number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "journal.sqlite"


def files(path: Path) -> list[Path]:
    return [Path(f"{path}{end}") for end in ("", "-wal", "-shm", ".lock")]


def remove(path: Path) -> None:
    for file in files(path):
        file.unlink(missing_ok=True)


def move(path: Path) -> None:
    for file in files(path):
        file.rename(file.with_name(f"moved-{file.name}"))


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def restore_snapshot(path: Path) -> None:
    """As an operator does with a backup of yesterday: in place of what is there."""
    snapshot = path.with_name("snapshot")
    with closing(Journal(snapshot)) as other:
        other.write([row(1_000_000)])
    remove(path)
    snapshot.rename(path)


def remove_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


WAYS = [remove, move, remove_directory, move_directory, restore_snapshot, remove_log, empty]


_READ = """
import sys
from habitat_like.journal.journal import Journal
journal = Journal(sys.argv[1])
print(b",".join(entry.document for entry in journal.reader().read(0, 5000)).decode())
journal.close()
"""


def ids(path: Path) -> Counter[str]:
    """What the journal's next start, which is in another process, finds."""
    command = [sys.executable, "-c", _READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Counter(one["_id"] for one in json.loads(f"[{done.stdout}]"))


@pytest.mark.parametrize("lose", WAYS)
def test_what_waits_is_saved_and_taken_in_by_the_next_start(
    path: Path, lose: Callable[[Path], None]
) -> None:
    journal = Journal(path)
    journal.register("sink")
    journal.write([row(number) for number in range(20)])
    journal.advance("sink", 5)
    with journal.dead_letters() as letters:
        letters.add("sink", [(3, row(2)[1], "forbidden")])
    lose(path)
    assert journal.look() is not None
    with pytest.raises(JournalLost, match=r"deleted|replaced|moved|overwritten"):
        journal.write([row(99)])
    with pytest.raises(JournalLost):
        journal.probe()
    with pytest.raises(JournalError):
        journal.reader()
    journal.keep_files(lambda: None)
    # A sink goes on with what it has open, and what it has taken is not saved in the end.
    journal.advance("sink", 10)
    journal.close()
    found = ids(path)
    assert set(found) >= {row(number)[0] for number in [2, *range(10, 20)]}
    assert row(99)[0] not in found
    if lose not in (move, move_directory, remove_log):
        assert row(7)[0] not in found
    assert set(ids(path)) == set(found), "and once: the file that saved them is gone"
    assert not list(path.parent.glob("*.rescued*"))


def test_an_older_copy_may_be_put_over_the_file(path: Path) -> None:
    """As ``cp`` does, so that it is the same file: its log must not be applied to the copy."""
    copy = path.with_name("copy")
    with closing(Journal(path)) as journal:
        journal.register("sink")
        journal.write([row(0)])
        journal.checkpoint()
        shutil.copyfile(path, copy)
        for number in range(1, 2000):
            journal.write([row(number)])
        journal.advance("sink", 1000)
        journal.checkpoint()
        shutil.copyfile(copy, path)
        assert "was overwritten while" in str(journal.look())
        with pytest.raises(JournalLost):
            journal.write([row(9999)])
        journal.checkpoint()
        assert path.read_bytes() == copy.read_bytes()
        journal.keep_files(lambda: None)
        assert not Path(f"{path}-wal").exists(), "also for a start after a crash"
    found = ids(path)
    assert set(found) == {row(number)[0] for number in [0, *range(1000, 2000)]}
    assert set(found.values()) == {1}


def test_nothing_is_saved_where_every_sink_has_taken_all(path: Path) -> None:
    journal = Journal(path)
    journal.register("sink")
    journal.write([row(1)])
    journal.advance("sink", 1)
    remove(path)
    journal.look()
    journal.keep_files(lambda: None)
    journal.close()
    assert not list(path.parent.glob("*.rescued*"))


def test_what_was_saved_before_a_crash_is_taken_in(path: Path) -> None:
    journal = Journal(path)
    journal.register("sink")
    journal.write([row(1), row(2)])
    remove(path)
    journal.look()
    journal.keep_files(lambda: None)
    assert [file.name for file in path.parent.glob("*rescued*")] == ["journal.sqlite.rescued"]
    Path(f"{path}.lock").unlink()  # as if our process were gone
    assert ids(path) == Counter([row(1)[0], row(2)[0]])
    journal.close()


def test_files_that_are_put_back_are_used_again(path: Path) -> None:
    journal = Journal(path)
    journal.register("sink")
    journal.write([row(1)])
    move_directory(path)
    assert "moved to" in str(journal.look())
    journal.keep_files(lambda: None)
    shutil.rmtree(path.parent, ignore_errors=True)  # where it was saved
    path.parent.with_name("elsewhere").rename(path.parent)
    assert journal.look() is None
    journal.keep_files(lambda: None)
    assert journal.write([row(2)]) == 1
    journal.close()
    assert ids(path) == Counter([row(1)[0], row(2)[0]])


def test_a_lost_lock_is_made_again(path: Path) -> None:
    journal = Journal(path)
    Path(f"{path}.lock").unlink()
    assert journal.look() is None
    with pytest.raises(JournalError, match="in use by another gateway"):
        Journal(path)
    assert journal.write([row(1)]) == 1
    journal.close()
    Journal(path).close()


def test_no_gateway_starts_on_the_path_of_a_lost_journal(path: Path) -> None:
    journal = Journal(path)
    remove(path)
    journal.look()
    with pytest.raises(JournalError, match="in use by another gateway"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_the_log_of_a_snapshot_is_left_alone_at_the_end(path: Path) -> None:
    """SQLite deletes the log by its name when it closes a file."""
    journal = Journal(path)
    journal.write([row(1)])
    remove(path)
    with closing(sqlite3.connect(path)) as snapshot:
        snapshot.execute("PRAGMA journal_mode=WAL")
        snapshot.execute("CREATE TABLE t (x)")
        log = Path(f"{path}-wal")
        before = log.stat().st_ino
        journal.look()
        journal.close()
        assert log.stat().st_ino == before


# -- a whole gateway


def upload(number: int) -> bytes:
    return json.dumps({**TELEM, "time_created": TELEM["time_created"] + number}).encode()


def lose_one(gateway: Habitat, lose: Callable[[Path], None]) -> None:
    """Lose the files, and wait until it is noticed without an upload."""
    lose(gateway.journal_path)
    eventually(lambda: gateway.scgi("GET", "/readyz").status == 503, "noticed")


@pytest.mark.parametrize("lose", [remove, move, remove_directory, restore_snapshot, empty])
def test_uploads_get_503_and_what_was_answered_200_is_archived_once(
    habitat: HabitatFactory, lose: Callable[[Path], None]
) -> None:
    gateway = habitat(start=False)
    gateway.journal_path = gateway.directory / "var" / "journal.sqlite"
    gateway.config["journal"]["path"] = str(gateway.journal_path)
    good = gateway.config["archive"]["uri"]
    gateway.config["archive"]["uri"] = f"sqlite:{gateway.directory}/log/no-directory.sqlite"  # away
    gateway.start()
    sent = [upload(number) for number in range(10)]
    for body in sent:
        assert gateway.scgi("POST", "/message", body).status == 200
    lose_one(gateway, lose)
    assert gateway.scgi("POST", "/message", upload(11)).status == 503
    assert "journal" in gateway.scgi("GET", "/readyz").text
    assert gateway.scgi("GET", "/healthz").status == 200
    eventually(lambda: gateway.log.count("the journal takes no messages") == 1, "logged once")
    gateway.config["archive"]["uri"] = good
    gateway.restart()
    for body in sent:
        assert gateway.scgi("POST", "/message", body).status == 200
    archived = Counter(one["_id"] for one in gateway.documents())
    assert len(archived) == len(sent)
    assert set(archived.values()) == {1}
