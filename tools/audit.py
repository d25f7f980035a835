"""Ask an advisory database whether a version in requirements.txt has a known hole.

What `make lint` runs: pip-audit, with the OSV database. Exit code 0: none has; also where the
database can't be reached, which is told in one line. 1: one has, or the audit doesn't work.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that the database has for the first package: whoever has no network waits no longer.
FIRST = 5.0
#: Seconds for all of them.
ALL = 120.0
#: What pip-audit ends with when the database gives no answer, or none that is one.
NO_ANSWER = re.compile(r"requests\.exceptions\.|ServiceError|ConnectionError|Tried to use the OSV")


class Unreachable(Exception):
    """The database gave no answer; one line that says why."""


class Hole(NamedTuple):
    """A known hole of a version."""

    package: str
    version: str
    name: str
    mended: str


def pins(requirements: str) -> list[str]:
    """The requirements in the text of a requirements.txt, each with its hashes."""
    joined = re.sub(r"\\\n", " ", requirements)
    return [line for line in joined.splitlines() if line.strip() and line.strip()[0] != "#"]


def audit(pinned: list[str], database: str | None, timeout: float) -> list[Hole]:
    """What ``database`` (the URL of an OSV one; None for pip-audit's own choice) knows of them.

    Raises Unreachable after ``timeout`` seconds without an answer, and RuntimeError for an audit
    that doesn't work.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pinned) + "\n")
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--format=json"]
        command += ["--vulnerability-service=osv", f"--timeout={timeout:.0f}"]
        command += [f"--osv-url={database}"] if database else []
        command += ["--disable-pip", "--require-hashes", "--requirement", file.name]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"no answer within {timeout:g} s") from None
    try:
        report = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        if NO_ANSWER.search(done.stderr):
            raise Unreachable(said[-1].partition(":")[0]) from None
        raise RuntimeError(f"pip-audit failed: {said[-1]}") from None
    return [
        Hole(one["name"], one["version"], hole["id"], ", ".join(hole["fix_versions"]) or "none")
        for one in report["dependencies"]
        for hole in one.get("vulns", [])
    ]


def main() -> int:
    """Audit, and say what was found; the exit code."""
    parser = argparse.ArgumentParser(description="Look for known holes in pinned versions.")
    parser.add_argument("requirements", nargs="?", default=str(ROOT / "requirements.txt"))
    parser.add_argument("--osv-url", help="another OSV database than the public one")
    parser.add_argument("--patience", type=float, default=FIRST, help="seconds for a first answer")
    arguments = parser.parse_args()
    try:
        pinned = pins(Path(arguments.requirements).read_text(encoding="utf-8"))
        if not pinned:
            raise RuntimeError(f"{arguments.requirements} names no package")
        audit(pinned[:1], arguments.osv_url, arguments.patience)
        holes = audit(pinned, arguments.osv_url, ALL)
    except Unreachable as error:
        print(f"audit: left out, the advisory database can't be reached ({error})")
        return 0
    except (OSError, RuntimeError) as error:
        print(f"audit: {error}", file=sys.stderr)
        return 1
    for hole in holes:
        print(
            f"audit: {hole.package} {hole.version} has the known hole {hole.name}; mended in:"
            f" {hole.mended}. Try: make requirements ARGS=--upgrade",
            file=sys.stderr,
        )
    if not holes:
        print(f"audit: no known holes in {len(pinned)} packages")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
