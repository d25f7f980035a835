"""``habitat import`` in real processes: backup, restore, and moves between archives."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from habitat_like import config as configuration
from habitat_like.archive import Archive, Query, open_archive
from habitat_like.cli.import_ import to_document
from habitat_like.config.keys import ArchiveConfig
from tests.conftest import CouchOpener
from tests.support.archive import everything
from tests.support.cli import Run, document, environment, fails, on_terminal, store
from tests.support.couch import CouchServer
from tests.support.proxy import Action, Answer, Proxy
from tests.support.wait import PATIENCE

NUMBER = 1100
ALL = Query(order="asc", suspicious=True)


def documents(number: int = NUMBER) -> list[dict[str, Any]]:
    made = [document(at) for at in range(number)]
    made[3] = document(3, data={"name": 'é\u2028"\n', "n": 1e300, "big": 2**53}, more=[{"a": None}])
    made[4] = document(4, suspicious="dated 1980")
    made[5] = {"_id": "odd one/ü", "time_created": made[5]["time_created"]}
    return made


def write(path: Path, some: list[Any]) -> str:
    """The documents as NDJSON; what is text already is a line as it is."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in some]
    path.write_text("".join(text + "\n" for text in texts))
    return str(path)


def held(archive: Archive) -> list[dict[str, Any]]:
    return list(archive.query(ALL))


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Archive]:
    """Another archive, still empty; its name is its URI."""
    opened = open_archive(ArchiveConfig(uri=f"sqlite:{tmp_path}/second.sqlite"))
    yield opened
    opened.close()


def test_backup_and_restore(
    run: Run, embedded_archive: Archive, config_file: str, tmp_path: Path
) -> None:
    """The embedded archive is exported, lost, and brought back."""
    store(embedded_archive, documents())
    backup = str(tmp_path / "backup.ndjson.gz")
    assert run("export", "--suspicious", backup).returncode == 0
    embedded_archive.close()
    path = Path(configuration.load(config_file, {}).archive.uri.removeprefix("sqlite:"))
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    done = run("import", backup)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{NUMBER} documents read and archived\n"
    assert held(embedded_archive) == documents()


def test_move_from_the_embedded_archive_to_couchdb(
    run: Run, embedded_archive: Archive, couch: CouchServer, database: str, config_file: str
) -> None:
    """Through a pipe, with nothing in between."""
    store(embedded_archive, documents())
    habitat = f"{sys.executable} -m habitat_like.cli"
    uri = couch.uri(database)
    command = f"{habitat} export --suspicious | HABITAT_ARCHIVE_URI={uri} {habitat} import -"
    done = subprocess.run(
        ["sh", "-c", command],
        env=environment(HABITAT_CONFIG=config_file),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{NUMBER} documents read and archived\n"
    with_revisions = couch.all_docs(database)
    assert {one["_id"]: {**one, "_rev": ""} for one in with_revisions} == {
        one["_id"]: {**one, "_rev": ""} for one in documents()
    }


def test_move_from_one_couchdb_to_another(
    run: Run, couch: CouchServer, database: str, couch_opener: CouchOpener, tmp_path: Path
) -> None:
    first = couch_opener()
    first.prepare()
    store(first, documents())
    path = str(tmp_path / "all.ndjson")
    other = f"{database}other"
    try:
        place = {"HABITAT_ARCHIVE_URI": first.name}
        assert run("export", "--suspicious", path, **place).returncode == 0
        place = {"HABITAT_ARCHIVE_URI": couch.uri(other)}
        for _ in range(2):  # a second time does no harm
            done = run("import", path, **place)
            assert (done.returncode, done.stderr) == (0, "")
        second = open_archive(ArchiveConfig(uri=couch.uri(other)))
        assert held(second) == held(first) == documents()
        revisions = [one["_rev"] for one in couch.all_docs(other)]
        assert all(revision.startswith("1-") for revision in revisions)
        second.close()
    finally:
        couch.delete(other)


def test_what_is_archived_already_stays_as_it_is(
    run: Run, embedded_archive: Archive, tmp_path: Path
) -> None:
    store(embedded_archive, [document(1), document(2)])
    changed = document(2, callsign="CHANGED")
    done = run("import", write(tmp_path / "x", [changed, document(3), document(3)]))
    assert (done.returncode, done.stdout) == (0, "3 documents read and archived\n")
    assert everything(embedded_archive) == [document(1), document(2), document(3)]


def test_revisions_of_another_database_are_left_out(
    run: Run, couch: CouchServer, database: str, tmp_path: Path
) -> None:
    """With them CouchDB would see conflicts, which count as archived already."""
    some = [{**document(1), "_rev": "3-abc"}, document(2)]
    place = {"HABITAT_ARCHIVE_URI": couch.uri(database)}
    assert run("import", write(tmp_path / "x", some), **place).returncode == 0
    assert [one["_id"] for one in couch.all_docs(database)] == [one["_id"] for one in some]


BAD = {
    "hello": "not JSON",
    "[]": "not an archived document",
    '{"_id": "x"}': "no time_created",
    '{"time_created": 5}': "no _id",
    '{"_id": 5, "time_created": 5}': "not an archived document",
    '{"_id": "x", "time_created": "5"}': "not an archived document",
    '{"_id": "", "time_created": 5}': "_id '' is empty",
    '{"_id": "_x", "time_created": 5}': "_id '_x' is empty, starts",
    '{"_id": "x", "time_created": 5, "_deleted": true}': "key '_deleted', which CouchDB",
    '{"_id": "x", "time_created": 5': "not JSON",
    '{"_id": "x", "time_created": 5} {}': "not JSON",
    '{"_id": "x", "time_created": 5, "a": ' + "[" * 5000 + "]" * 5000 + "}": "nested too deeply",
    '{"_id": "x", "time_created": 1e400}': "out of range",
    '{"_id": "x", "time_created": 5, "data": {"a": [-1e999]}}': "out of range",
    '{"_id": "x", "time_created": 5, "data": ' + "9" * 5000 + "}": "out of range",
}


@pytest.mark.parametrize("text", BAD)
def test_a_line_that_is_no_document_says_why(text: str) -> None:
    with pytest.raises(ValueError, match=BAD[text]) as caught:
        to_document(text.encode())
    assert "\n" not in str(caught.value)


def test_a_line_that_is_no_document_ends_it_unless_told_to_keep_going(
    run: Run, embedded_archive: Archive, tmp_path: Path
) -> None:
    good = [document(number) for number in range(6)]
    path = write(tmp_path / "x", [*good[:2], "", "oops\x1b", *good[2:4], "[]", *good[4:]])
    done = run("import", path)
    fails(done, 1, f"habitat: {path} line 4: not JSON: ")
    assert "; 2 documents read and archived" in done.stderr
    assert held(embedded_archive) == good[:2]
    done = run("import", "--keep-going", path)
    assert done.returncode == 1
    assert done.stdout == "6 documents read and archived, 2 lines skipped\n"
    assert [line.partition(": not")[0] for line in done.stderr.splitlines()] == [
        f"habitat import: {path} line 4",
        f"habitat import: {path} line 7",
    ]
    assert held(embedded_archive) == good


def test_what_the_archive_refuses_is_told_by_id_and_reason(
    run: Run, couch: CouchServer, database: str, tmp_path: Path
) -> None:
    couch.create(database)
    function = "function (doc) { if (doc.bad) { throw({forbidden: 'no bad ones'}); } }"
    guard = couch.request("PUT", f"/{database}/_design/guard", {"validate_doc_update": function})
    assert guard.status == 201
    path = write(tmp_path / "x", [document(1), document(2, bad=1), document(3)])
    done = run("import", path, HABITAT_ARCHIVE_URI=couch.uri(database))
    assert done.returncode == 1
    assert done.stdout == "2 documents read and archived, 1 refused\n"
    assert done.stderr.splitlines() == [
        f"habitat import: {path} line 2: refused: {document(2)['_id']}:"
        " CouchDB refused the document: forbidden: no bad ones"
    ]
    assert len(couch.all_docs(database)) == 2


def test_waits_for_an_archive_that_goes_away(
    proxy: Proxy, couch_opener: CouchOpener, tmp_path: Path, config_file: str
) -> None:
    archive = couch_opener()
    archive.prepare()
    away = threading.Event()
    seen = 0

    def rule(method: str, path: str, body: bytes) -> Action | None:
        nonlocal seen
        seen += "_bulk_docs" in path
        if seen == 2:
            away.set()
        return Answer(503) if 2 <= seen <= 4 else None

    proxy.rule = rule
    process = subprocess.Popen(
        [sys.executable, "-m", "habitat_like.cli", "import", write(tmp_path / "x", documents())],
        env=environment(
            HABITAT_CONFIG=config_file,
            HABITAT_ARCHIVE_URI=archive.name,
            HABITAT_ARCHIVE_RETRY_MIN="0.01",
            HABITAT_ARCHIVE_RETRY_MAX="0.02",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=PATIENCE)
    assert away.is_set()
    assert (process.returncode, out) == (0, f"{NUMBER} documents read and archived\n")
    first, last = err.splitlines()
    assert "can't serve now" in first
    assert first.endswith("; still trying")
    assert last == f"habitat import: {archive.name} is back"
    assert held(archive) == documents()


def test_an_archive_that_cannot_be_used_at_the_start(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "x", [document(1)])
    gone = run("import", path, HABITAT_ARCHIVE_URI="couchdb://127.0.0.1:1/a")
    fails(gone, 1, "check that it runs")


def test_files_that_are_none(run: Run, embedded_archive: Archive, tmp_path: Path) -> None:
    fails(run("import"), 2, "Missing argument")
    fails(run("import", str(tmp_path / "none")), 2, "does not exist")
    fails(run("import", str(tmp_path)), 2, "is a directory")
    packed = gzip.compress((json.dumps(document(1)) + "\n").encode() * 1000)
    (tmp_path / "cut.gz").write_bytes(packed[:-20])
    fails(run("import", str(tmp_path / "cut.gz")), 1, "is damaged after line")
    (tmp_path / "noise").write_bytes(b"\x1f\x8bnothing")
    fails(run("import", str(tmp_path / "noise")), 1, "noise: the compressed file is damaged")
    assert run("import", write(tmp_path / "empty", [])).stdout.startswith("0 documents")
    assert run("import", "-").stdout.startswith("0 documents")
    closed = f"{sys.executable} -m habitat_like.cli import - <&-"
    assert "standard input is closed" in subprocess.getoutput(closed)


def test_a_bar_on_a_terminal(embedded_archive: Archive, config_file: str, tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(one) + "\n" for one in documents()).encode()))
    code, shown = on_terminal("import", "--config", config_file, str(path), str(path))
    assert code == 0
    assert "importing" in shown
    assert f"{2 * NUMBER} documents read and archived" in shown
    assert held(embedded_archive) == documents()


@pytest.mark.parametrize("end", [b"", bytes(1000)])
def test_a_byte_order_mark_and_zeros_behind_compressed_data_are_passed_over(
    run: Run, embedded_archive: Archive, tmp_path: Path, end: bytes
) -> None:
    lines = [b"\xef\xbb\xbf" + json.dumps(document(at)).encode() + b"\n" for at in range(3)]
    path = tmp_path / "backup.ndjson.gz"
    path.write_bytes(gzip.compress(lines[0] + lines[1]) + end + gzip.compress(lines[2]) + end)
    assert run("import", str(path)).returncode == 0
    assert len(list(embedded_archive.query(ALL))) == 3
    path.write_bytes(gzip.compress(lines[0]) + b"garbage")
    assert "damaged" in run("import", str(path)).stderr
