"""Where a run keeps things: data on the checkout's disk, sockets under a short path, programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
#: On the checkout's own disk, so that durable means durable: /tmp may be memory.
DATA = ROOT / "var" / "bench"
RESULTS = DATA / "results"
LOGS = DATA / "logs"
_RUN = DATA / "run" / str(os.getpid())


class BenchError(Exception):
    """The run can't go on; the text is the one line that says why and what to do."""


@contextlib.contextmanager
def sockets() -> Iterator[Path]:
    """A directory with a short path: a UNIX socket's path has at most 107 bytes (unix(7))."""
    base = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=base if len(base) < 60 else "/tmp") as at:
        yield Path(at)


@contextlib.contextmanager
def data(name: str) -> Iterator[Path]:
    """An empty directory on the disk, gone afterwards."""
    path = _RUN / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def clean() -> None:
    """Remove what this run left, and what runs left that were killed."""
    for path in (DATA / "run").glob("*"):
        if path == _RUN or not Path(f"/proc/{path.name}").exists():
            shutil.rmtree(path, ignore_errors=True)


def program(name: str) -> str:
    """The path of a program. Raises BenchError where it is missing."""
    path = find(name)
    if path is None:
        raise BenchError(f"missing: {name}; `make bench` installs it")
    return path


def find(name: str) -> str | None:
    """The path of a program, None where it is missing."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def compiled(source: Path) -> Path:
    """The program made from a C source, compiled when that is newer. Raises BenchError."""
    target = DATA / "bin" / source.stem
    if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")  # another run may use what is there
    done = subprocess.run(
        [program("gcc"), "-O2", "-Wall", "-Wextra", "-o", unfinished, source],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"gcc could not compile {source}: {done.stderr.strip()}")
    unfinished.replace(target)
    return target
