"""What docs/analysis.md and docs/sql.md show is what comes out, in an environment as it says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from habitat_like.archive import open_archive
from habitat_like.archive.sqlite import SqliteArchive
from habitat_like.config.keys import ArchiveConfig
from tests.clients.environments import ANALYST, DATASETTE, Client
from tests.support.archive import encode
from tests.support.cli import environment
from tests.support.couch import CouchServer
from tests.support.docs import text
from tests.support.hab_flight import documents
from tests.support.observations import flight
from tests.support.wait import PATIENCE

#: Where the pages have the archive.
ARCHIVE = "/var/lib/habitat/archive.sqlite"
COUCH = "http://reader:secret@couch.example:5984/habitat"
#: Between what two blocks print.
MARK = "---- the next block"


def blocks_of(name: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page, in order: language and content."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text(name), re.M | re.S)


def python_blocks() -> tuple[list[str], list[str]]:
    """The Python of the page, and the text under each block, "" where there is none."""
    found = blocks_of("docs/analysis.md")
    code, output = [], []
    for (language, content), (after, shown) in zip(found, [*found[1:], ("", "")], strict=True):
        if language == "python":
            code.append(content)
            output.append(shown if after == "text" else "")
    return code, output


def commands(name: str) -> list[tuple[str, str]]:
    """The commands of a page's console blocks, and what each prints."""
    found = []
    for language, content in blocks_of(name):
        if language == "console":
            lines = re.split(r"^\$ ", content, flags=re.M)[1:]
            for part in lines:
                whole = re.match(r"(?:\\\n|[^\n']|'[^']*')*\n", part)
                assert whole, part
                found.append((whole[0], part[whole.end() :]))
    return found


def installed(client: Client) -> str:
    """The environment's directory of programs. Skips the test where there is none."""
    if client.problem is not None:
        pytest.skip(f"{client.name}: {client.problem}")
    return str(client.python.parent)


def clean(output: str) -> list[str]:
    """The lines without what an editor may take away."""
    return [line.rstrip() for line in output.rstrip().splitlines()]


def fill(path: Path, made: list[dict[str, object]]) -> None:
    with contextlib.closing(SqliteArchive(str(path))) as archive:
        archive.prepare()
        for at in range(0, len(made), 500):
            assert archive.store(encode(made[at : at + 500])) == []


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analyst's directory, with the archive."""
    made = tmp_path_factory.mktemp("desk")
    fill(made / "archive.sqlite", documents())
    return made


def ours(programs: str, desk: Path) -> dict[str, str]:
    """An environment in which the pages' commands are found."""
    return environment(
        PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
        HABITAT_ARCHIVE_URI=f"sqlite:{desk}/archive.sqlite",
        MPLBACKEND="Agg",
    )


def shell(command: str, desk: Path, programs: str) -> str:
    done = subprocess.run(
        ["sh", "-c", command.replace(ARCHIVE, f"{desk}/archive.sqlite")],
        cwd=desk,
        env=ours(programs, desk),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_hours_work_comes_out_as_it_is_told(desk: Path) -> None:
    programs = installed(ANALYST)
    for command, _ in commands("docs/analysis.md"):
        if command.startswith("habitat export"):
            assert shell(command, desk, programs) == ""
    assert (desk / "flight.kml").read_text().startswith("<?xml")
    code, wanted = python_blocks()
    script = f"\nprint({MARK!r})\n".join(code).replace(ARCHIVE, "archive.sqlite")
    done = subprocess.run(
        [f"{programs}/python", "-"],
        input=script,
        cwd=desk,
        env=ours(programs, desk),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(f"{MARK}\n")
    assert [clean(one) for one in printed] == [clean(one) for one in wanted]
    picture = (desk / "ascent.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert 10_000 < len(picture) < 60_000


def test_the_same_lines_work_in_a_notebook(desk: Path) -> None:
    programs = installed(ANALYST)
    code, _ = python_blocks()
    cells = [one.replace(ARCHIVE, "archive.sqlite") for one in code[:2]]
    cells.append("flight.altitude.plot()")
    script = (
        "import json, nbclient, nbformat, sys\n"
        "cells = map(nbformat.v4.new_code_cell, json.load(sys.stdin))\n"
        "book = nbformat.v4.new_notebook(cells=list(cells))\n"
        f"waits = dict(timeout={PATIENCE:.0f}, startup_timeout={PATIENCE:.0f})\n"
        "nbclient.NotebookClient(book, kernel_name='python3', **waits).execute()\n"
        "print([one.get('data', {}).keys() for one in book.cells[-1].outputs])\n"
    )
    done = subprocess.run(
        [f"{programs}/python", "-c", script],
        input=json.dumps(cells),
        cwd=desk,
        env={name: one for name, one in ours(programs, desk).items() if name != "MPLBACKEND"},
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "image/png" in done.stdout


def test_couchdb_answers_its_own_queries(couch: CouchServer, database: str) -> None:
    address = couch.uri(database)
    with contextlib.closing(open_archive(ArchiveConfig(uri=address))) as archive:
        archive.prepare()
        made = encode(documents())
        for at in range(0, len(made), 500):
            assert archive.store(made[at : at + 500]) == []
    ((command, wanted),) = [one for one in commands("docs/analysis.md") if "curl" in one[0]]
    place = address.replace("couchdb://", "http://")
    command = command.replace(COUCH, place)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["docs"] == json.loads(wanted)["docs"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The archive that docs/sql.md shows."""
    fill(tmp_path / "archive.sqlite", flight())
    return tmp_path


def test_sql_in_the_shell(small: Path) -> None:
    program = shutil.which("sqlite3")
    if program is None:
        pytest.skip("there is no sqlite3 program")
    ((command, wanted),) = [one for one in commands("docs/sql.md") if "sqlite3" in one[0]]
    assert shell(command, small, str(Path(program).parent)) == wanted
    shell(f"sqlite3 'file:{ARCHIVE}?mode=ro' \"VACUUM INTO 'archive-copy.sqlite'\"", small, "/bin")
    assert (small / "archive-copy.sqlite").exists()


def test_datasette_shows_the_views(small: Path) -> None:
    programs = installed(DATASETTE)
    ((command, wanted),) = [one for one in commands("docs/sql.md") if "datasette" in one[0]]
    assert shell(command, small, programs).rstrip() == wanted.rstrip()
    page = shell("datasette archive.sqlite --get /archive/telemetry", small, programs)
    assert "HAB-1" in page


def test_the_sql_of_the_page_is_right(small: Path) -> None:
    for language, content in blocks_of("docs/sql.md"):
        if language == "sql":
            path = f"file:{small}/archive.sqlite?mode=ro"
            for statement in content.split(";\n"):
                command = ["sqlite3", path, statement]
                if shutil.which("sqlite3") and statement:
                    subprocess.run(command, check=True, capture_output=True)
