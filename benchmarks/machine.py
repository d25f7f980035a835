"""What a run was made on and with."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks.place import DATA, ROOT, find

PACKAGES = ("msgspec", "CouchDB", "scgi", "aioscgi", "uvloop")


def describe() -> dict[str, str]:
    """The machine, the versions and the revision, as text for people."""
    found = {
        "processor": _first(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo")) or "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": _first(r'PRETTY_NAME="(.+)"', _read("/etc/os-release")) or "unknown",
        "kernel": platform.release(),
        "filesystem": _filesystem(DATA),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": f"{platform.python_version()} ({platform.python_compiler()})",
        "sqlite": sqlite3.sqlite_version,
        "nginx": _output("nginx", "-v"),
        "wrk": _first(r"^(wrk \S+)", _output("wrk", "-v")) or "missing",
        "uwsgi": _output("uwsgi", "--version"),
        "node": _output("node", "--version"),
        "gcc": _output("gcc", "--version").partition("\n")[0],
        "revision": _revision(),
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _filesystem(path: Path) -> str:
    """The type and device of the file system that holds ``path``."""
    best = ("", "unknown")
    for line in _read("/proc/self/mounts").splitlines():
        device, point, kind, *_ = line.split()
        if path.is_relative_to(point) and len(point) > len(best[0]):
            best = point, f"{kind} on {device}"
    return best[1]


def _revision() -> str:
    """The checkout's commit, marked where files differ from it."""
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    if not re.fullmatch(r"[0-9a-f]+", commit):
        return "unknown"
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain")
    return f"{commit} and changes" if changed else commit


def _output(name: str, *arguments: str) -> str:
    path = find(name)
    if path is None:
        return "missing"
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else None
