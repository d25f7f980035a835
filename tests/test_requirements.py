"""requirements.txt pins what pyproject.toml asks for; its audit tells a hole from no answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.net import ROOT, free_port
from tools import audit

PINNED = audit.pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
VERSIONS = {
    canonicalize_name(name): version
    for name, version in (line.split()[0].split("==") for line in PINNED)
}


def asked() -> list[Requirement]:
    """What pyproject.toml depends on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


@pytest.mark.parametrize("wanted", asked(), ids=lambda wanted: wanted.name)
def test_every_dependency_is_pinned_in_its_range(wanted: Requirement) -> None:
    version = VERSIONS.get(canonicalize_name(wanted.name))
    assert version, f"{wanted.name} is not in requirements.txt; run make requirements"
    assert version in wanted.specifier, f"{wanted.name} {version}; run make requirements"


def test_what_they_depend_on_is_pinned_too() -> None:
    needed = {canonicalize_name(one.name) for one in asked()}
    todo = list(needed)
    while todo:
        for line in requires(todo.pop()) or []:
            one = Requirement(line)
            name = canonicalize_name(one.name)
            if (one.marker is None or one.marker.evaluate({"extra": ""})) and name not in needed:
                needed.add(name)
                todo.append(name)
    assert needed <= VERSIONS.keys(), "run make requirements"


def test_every_pin_has_hashes_and_no_address() -> None:
    for line in PINNED:
        assert re.fullmatch(r"[\w.-]+==[\w.!+]+( +;[^\\]+)?( +--hash=sha256:[0-9a-f]{64})+ *", line)
    assert "://" not in (ROOT / "requirements.txt").read_text(encoding="utf-8")


# tools/audit.py, with advisory databases of our own


class Database(ThreadingHTTPServer):
    """Answers with ``status`` and ``answer``, or what ``holes`` has for the package.

    Where ``answer`` is None it never answers.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.answer: bytes | None = b"{}"
        self.holes: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/query"


class _Handler(BaseHTTPRequestHandler):
    server: Database

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(query["package"]["name"])
        if self.server.answer is None:
            self.server.released.wait()
            return
        answer = self.server.holes.get(self.server.asked[-1], self.server.answer)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def database() -> Iterator[Database]:
    server = Database()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def two_pins(tmp_path: Path) -> str:
    path = tmp_path / "requirements.txt"
    lines = [f"{name}==1.0 \\\n    --hash=sha256:{64 * '0'}\n" for name in ("click", "rich")]
    path.write_text("".join(lines))
    return str(path)


def run(requirements: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "tools/audit.py", requirements, "--osv-url", url, "--patience=60"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def hole(package: str) -> bytes:
    """A database's answer: a hole of all versions of ``package`` below 2."""
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}]
    affected = {"package": {"name": package, "ecosystem": "PyPI"}, "ranges": ranges}
    return json.dumps({"vulns": [{"id": "PYSEC-2026-1", "affected": [affected]}]}).encode()


def test_an_audit_that_finds_nothing_passes(database: Database, two_pins: str) -> None:
    done = run(two_pins, database.url)
    assert (done.returncode, done.stdout) == (0, "audit: no known holes in 2 packages\n")
    assert {"click", "rich"} <= set(database.asked)


def test_a_known_hole_fails_and_says_what_mends_it(database: Database, two_pins: str) -> None:
    database.holes["rich"] = hole("rich")
    done = run(two_pins, database.url)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "rich 1.0 has the known hole PYSEC-2026-1; mended in: 2.0" in line
    assert "make requirements" in line


@pytest.mark.parametrize("case", ["nobody", "500", "no JSON"])
def test_a_database_that_can_not_be_reached_is_one_line_and_no_failure(
    database: Database, two_pins: str, case: str
) -> None:
    url = database.url
    if case == "nobody":
        url = f"http://127.0.0.1:{free_port()}/"
    elif case == "500":
        database.status = 500
    else:
        database.answer = b"<html>sign in to this network first</html>"
    done = run(two_pins, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("audit: left out, the advisory database can't be reached (")


def test_a_database_that_never_answers_is_given_up(database: Database) -> None:
    database.answer = None
    with pytest.raises(audit.Unreachable):
        audit.audit(PINNED[:1], database.url, 2)


@pytest.mark.parametrize("text", ["", "click==1.0\n", "click>=1.0 --hash=sha256:0\n"])
def test_an_audit_that_does_not_work_is_no_silence(
    database: Database, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    done = run(str(path), database.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("audit: ")
