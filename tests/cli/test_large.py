"""Large messages in the commands: none keeps more than a few of them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from habitat_like.archive import open_archive
from habitat_like.config.keys import ArchiveConfig
from habitat_like.journal.journal import Journal
from tests.support.archive import encode
from tests.support.cli import environment, fails, most_memory
from tests.support.large import MB, fill, row
from tests.support.observations import START as FIRST
from tests.support.observations import fix

COUNT = 150
#: Small messages, of 50 payloads.
MANY = 60_000


def memory(*words: str, archive: Path, journal: Path) -> int:
    """The most bytes that ``habitat`` has with these arguments."""
    return most_memory(
        *words,
        env=environment(HABITAT_ARCHIVE_URI=f"sqlite:{archive}", HABITAT_JOURNAL_PATH=str(journal)),
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "archive.sqlite"
    with contextlib.closing(open_archive(ArchiveConfig(uri=f"sqlite:{path}"))) as archive:
        archive.prepare()
        for number in range(COUNT):
            assert archive.store([row(number)[1]]) == []
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("query", "--format", "ndjson"),
        ("query", "--format", "json"),
        ("query", "--format", "csv"),
        ("query", "--format", "table"),
        ("export", "{}/all.ndjson"),
        ("export", "{}/all.ndjson.gz"),
        ("export", "{}/all.csv"),
        ("export", "--flat", "{}/flat.csv"),
        ("export", "{}/all.geojson"),
        ("export", "{}/all.kml"),
        ("tail", "-n", str(COUNT)),
        ("tail", "-n", str(COUNT), "--format", "ndjson"),
    ],
    ids=" ".join,
)
def test_reading_the_archive(archive: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    written = [word.format(tmp_path) for word in words]
    assert memory(*written, archive=archive, journal=tmp_path / "none") < 110 * MB


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flights") / "archive.sqlite"
    with contextlib.closing(open_archive(ArchiveConfig(uri=f"sqlite:{path}"))) as archive:
        archive.prepare()
        for first in range(0, MANY, 1000):
            some = [fix(first + at, f"HAB-{at % 50}") for at in range(1000)]
            assert archive.store(encode(some)) == []
    return path


@pytest.mark.parametrize("name", ["ndjson", "csv", "flat.csv", "geojson", "kml", "gpx", "parquet"])
def test_ten_times_as_many_rows_need_no_more_memory(
    flights: Path, tmp_path: Path, name: str
) -> None:
    words = ["export", *(["--flat"] if "flat" in name else []), str(tmp_path / f"all.{name}")]
    none = tmp_path / "none"
    few = memory(*words, "--until", str(FIRST + MANY // 10), archive=flights, journal=none)
    many = memory(*words, archive=flights, journal=none)
    assert many < few + 24 * MB, f"{few / MB:.0f} MB, {many / MB:.0f} MB"


def test_a_full_disk_for_temporary_files_is_told_in_a_line(flights: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    path = tmp_path / "all.kml"
    words = [sys.executable, "-m", "habitat_like.cli", "export", str(path)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh", *words],
        env=environment(HABITAT_ARCHIVE_URI=f"sqlite:{flights}"),
        capture_output=True,
        text=True,
        check=False,
    )
    fails(done, 1, "temporary files can't be written")
    assert "name another directory in SQLITE_TMPDIR" in done.stderr
    assert not path.exists()


def test_importing(tmp_path: Path) -> None:
    backup = tmp_path / "backup.ndjson"
    with backup.open("wb") as file:
        file.writelines(row(number)[1] + b"\n" for number in range(COUNT))
    new = tmp_path / "new.sqlite"
    assert memory("import", str(backup), archive=new, journal=tmp_path / "none") < 130 * MB


@pytest.mark.parametrize(
    "words", [("ls", "--limit", "1000"), ("show", "1"), ("export",), ("export", "--backlog")]
)
def test_looking_into_the_journal(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "journal.sqlite"
    fill(path, COUNT)
    journal = Journal(path)
    for number in range(COUNT):
        with journal.dead_letters() as letters:
            letters.add("some.Sink", [(number + 1, row(number)[1], "no")])
    journal.close()
    assert memory("journal", *words, archive=tmp_path / "none", journal=path) < 100 * MB
