"""A checkout as somebody has it who tries `make run` or `make demo`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

from tests.support.net import ROOT
from tests.support.reply import http_request
from tests.support.wait import PATIENCE, eventually

_numbers = count(1)


def checkout(place: Path) -> Path:
    """A checkout without a .venv."""
    place.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, place)
    shutil.copytree(ROOT / "tools", place / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    return place


class Running:
    """A `make run`, or another such target, in a checkout, after the set-up."""

    def __init__(self, place: Path, target: str = "run") -> None:
        self.place = place
        self.target = target
        self.var = place / "var" if target == "run" else place / "var" / target
        self.output = place.parent / f"output {next(_numbers)}"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"tools.{target}"],
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def address(self) -> tuple[str, int]:
        """Where it serves, once it does."""
        eventually(lambda: "Ctrl-C stops" in self.said or self.process.poll() is not None)
        found = re.search(r"serves on http://(127\.0\.0\.1):(\d+)/", self.said)
        assert found, self.said
        return found[1], int(found[2])

    def upload(self, number: int) -> None:
        now = int(time.time())
        message = {
            "callsign": "M0ZDR",
            "type": "RECEIVED_TELEM",
            "time_created": now,
            "time_uploaded": now,
            "data": {"string": "JCQ=", "number": number},
        }
        reply = http_request(self.address(), "POST", "/message", json.dumps(message).encode())
        assert (reply.status, reply.body) == (200, b"OK"), reply

    def habitat(self, *words: str, given: str = "") -> str:
        """Run a command as somebody in another directory does; ``given`` is its input."""
        done = subprocess.run(
            [sys.executable, "-m", "habitat_like.cli", *words],
            cwd="/",
            env={**os.environ, "HABITAT_CONFIG": str(self.var / "config.yml")},
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def archived(self) -> list[int]:
        """The numbers of what is archived."""
        lines = self.habitat("query", "--format", "ndjson").splitlines()
        return sorted(json.loads(line)["data"]["number"] for line in lines)

    def stop(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE) == 0, self.said
        assert self.said.count("stopping\n") == 1
        assert "Traceback" not in self.said

    def fails(self) -> str:
        """The line that it ends with."""
        assert self.process.wait(PATIENCE) == 1, self.said
        start = f"make {self.target}: "
        (line,) = [line for line in self.said.splitlines() if line.startswith(start)]
        assert "Traceback" not in self.said
        assert "PosixPath" not in self.said
        return line.removeprefix(start)
