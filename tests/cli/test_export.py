"""``habitat export`` in real processes, on real archives."""

from __future__ import annotations

import csv
import fcntl
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive.base import Archive
from habitat_like.cli import main
from tests.conftest import CouchOpener
from tests.support.cli import (
    START,
    Run,
    document,
    environment,
    fails,
    on_terminal,
    store,
)
from tests.support.proxy import Action, Hang, Proxy
from tests.support.wait import PATIENCE

NUMBER = 1200


def documents() -> list[dict[str, Any]]:
    """Enough for several pages, some with what upsets CSV and lines."""
    made = [document(number) for number in range(NUMBER)]
    made[7] = document(7, callsign='a,"b"\r\nc', data={"name": "é\u2028\n", "n": 1e300}, more=[1])
    made[8] = document(8, suspicious="dated 1980")
    return made


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return documents()


@pytest.fixture
def archive(embedded_archive: Archive, everything: list[dict[str, Any]]) -> Archive:
    store(embedded_archive, everything)
    return embedded_archive


@pytest.fixture
def refused(
    config_file: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """Runs ``habitat export`` in this process: ``refused(code, said, *words)``."""
    monkeypatch.setenv("HABITAT_CONFIG", config_file)

    def refused(code: int, said: str, *words: str) -> None:
        capfd.readouterr()
        assert main(["export", *words]) == code
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert said in err

    return refused


def done(finished: subprocess.CompletedProcess[str], said: str) -> None:
    assert (finished.returncode, finished.stdout) == (0, ""), finished.stderr
    assert finished.stderr == said + "\n"


def lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in data.splitlines()]


def test_all_documents_whole_and_the_oldest_first(
    run: Run, archive: Archive, everything: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "out.ndjson"
    done(run("export", "--suspicious", str(path)), f"wrote {NUMBER} messages to {path}")
    assert lines(path) == everything
    assert not list(tmp_path.glob("*.part*"))
    packed = tmp_path / "out.ndjson.gz"
    done(run("export", "--suspicious", str(packed)), f"wrote {NUMBER} messages to {packed}")
    assert gzip.decompress(packed.read_bytes()) == path.read_bytes()
    printed = run("export", "--suspicious")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout.encode() == path.read_bytes()


def test_csv_by_the_name_or_the_format_as_query_has_it(
    run: Run, archive: Archive, everything: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    done(run("export", str(path)), f"wrote {NUMBER - 1} messages to {path}")
    assert path.read_text() == run("query", "--order", "asc", "--format", "csv").stdout
    with path.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == NUMBER - 1
    assert rows[7]["callsign"] == 'a,"b"\r\nc'
    packed = tmp_path / "out.csv.gz"
    done(run("export", str(packed)), f"wrote {NUMBER - 1} messages to {packed}")
    assert gzip.decompress(packed.read_bytes()) == path.read_bytes()
    assert run("export", "--format", "csv", "-").stdout == path.read_text()


def test_a_part_of_the_archive(run: Run, archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "part.ndjson"
    words: tuple[str, ...] = ("--callsign", "m0zdr", "--type", "received_telem")
    words += ("--since", str(START + 6))
    done(
        run("export", *words, "--until", str(START + 25), str(path)), f"wrote 4 messages to {path}"
    )
    assert [one["data"]["number"] for one in lines(path)] == [6, 12, 18, 24]


@pytest.mark.parametrize("name", ["none.ndjson.gz", "none.csv.gz", "none.ndjson"])
def test_an_export_of_nothing_is_a_whole_file(
    run: Run, embedded_archive: Archive, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    done(run("export", str(path)), f"wrote 0 messages to {path}")
    content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    assert path.read_bytes() if name.endswith(".gz") else not content
    assert content.count(b"\n") == (1 if ".csv" in name else 0)  # the header
    if ".csv" not in name:
        back = run("import", str(path))
        assert (back.returncode, back.stdout) == (0, "0 documents read and archived\n")
    # What a power cut left behind the end of the work, and before the file had its name.
    path.rename(path.with_name(f"{name}.part"))
    notes = b'{"archive":"%s","form":"%s","callsign":null,"type":null,"suspicious":false,' % (
        embedded_archive.name.encode(),
        b"csv" if ".csv" in name else b"ndjson",
    )
    notes += b'"since":0,"until":10000000000,"begun":0}'
    path.with_name(f"{name}.part.json").write_bytes(notes)
    store(embedded_archive, [document(1)])
    said = run("export", "--resume", str(path))
    assert said.returncode == 0, said.stderr
    content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    assert content.count(b"\n") == (2 if ".csv" in name else 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_exports_can_be_read_by_the_gateways_group(
    run: Run, archive: Archive, tmp_path: Path
) -> None:
    os.chown(tmp_path / "var", 12345, 12346)
    for name in ("out.ndjson", "out.csv.gz"):
        path = tmp_path / name
        assert run("export", str(path)).returncode == 0
        state = path.stat()
        assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (0, 12346, 0o640)


def test_a_file_that_is_there_is_replaced_when_the_new_one_is_whole(
    run: Run, archive: Archive, tmp_path: Path
) -> None:
    path = tmp_path / "out.ndjson"
    path.write_text("precious")
    failed = run("export", str(path), HABITAT_ARCHIVE_URI="couchdb://127.0.0.1:1/a")
    fails(failed, 1, "can't be reached")
    assert "0 messages are in" in failed.stderr
    assert path.read_text() == "precious"
    done(run("export", str(path)), f"wrote {NUMBER - 1} messages to {path}")


@pytest.mark.parametrize("name", ["out.ndjson", "out.csv", "out.ndjson.gz"])
def test_goes_on_after_a_disk_that_was_full(
    archive: Archive, config_file: str, run: Run, tmp_path: Path, name: str
) -> None:
    """A limit on the size of files stands for the disk: writing stops in the middle of a row."""
    path = tmp_path / name
    command = 'ulimit -f "$0"; exec "$@"'
    words = [sys.executable, "-m", "habitat_like.cli", "export", "--suspicious", str(path)]
    failed = subprocess.run(
        ["sh", "-c", command, "20" if path.suffix == ".gz" else "150", *words],
        env=environment(HABITAT_CONFIG=config_file),
        capture_output=True,
        text=True,
        check=False,
    )
    fails(failed, 1, f"{path}.part: File too large; about {NUMBER} messages are in")
    assert not path.exists()
    again = run("export", "--resume", str(path))
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith(f"wrote {NUMBER} messages to {path}")
    whole = tmp_path / f"other.{name}"
    run("export", "--suspicious", str(whole))
    if path.suffix == ".gz":
        assert lines(path) == lines(whole)
    else:
        assert ", " in again.stderr
        assert path.read_bytes() == whole.read_bytes()
    done(
        run("export", "--resume", str(path)),
        f"{path} is already complete; leave out --resume to write it again",
    )
    assert not list(tmp_path.glob("*.part*"))


def test_goes_on_after_kill_9_and_an_archive_that_went(
    proxy: Proxy, couch_opener: CouchOpener, run: Run, tmp_path: Path
) -> None:
    archive = couch_opener()
    archive.prepare()
    large = [document(number, data={"string": "x" * 3000}) for number in range(600)]
    store(archive, large)
    path = tmp_path / "out.ndjson"
    second = threading.Event()
    seen = 0

    def rule(method: str, request: str, body: bytes) -> Action | None:
        nonlocal seen
        seen += "_find" in request
        if seen < 2:
            return None
        second.set()
        return Hang()

    proxy.rule = rule
    place = {"HABITAT_ARCHIVE_URI": archive.name}
    process = subprocess.Popen(
        [sys.executable, "-m", "habitat_like.cli", "export", str(path)], env=environment(**place)
    )
    assert second.wait(PATIENCE)
    process.kill()
    process.wait(PATIENCE)
    part = Path(f"{path}.part")
    kept = len(lines(part))
    assert (
        0 < kept < 1000
    )  # two pages were read, and what was collected since the last write is lost
    os.truncate(part, part.stat().st_size - 10)
    proxy.rule = None
    proxy.refuse()
    gone = run("export", "--resume", str(path), **place)
    fails(gone, 1, f"check that it runs; about {kept - 1} messages are in")
    proxy.start()
    done(
        run("export", "--resume", str(path), **place),
        f"wrote 600 messages to {path}, {600 - kept + 1} of them now",
    )
    assert lines(path) == large


def test_goes_on_after_ctrl_c(proxy: Proxy, couch_opener: CouchOpener, tmp_path: Path) -> None:
    """What was read is kept to the last message."""
    archive = couch_opener()
    archive.prepare()
    store(archive, [document(number) for number in range(600)])
    second = threading.Event()
    seen = 0

    def rule(method: str, request: str, body: bytes) -> Action | None:
        nonlocal seen
        seen += "_find" in request
        if seen < 2:
            return None
        second.set()
        return Hang()

    proxy.rule = rule
    path = tmp_path / "out.ndjson.gz"
    process = subprocess.Popen(
        [sys.executable, "-m", "habitat_like.cli", "export", str(path)],
        env=environment(HABITAT_ARCHIVE_URI=archive.name),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.wait(PATIENCE)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said == (
        f"habitat export: interrupted; about 500 messages are in {path}.part: continue with "
        "--resume\n"
    )
    with gzip.open(f"{path}.part", "rt") as part:
        assert len(list(part)) == 500


def test_goes_on_with_the_same_part_of_the_archive_alone(
    run: Run, archive: Archive, refused: Callable[..., None], tmp_path: Path
) -> None:
    path = tmp_path / "out.ndjson"
    part, notes = Path(f"{path}.part"), Path(f"{path}.part.json")
    filters = ("--callsign", "M0ZDR", "--since", str(START + 9))
    run("export", *filters, str(path))
    whole = path.read_bytes()
    # Cut by hand as a crash would do it.
    plan = {
        "archive": archive.name,
        "form": "ndjson",
        "callsign": "M0ZDR",
        "type": None,
        "suspicious": False,
        "since": START + 9,
        "until": 9999999999,
        "begun": START + 5009.0,
    }

    def cut(size: int) -> None:
        path.unlink(missing_ok=True)
        part.write_bytes(whole[:size])
        notes.write_text(json.dumps(plan))

    wrong: list[tuple[tuple[str, ...], str]] = [
        (("--callsign", "2E0UPU"), "another --callsign (M0ZDR, not 2E0UPU)"),
        (("--type", "TELEM"), "another --type (None, not TELEM)"),
        (("--since", str(START)), "another --since"),
        (("--since", "5001s ago"), "another --since"),
        (("--until", str(START + 99)), "another --until"),
        (("--suspicious",), "another --suspicious"),
        (("--format", "csv"), "another --format (ndjson, not csv)"),
    ]
    for words, said in wrong:
        cut(1000)
        refused(1, said, "--resume", *words, str(path))
        assert part.read_bytes() == whole[:1000]
    other = {"HABITAT_ARCHIVE_URI": f"sqlite:{tmp_path}/other.sqlite"}
    fails(run("export", "--resume", str(path), **other), 1, "another archive.uri")
    # The words of the first time, relative times too, or none of them.
    right: list[tuple[str, ...]] = [filters, ("--since", "5000s ago", "--format", "ndjson"), ()]
    for words in right:
        cut(1000)
        assert run("export", "--resume", *words, str(path)).returncode == 0
        assert path.read_bytes() == whole
    cut(1000)
    notes.unlink()
    refused(1, "can't be read: leave out --resume", "--resume", str(path))
    # Begun anew, and with --resume where there is nothing to go on with.
    for words in [filters, ("--resume", *filters)]:
        assert run("export", *words, str(path)).returncode == 0
        assert path.read_bytes() == whole
        path.unlink()


def test_two_exports_to_one_file(run: Run, archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    with Path(f"{path}.part").open("wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        fails(run("export", str(path)), 1, "another export is writing it")
    assert run("export", str(path)).returncode == 0


def test_wrong_usage(
    run: Run, archive: Archive, refused: Callable[..., None], tmp_path: Path
) -> None:
    refused(2, "--resume needs the FILE", "--resume")
    refused(2, "--resume needs the FILE", "--resume", "/dev/null")
    refused(2, "is a directory", str(tmp_path))
    refused(2, "'soon' is not a time", "--since", "soon", "x")
    refused(2, "--since is later", "--since", "now", "--until", "yesterday")
    refused(1, "No such file or directory", str(tmp_path / "no" / "x.csv"))
    assert run("export", "/dev/null").returncode == 0


def test_a_bar_on_a_terminal_and_nothing_elsewhere(
    archive: Archive, config_file: str, tmp_path: Path
) -> None:
    words = ("export", "--config", config_file)
    code, shown = on_terminal(*words, str(tmp_path / "out.csv"))
    assert code == 0
    assert "exporting" in shown
    assert "%" in shown
    assert f"wrote {NUMBER - 1} messages" in shown.replace("\n", "")
    code, shown = on_terminal(*words, "--since", str(START + 5), "--until", str(START + 8))
    assert code == 0
    assert "exporting" not in shown
    assert "\u2028" not in shown
