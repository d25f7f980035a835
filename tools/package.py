"""Build the Debian package: `python -m tools.package`, which is `make deb` once that is prepared.

The libraries come from the package index as wheels of the pinned versions, for every Python of
``PYTHONS``. They fit into one tree: the name of a compiled module has its Python's in it, and all
else is the same in each. dpkg-buildpackage does the rest (debian/), without a network.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import child
from tools.child import ROOT
from tools.setup import Problem, say

#: Those of Debian 12, Ubuntu 24.04 and Debian 13. debian/control has the same range.
PYTHONS = ("3.11", "3.12", "3.13")
#: Debian's name of a machine, and that of wheels.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
#: The C libraries that a wheel may ask for: all of those releases have at least glibc 2.36.
GLIBC = range(17, 37)
#: Libraries that the index has as source alone. Of theirs, what is compiled is left out.
SOURCES = {"scgi"}
#: What the package is made of, beside the libraries.
TREE = ("bin", "debian", "docs", "etc", "habitat_like", "tools")
FILES = ("CHANGES.md", "LICENSE", "README.md", "SECURITY.md")
DIST = ROOT / "dist"
LOG = ROOT / "var" / "package.log"


def build() -> Path:
    """Make the package; its path, below dist/. Raises Problem."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.unlink(missing_ok=True)
    machine = _say_of("dpkg", "--print-architecture")
    if machine not in MACHINES:
        raise Problem(f"the libraries have no wheels for {machine}, only for {', '.join(MACHINES)}")
    with tempfile.TemporaryDirectory(prefix="habitat-deb-") as made:
        source = Path(made) / "habitat-like"
        copy_tree(source)
        say("getting the libraries from the package index")
        get_libraries(source / "libraries", MACHINES[machine])
        say("building the package")
        package = pack(source, LOG)
        DIST.mkdir(exist_ok=True)
        return Path(shutil.copy(package, DIST))


def copy_tree(into: Path) -> None:
    """Copy what the package is made of, but for the libraries, into a new directory."""
    for name in TREE:
        shutil.copytree(ROOT / name, into / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy2(ROOT / name, into / name)


def pack(source: Path, log: Path) -> Path:
    """Make the package of a tree with its ``libraries``; its path, beside it. Raises Problem."""
    _run("dpkg-buildpackage", "--build=binary", "--no-sign", cwd=source, log=log)
    (package,) = source.parent.glob("*.deb")
    return package


def get_libraries(into: Path, machine: str) -> None:
    """Put the pinned libraries into a new directory. Raises Problem."""
    pinned = re.split(r"\n(?=[a-z])", (ROOT / "requirements.txt").read_text(encoding="utf-8"))
    sources = [one for one in pinned if one.partition("==")[0] in SOURCES]
    with tempfile.TemporaryDirectory(prefix="habitat-lib-") as made:
        place = Path(made)
        (place / "sources.txt").write_text("\n".join(sources), encoding="utf-8")
        (place / "wheels.txt").write_text(
            "\n".join(one for one in pinned if one not in sources), encoding="utf-8"
        )
        for python in PYTHONS:
            platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in GLIBC]
            platforms += [f"--platform=manylinux2014_{machine}"]
            abi = "cp" + python.replace(".", "")
            kind = ["--only-binary=:all:", f"--python-version={python}", f"--abi={abi}", *platforms]
            _pip(place / "wheels.txt", place / python, *kind)
            merge(place / python, into)
        _pip(place / "sources.txt", place / "sources")
        for compiled in (place / "sources").rglob("*.so"):
            compiled.unlink()
        merge(place / "sources", into)
    # Programs and tests of the libraries' own.
    for name in ("bin", "couchdb/tests", "scgi/test_passfd.py"):
        path = into / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def merge(one: Path, into: Path) -> None:
    """Add the files of ``one`` to ``into``. Raises Problem where the two differ in a file."""
    for path in sorted(one.rglob("*")):
        to = into / path.relative_to(one)
        if path.is_dir():
            to.mkdir(parents=True, exist_ok=True)
        elif not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to)
        elif not (path.parent.name.endswith(".dist-info") or filecmp.cmp(path, to, shallow=False)):
            raise Problem(f"{path.relative_to(one)} is not the same for {' and '.join(PYTHONS)}")


def _pip(requirements: Path, target: Path, *options: str) -> None:
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"),
        *("--require-hashes", f"--target={target}", *options, f"--requirement={requirements}"),
    )


def lint(package: Path) -> None:
    """Say what lintian has to say. Raises Problem if that is not nothing."""
    if not shutil.which("lintian"):
        say("without lintian: the package is not checked")
        return
    command = ["lintian", "--fail-on=error,warning", "--tag-display-limit=0", str(package)]
    # It refuses to be run by root where it can't give up root's rights.
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode:
        raise Problem("lintian does not like the package")


def _run(*command: str, cwd: Path = ROOT, log: Path = LOG) -> None:
    if child.run(list(command), log, cwd=cwd):
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        raise Problem("\n".join([f"{Path(command[0]).name} failed; see {log}:", *said]))


def _say_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Build the package and check it; its path is the last line. Raises SystemExit."""
    parser = argparse.ArgumentParser(prog="make deb", description=__doc__)
    parser.parse_args()
    child.block()
    try:
        package = build()
        lint(package)
    except child.Stopped as stopped:
        child.die(stopped.signal)
    except Problem as error:
        raise SystemExit(f"make deb: {error}") from None
    say(f"{package.relative_to(ROOT)} ({package.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
