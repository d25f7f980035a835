"""What the tests of the command line share: real processes, a configuration, documents."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from habitat_like.archive.base import Archive
from tests.support.wait import PATIENCE

START = 1795103598

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HABITAT_")}
    return {**kept, "TZ": "UTC", **more}


def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "habitat_like.cli", *words],
        capture_output=True,
        encoding="utf-8",
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )


def on_terminal(*words: str, columns: int = 80, out: int | None = None) -> tuple[int, str]:
    """Run on a pseudo-terminal; returns the exit code and what the terminal got.

    ``out`` is a file descriptor that takes standard output in its place.
    """
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "habitat_like.cli", *words],
        stdin=follower,
        stdout=follower if out is None else out,
        stderr=follower,
        env=environment(COLUMNS=str(columns), TERM="xterm"),
    )
    os.close(follower)
    got = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # EIO: the last one who had the terminal open is gone
            break
        got += piece
    os.close(leader)
    return process.wait(PATIENCE), got.decode("utf-8").replace("\r\n", "\n")


def document(number: int, **more: Any) -> dict[str, Any]:
    created = START + number
    return {
        "_id": f"{created:010d}-{number:024x}",
        "type": ("RECEIVED_TELEM", "LISTENER_INFO")[number % 2],
        "callsign": ("M0ZDR", "2E0UPU", "A/P-1")[number % 3],
        "ip": "203.0.113.7",
        "time_created": created,
        "time_uploaded": created + 5,
        "data": {"string": "JCQ=", "number": number},
        "gateway": "a1",
        **more,
    }


def store(archive: Archive, documents: list[dict[str, Any]]) -> None:
    for at in range(0, len(documents), 500):
        part = [json.dumps(one).encode() for one in documents[at : at + 500]]
        assert archive.store(part) == []


def write_config(directory: Path) -> str:
    """A configuration whose files are all under ``directory``."""
    path = directory / "config.yml"
    path.write_text(
        f"gateway: {{socket: {directory}/run/habitat.sock, machine_code: a1}}\n"
        f"journal: {{path: {directory}/var/journal.sqlite}}\n"
        f"archive: {{uri: 'sqlite:{directory}/var/archive.sqlite'}}\n"
    )
    return str(path)


def fails(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


#: Runs a command with what it prints thrown away; prints the most memory that it had, in kB. A
#: process of its own, as a new one begins with the memory of the one that starts it.
_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def most_memory(*words: str, env: dict[str, str]) -> int:
    """The most bytes that ``habitat`` has with these arguments, in this environment."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, sys.executable, "-m", "habitat_like.cli", *words],
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024
