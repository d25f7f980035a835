"""Debian's packages: what is missing is installed, where that is possible."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools import child

#: Keeps services that come with packages (nginx on port 80) from starting.
POLICY = Path("/usr/sbin/policy-rc.d")
APT = [
    "apt-get",
    "--quiet",
    "--yes",
    "--option=Acquire::Retries=1",
    "--option=Acquire::http::Timeout=20",
    "--option=Acquire::https::Timeout=20",
    "--option=DPkg::Lock::Timeout=300",
    "--option=Dpkg::Use-Pty=0",
]
ENVIRON = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C"}
NO_NETWORK = re.compile(
    r"Temporary failure resolving|Could not resolve|Network is unreachable|Connection timed out"
    r"|Could not connect|Unable to connect|Connection refused"
)
LOCKED = re.compile(r"Could not get lock|Unable to lock")
#: Seconds that another apt-get has: a new machine updates itself first.
LOCK_PATIENCE = 300.0


class AptError(Exception):
    """apt-get failed; the text is the reason."""


def can_install() -> bool:
    """Whether packages can be installed by us."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def has(name: str) -> bool:
    """Whether there can be a package of this name: Ubuntu has Chromium as a snap only."""
    if name != "chromium":
        return True
    with contextlib.suppress(OSError):
        return "ID=ubuntu" not in Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return True


def advice(packages: Sequence[str]) -> str:
    """What to do about missing packages, for a person who reads it."""
    if shutil.which("apt-get") is None:
        return f"install them and try again (Debian: apt-get install {' '.join(packages)})"
    return f"as root: apt-get update && apt-get install {' '.join(packages)}"


def install(packages: Sequence[str], log: Path) -> None:
    """Install all of ``packages``, without starting their services. Raises AptError, Stopped."""
    command = ["install", "--no-install-recommends", *packages]
    with _no_services():
        if _apt(command, log):
            # Most likely the package lists are missing or old.
            update = _apt(["update"], log)
            failed = _apt(command, log)
            if failed:
                raise AptError(update or failed)


def program(name: str, packages: Sequence[str], into: Path, log: Path) -> None:
    """Take one program out of the first of ``packages`` that has it.

    For one whose package would start a service. Needs no rights but to write ``into``. Raises
    AptError, Stopped, OSError.
    """
    if shutil.which("apt-get") is None:
        raise AptError("there is no apt-get here")
    with tempfile.TemporaryDirectory(prefix="habitat-") as made:
        directory = Path(made)
        failed = _apt(["download", packages[-1]], log, cwd=directory)
        if failed and can_install():
            _apt(["update"], log)
        for package in packages:
            failed = _apt(["download", package], log, cwd=directory)
            for found in directory.glob(f"{package}_*.deb"):
                child.run(["dpkg-deb", "-x", found, directory / package], log)
                path = directory / package / "usr" / "bin" / name
                if path.exists():
                    shutil.copy2(path, into / f"{name}.part")
                    (into / f"{name}.part").rename(into / name)
                    return
        raise AptError(failed or f"none of {', '.join(packages)} has it")


def _apt(words: Sequence[str], log: Path, *, cwd: Path = child.ROOT) -> str | None:
    """Run apt-get; None, or why it failed."""
    deadline = time.monotonic() + LOCK_PATIENCE
    told = False
    while True:
        start = log.stat().st_size if log.exists() else 0
        code = child.run([*APT, *words], log, cwd=cwd, environ=ENVIRON, to_its_end="apt-get")
        said = log.read_bytes()[start:].decode(errors="replace")
        if LOCKED.search(said) and code and time.monotonic() < deadline:
            if not told:
                print("another apt-get is at work here; waiting for it", flush=True)
                told = True
            time.sleep(2)
            continue
        # An update that reached nothing is a success to apt-get.
        unreached = words == ["update"] and NO_NETWORK.search(said) is not None
        return _reason(log, start) if code or unreached else None


def _reason(log: Path, start: int = 0) -> str:
    said = log.read_bytes()[start:].decode(errors="replace")
    if NO_NETWORK.search(said):
        return "its servers can't be reached; is there a network?"
    errors = [line[3:] for line in said.splitlines() if line.startswith("E: ")]
    return errors[0].rstrip(".") if errors else "it says nothing"


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if made:
            POLICY.unlink(missing_ok=True)
