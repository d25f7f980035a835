"""`habitat backup` while the gateway runs, and `habitat restore`, from ruin to restored."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive import Query
from habitat_like.archive.sqlite import SqliteArchive
from tests.conftest import HabitatFactory
from tests.support.cli import document, most_memory, store
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.messages import GOOD
from tests.support.wait import eventually

LARGE = 256 * 1024 * 1024


def upload(gateway: Habitat, callsign: str) -> None:
    body = json.dumps({**json.loads(GOOD), "callsign": callsign})
    assert gateway.scgi("POST", "/message", body).status == 200


def backup(gateway: Habitat, directory: Path, *words: str) -> Path:
    """Make a backup; its path."""
    done = gateway.cli("backup", *words, str(directory))
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.partition(": ")[0])


def ruin(gateway: Habitat) -> None:
    """All that it had is gone."""
    for name in ("journal.sqlite", "archive.sqlite", "config.yml", "identity.key"):
        for path in gateway.directory.glob(f"{name}*"):
            path.unlink()


def test_from_ruin_to_restored(habitat: HabitatFactory, tmp_path: Path) -> None:
    gateway = habitat()
    for number in range(20):
        upload(gateway, f"T{number}")
    before = gateway.documents()
    made = backup(gateway, tmp_path / "backups")
    # Still in the journal alone, or archived later: no part of it.
    upload(gateway, "LATER")
    assert gateway.stop() == 0
    config = gateway.config_path.read_text()
    ruin(gateway)
    done = gateway.cli("restore", "--config", str(gateway.config_path), str(made.parent))
    assert done.returncode == 0, done.stderr
    assert gateway.config_path.read_text() == config
    gateway.start()
    assert gateway.documents() == before
    # And it goes on: numbers, cursors and ids fit together.
    upload(gateway, "T0")
    upload(gateway, "NEW")
    assert len(gateway.documents()) == len(before) + 1


def test_what_was_acknowledged_before_a_backup_is_in_it(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    gateway = habitat({"journal": {"retention": 0}})
    acknowledged: list[str] = []
    end = threading.Event()

    def station() -> None:
        number = 0
        while not end.is_set():
            number += 1
            upload(gateway, f"T{number}")
            acknowledged.append(f"T{number}")

    thread = threading.Thread(target=station)
    thread.start()
    try:
        made = []
        for count in (20, 60, 100):
            eventually(lambda count=count: len(acknowledged) >= count)  # type: ignore[misc]
            known = list(acknowledged)
            made.append((known, backup(gateway, tmp_path / "backups")))
    finally:
        end.set()
        thread.join()
    assert gateway.stop() == 0
    for known, path in made:
        ruin(gateway)
        gateway.write_config()
        done = gateway.cli("restore", str(path))
        assert done.returncode == 0, done.stderr
        gateway.start()
        found = {one["callsign"] for one in gateway.documents()}
        assert set(known) <= found
        assert gateway.stop() == 0


def test_a_backup_is_for_the_gateways_group_alone(habitat: HabitatFactory, tmp_path: Path) -> None:
    gateway = habitat()
    upload(gateway, "M0ZDR")
    made = backup(gateway, tmp_path / "backups")
    for path in [made.parent, made, *made.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path
    manifest = json.loads((made / "manifest.json").read_text())
    kinds = {item["kind"] for item in manifest["items"]}
    assert {"journal", "archive", "configuration"} <= kinds


def test_the_configurations_files_are_in_it_but_no_password_for_others(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    gateway = habitat(start=False, own="VALUE = 1\n")
    stations = gateway.directory / "stations.yml"
    stations.write_text("- {network: weather, callsign: HOME, identity: 'a1'}\n")
    gateway.config["stations"] = str(stations)
    gateway.config["networks"] = {"weather": {}}
    gateway.start()
    (gateway.directory / "couch.password").write_text("secret\n")
    key = (gateway.directory / "identity.key").read_bytes()
    upload(gateway, "M0ZDR")
    gateway.wait_until_archived()
    made = backup(gateway, tmp_path / "backups")
    names = {path.name for path in made.rglob("*")}
    assert {"config.yml", "own.py", "stations.yml", "identity.key"} <= names
    assert "couch.password" not in names
    assert gateway.stop() == 0
    ruin(gateway)
    stations.unlink()
    assert gateway.cli("restore", "--config", str(gateway.config_path), str(made)).returncode == 0
    assert stations.exists()
    assert (gateway.directory / "identity.key").read_bytes() == key


def test_the_newest_are_kept(habitat: HabitatFactory, tmp_path: Path) -> None:
    gateway = habitat()
    upload(gateway, "M0ZDR")
    gateway.wait_until_archived()
    made = [backup(gateway, tmp_path / "backups") for _ in range(3)]
    (tmp_path / "backups" / "mine").mkdir()
    made.append(backup(gateway, tmp_path / "backups", "--keep", "2"))
    left = {path.name for path in (tmp_path / "backups").iterdir()}
    assert left == {made[-2].name, made[-1].name, "mine"}


def test_a_damaged_backup_is_not_restored(habitat: HabitatFactory, tmp_path: Path) -> None:
    gateway = habitat()
    upload(gateway, "M0ZDR")
    gateway.wait_until_archived()
    made = backup(gateway, tmp_path / "backups")
    assert gateway.stop() == 0
    with (made / "archive.sqlite").open("r+b") as file:
        file.seek(5000)
        file.write(b"\1")
    before = (gateway.directory / "archive.sqlite").read_bytes()
    done = gateway.cli("restore", "--force", str(made))
    assert done.returncode == 1
    assert "archive.sqlite is damaged" in done.stderr
    assert (gateway.directory / "archive.sqlite").read_bytes() == before


def test_what_is_there_is_replaced_only_by_force_and_kept(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    gateway = habitat()
    upload(gateway, "FIRST")
    gateway.wait_until_archived()
    made = backup(gateway, tmp_path / "backups")
    upload(gateway, "SECOND")
    gateway.wait_until_archived()
    done = gateway.cli("restore", "--force", str(made))
    assert done.returncode == 1
    assert "is in use by another gateway" in done.stderr
    assert "systemctl stop habitat.socket habitat" in done.stderr
    gateway.kill()
    done = gateway.cli("restore", str(made))
    assert done.returncode == 1
    assert "in the way" in done.stderr
    assert "archive.sqlite" in done.stderr
    assert gateway.cli("restore", "--force", str(made)).returncode == 0
    gateway.start()
    assert {one["callsign"] for one in gateway.documents()} == {"FIRST"}
    # With the log of before beside it, it is whole.
    old = SqliteArchive(str(gateway.directory / "archive.sqlite.before-restore"))
    with contextlib.closing(old):
        assert {one["callsign"] for one in old.query(Query(suspicious=True))} == {"FIRST", "SECOND"}


def test_a_restore_that_was_killed_can_be_repeated(habitat: HabitatFactory, tmp_path: Path) -> None:
    gateway = habitat()
    upload(gateway, "M0ZDR")
    gateway.wait_until_archived()
    made = backup(gateway, tmp_path / "backups")
    assert gateway.stop() == 0
    ruin(gateway)
    # As after a kill between two renames: an old log, and no database.
    (gateway.directory / "archive.sqlite-wal").write_bytes(b"of another database")
    gateway.write_config()
    assert gateway.cli("restore", str(made)).returncode == 0
    gateway.start()
    assert [one["callsign"] for one in gateway.documents()] == ["M0ZDR"]


def test_couchdb_is_exported_and_imported(
    habitat: HabitatFactory, couch: CouchServer, database: str, tmp_path: Path
) -> None:
    gateway = habitat({"archive": {"uri": couch.uri(database)}})
    for number in range(5):
        upload(gateway, f"T{number}")
    gateway.wait_until_archived()
    before = {doc["_id"] for doc in couch.all_docs(database)}
    made = backup(gateway, tmp_path / "backups")
    assert (made / "archive.ndjson.gz").exists()
    assert gateway.stop() == 0
    couch.delete(database)
    ruin(gateway)
    done = gateway.cli("restore", "--config", str(gateway.config_path), str(made))
    assert done.returncode == 0, done.stderr
    assert {doc["_id"] for doc in couch.all_docs(database)} == before


def test_a_backup_that_was_killed_leaves_nothing_under_its_name(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    gateway = habitat()
    upload(gateway, "M0ZDR")
    gateway.wait_until_archived()
    where = tmp_path / "backups"
    where.mkdir()
    left = where / ".part-habitat-20200101T000000Z"
    (left / "files").mkdir(parents=True)
    (left / "journal.sqlite").write_bytes(b"half")
    done = gateway.cli("restore", str(where))
    assert done.returncode == 1
    assert "there is no backup" in done.stderr
    made = backup(gateway, where)
    assert [path.name for path in where.iterdir()] == [made.name]


def test_a_disk_without_room_is_refused_before_it_is_full(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    gateway = habitat()
    upload(gateway, "M0ZDR")
    gateway.wait_until_archived()
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "small", str(small)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        done = gateway.cli("backup", str(small / "backups"))
        assert done.returncode == 1
        assert "MB are needed and" in done.stderr
        assert list((small / "backups").iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_root_makes_no_backup_where_others_could_change_it(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("this is about root")
    gateway = habitat()
    upload(gateway, "M0ZDR")
    gateway.wait_until_archived()
    made = backup(gateway, tmp_path / "backups")
    os.chown(tmp_path / "backups", 65534, 65534)
    done = gateway.cli("backup", str(tmp_path / "backups"))
    assert done.returncode == 1
    assert f"chown root {tmp_path / 'backups'}" in done.stderr
    assert gateway.stop() == 0
    done = gateway.cli("restore", "--force", str(made))
    assert done.returncode == 1
    assert "chown root" in done.stderr


def test_a_large_archive_needs_little_memory(habitat: HabitatFactory, tmp_path: Path) -> None:
    gateway = habitat()
    upload(gateway, "M0ZDR")
    assert gateway.stop() == 0
    data: dict[str, Any] = {"string": "A" * 20_000}
    with contextlib.closing(SqliteArchive(str(gateway.directory / "archive.sqlite"))) as archive:
        archive.prepare()
        for at in range(0, 20_000, 500):
            store(archive, [document(number, data=data) for number in range(at, at + 500)])
    assert (gateway.directory / "archive.sqlite").stat().st_size > LARGE
    used = most_memory("backup", str(tmp_path / "backups"), env=gateway.environ)
    assert used < 150_000_000
    shutil.rmtree(tmp_path / "backups")


def test_a_directory_s_name_may_be_in_another_encoding(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    gateway = habitat()
    upload(gateway, "M0ZDR")
    gateway.documents()
    directory = tmp_path / "b\udcff"
    done = gateway.cli("backup", str(directory))
    assert (done.returncode, done.stderr) == (0, "")
    assert gateway.stop() == 0
    ruin(gateway)
    done = gateway.cli("restore", "--config", str(gateway.config_path), str(directory))
    assert (done.returncode, done.stderr) == (0, "")
    gateway.start()
    assert [document["callsign"] for document in gateway.documents()] == ["M0ZDR"]
