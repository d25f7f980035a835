"""What a target of the Makefile needs: packages, .venv, the tests' CouchDB-protocol server.

Makes what is missing or out of date, and says what takes long. As root on Debian it installs
packages; otherwise one line says all that is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tools import child, debian
from tools.child import ROOT

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = ROOT / "var" / "setup.log"
COUCHDB = ROOT / "tests" / "couchdb"


class Problem(Exception):
    """The target can't run; the text is the one line that says why, and what to do."""


class Target(NamedTuple):
    """What a target needs, and what it can do without."""

    #: The stamp in .venv, and the extras of the package that it stands for.
    stamp: str
    extras: str = ""
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    #: What happens where something wanted is missing.
    without: str = ""


#: The programs behind a name, and the Debian packages that they come with.
PROGRAMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nginx": (("nginx",), ("nginx",)),
    "node": (("node", "npm"), ("nodejs", "npm")),
    "gcc": (("gcc",), ("gcc", "libc6-dev")),
    "wrk": (("wrk",), ("wrk",)),
    "uwsgi": (("uwsgi",), ("uwsgi-core", "uwsgi-plugin-python3")),
    "chromium": (("chromium",), ("chromium",)),
    "openssl": (("openssl",), ("openssl",)),
    "sqlite3": (("sqlite3",), ("sqlite3",)),
    "strace": (("strace",), ("strace",)),
    "debhelper": (("dh", "dpkg-buildpackage"), ("debhelper", "dpkg-dev")),
    "lintian": (("lintian",), ("lintian",)),
    "man": (("man",), ("man-db",)),
    "qemu": (
        ("qemu-system-x86_64", "qemu-img", "mmdebstrap"),
        ("qemu-system-x86", "qemu-utils", "mmdebstrap"),
    ),
}
SKIPPED = "the tests that need it are skipped"
CAMPAIGN = Target(".dev", "[dev]", ("nginx", "node", "gcc", "couchdb"))
TARGETS = {
    "run": Target(".run", "", ("nginx",)),
    "demo": Target(".run", "", ("nginx",)),
    "venv": Target(".dev", "[dev]"),
    "clients": Target(".dev", "[dev]", ("nginx",)),
    "deb": Target(".run", "", ("debhelper",), ("lintian",), "the package is not checked"),
    "machine": Target(
        ".dev",
        "[dev]",
        ("qemu", "debhelper"),
        ("node", "couchdb"),
        "the step with CouchDB fails",
    ),
    "test": Target(
        ".dev",
        "[dev]",
        ("nginx",),
        (
            *("node", "gcc", "wrk", "chromium", "openssl", "sqlite3", "strace", "debhelper", "man"),
            *("couchdb", "promtool"),
        ),
        SKIPPED,
    ),
    "bench": Target(
        ".bench",
        "[dev,bench]",
        ("nginx", "gcc", "wrk"),
        ("uwsgi", "node", "couchdb"),
        "the others are measured",
    ),
    "faults": CAMPAIGN._replace(stamp=".fuzz", extras="[dev,fuzz]"),
    "mutants": CAMPAIGN,
    "soak": CAMPAIGN,
}
#: Targets that go on as a module, when all is set up.
MODULES = {"run": "tools.run", "demo": "tools.demo"}
#: Stamps of an installation that may fail, and what that means. What is needed has another.
OPTIONAL = {
    ".bench": "some peers can't be installed; the others are measured",
    ".fuzz": "without atheris: inputs are mutated without looking at coverage",
}


def set_up(name: str) -> None:
    """Make what the target ``name`` needs. Raises Problem, child.Stopped, OSError."""
    target = TARGETS[name]
    # Neither pip, nor venv, nor nginx can quote these.
    if not str(ROOT).isprintable() or (found := set(str(ROOT)) & set('"$`\\:')):
        what = f"a {min(found)}" if str(ROOT).isprintable() else "an unprintable character"
        raise Problem(f"the path {str(ROOT)!r} has {what}: move the checkout elsewhere")
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another make sets this checkout up; waiting for it")
        while not _locked(lock):
            child.look()
    LOG.parent.mkdir(exist_ok=True)
    LOG.unlink(missing_ok=True)
    remade = _why_make_venv()
    _packages(target, needs_python=remade is not None or not _stamped(target.stamp))
    if remade is not None:
        _make_venv(remade)
    _install(target)
    if "couchdb" in target.needs + target.wants and not couchdb_is_current():
        _couchdb(target)
    if "promtool" in target.wants and not _program("promtool"):
        _promtool(target)


def say(text: str) -> None:
    """Tell what goes on now."""
    print(text, flush=True)


def _locked(lock: int) -> bool:
    signal.sigtimedwait({signal.SIGCHLD}, 0.2)  # a pause
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _program(name: str) -> str | None:
    places = (os.environ.get("PATH", os.defpath), "/usr/sbin:/sbin", str(VENV / "bin"))
    return shutil.which(name, path=":".join(places))


# Packages


def _packages(target: Target, *, needs_python: bool) -> None:
    """Install what is missing, all at once. Raises Problem."""
    needed = _missing(target.needs) + (_missing_for_python() if needs_python else [])
    wanted = [one for one in _missing(target.wants) if one not in needed]
    if not needed and not wanted:
        return
    if not debian.can_install():
        if needed:
            every = [*needed, *wanted]
            raise Problem(f"missing: {' '.join(every)}; {debian.advice(every)}")
        say(f"without {' '.join(wanted)}: {target.without}; {debian.advice(wanted)}")
        return
    every = [*needed, *wanted]
    say(f"installing {' '.join(every)}")
    try:
        debian.install(every, LOG)
    except debian.AptError as error:
        if not wanted:
            raise Problem(f"apt-get can't install {' '.join(needed)}: {error}; see {LOG}") from None
        _one_by_one(target, needed, wanted)


def _one_by_one(target: Target, needed: list[str], wanted: list[str]) -> None:
    """Install what can be: first all that is needed, then what is wanted."""
    if needed:
        try:
            debian.install(needed, LOG)
        except debian.AptError as error:
            raise Problem(f"apt-get can't install {' '.join(needed)}: {error}; see {LOG}") from None
    for names in (PROGRAMS[name][1] for name in target.wants if name in PROGRAMS):
        if set(names) & set(wanted):
            try:
                debian.install(names, LOG)
            except debian.AptError as error:
                say(f"without {' '.join(names)}: {target.without} (apt-get: {error})")


def _missing(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        programs, packages = PROGRAMS.get(name, ((), ()))
        if not all(_program(one) for one in programs) and debian.has(name):
            found += packages
    return found


def _missing_for_python() -> list[str]:
    """The packages that making .venv needs: one of what is installed into it comes as source."""
    found: list[str] = []
    lacks: list[str] = []
    if not (importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv")):
        lacks.append("venv")
    if not list(VENV.glob("lib/python*/site-packages/scgi")):
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
        if not shutil.which(compiler):
            found += ["gcc", "libc6-dev"]
        elif not _has_libc(compiler):
            found += ["libc6-dev"]
        if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
            lacks.append("dev")
    if lacks:
        python = _debian_name(Path(sys.executable))
        if python is None:
            what = " and ".join({"venv": "no venv", "dev": "no Python.h"}[one] for one in lacks)
            raise Problem(
                f"{sys.executable} has {what}: install what belongs to it, or use another:"
                " make PYTHON=/path/to/python3"
            )
        found += [f"{python}-{one}" for one in lacks]
    return found


def _has_libc(compiler: str) -> bool:
    done = subprocess.run(
        [compiler, "-E", "-x", "c", "-"],
        input=b"#include <stdio.h>\n",
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _debian_name(executable: Path) -> str | None:
    """The package that ``executable`` comes with: python3, or python3.12; None if it has none."""
    real = executable.resolve()
    if real.parent != Path("/usr/bin") or not re.fullmatch(r"python3\.\d+", real.name):
        return None
    usual = Path("/usr/bin/python3")
    return "python3" if usual.exists() and usual.resolve() == real else real.name


# .venv


def _fingerprint() -> str:
    """What an installation depends on; a stamp that holds something else is out of date."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "setup.py")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _stamped(stamp: str) -> bool:
    path = VENV / stamp
    return path.is_file() and path.read_text(encoding="utf-8") == _fingerprint()


def _why_make_venv() -> str | None:
    """Why .venv has to be made, or made again; None if it is as it should be."""
    settings = VENV / "pyvenv.cfg"
    if not (VENV / ".made").exists() or not settings.exists():
        return ""
    kept: dict[str, str] = {}
    for line in settings.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        kept[key.strip()] = value.strip()
    # Its programs and what is installed from the checkout have absolute paths.
    if "command" in kept and not kept["command"].endswith(f" {VENV}"):
        return "the checkout was moved or copied"
    if not PYTHON.exists():
        return "its Python is gone"
    asked = "import sys; print('%d.%d.' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [PYTHON, "-IS", "-c", asked], capture_output=True, text=True, check=False
        )
    except OSError:
        return "its Python can't be run"
    if done.returncode or not f"{kept.get('version', '')}.".startswith(done.stdout.strip()):
        return "its Python is another now"
    return None


def _make_venv(why: str) -> None:
    (VENV / ".made").unlink(missing_ok=True)
    if why:
        say(f"{why}: .venv is made again")
    python = sys.executable or "python3"
    if child.run([python, "-m", "venv", "--clear", VENV], LOG):
        raise Problem(f"{python} can't make {VENV}: {_last_line()}; see {LOG}")
    (VENV / ".made").touch()


def _install(target: Target) -> None:
    """Install the package and what it needs into .venv, if that isn't done. Raises Problem."""
    if _stamped(target.stamp) or (target.stamp == ".run" and _stamped(".dev")):
        return
    if target.stamp in OPTIONAL:
        _install(TARGETS["venv"])
    say("getting Python packages into .venv (a minute or so)")
    # Without a network pip would go on trying for long. A site's own settings stay.
    given = {"PIP_RETRIES": "2", "PIP_DEFAULT_TIMEOUT": "15"}
    environ = {name: value for name, value in given.items() if name not in os.environ}
    environ |= {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    command: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--editable",
        f".{target.extras}",
    ]
    if target.stamp == ".fuzz":
        command += ["--only-binary", "atheris"]
    failed = child.run(command, LOG, environ=environ) != 0
    if failed and target.stamp not in OPTIONAL:
        raise Problem(f"{_why_pip_failed()}; see {LOG}")
    if failed:
        say(OPTIONAL[target.stamp])
        if target.stamp == ".bench":
            return  # it may work the next time; there is no atheris for some Pythons
    (VENV / target.stamp).write_text(_fingerprint(), encoding="utf-8")


def _why_pip_failed() -> str:
    said = LOG.read_text(encoding="utf-8", errors="replace")
    if "No space left on device" in said:
        return "pip can't install the Python packages: no space left on the device"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return (
            "pip doesn't trust the package index's certificate: name your authority's with"
            " PIP_CERT=/path/to/authorities.pem"
        )
    broken = re.search(
        r"connection broken by|NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError"
        r"|ReadTimeout|Network is unreachable",
        said,
    )
    if broken:
        return (
            "pip can't reach the package index; is there a network? (behind a proxy: set"
            " https_proxy; with a mirror: set PIP_INDEX_URL)"
        )
    return f"pip can't install the Python packages: {_last_line('ERROR: ', 'error: ')}"


def _last_line(*starts: str) -> str:
    """The last line in the log that isn't empty and starts so, if one does."""
    lines = [line.strip() for line in LOG.read_text(errors="replace").splitlines() if line.strip()]
    chosen = [line for line in lines if line.startswith(starts)] if starts else []
    return (chosen or lines or ["it says nothing"])[-1]


# What only tests and measurements use


def couchdb_is_current() -> bool:
    """Whether the CouchDB-protocol server of the tests is installed as its lock file says."""
    try:
        wanted = json.loads((COUCHDB / "package-lock.json").read_bytes())["packages"]
        have = json.loads((COUCHDB / "node_modules" / ".package-lock.json").read_bytes())
    except FileNotFoundError:
        return False
    return all(
        have["packages"].get(path, {}).get("version") == one["version"]
        for path, one in wanted.items()
        if path and not one.get("optional")
    )


def _couchdb(target: Target) -> None:
    """Install the CouchDB-protocol server of the tests. Raises Problem where it is needed."""
    if all(_program(one) for one in PROGRAMS["node"][0]):
        say("getting the CouchDB-protocol server of the tests from npm")
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        if child.run(command, LOG, cwd=COUCHDB) == 0:
            return
        why = f"npm can't install the CouchDB-protocol server of the tests; see {LOG}"
    else:
        why = "the CouchDB-protocol server of the tests needs Node.js and npm"
    if "couchdb" in target.needs:
        raise Problem(why)
    say(f"{why}: {target.without}")


def _promtool(target: Target) -> None:
    """Get promtool, without Prometheus itself, whose package would start a server."""
    say("getting promtool")
    try:
        # Debian 12 has it in the package of the server, Debian 13 by itself.
        debian.program("promtool", ("promtool", "prometheus"), VENV / "bin", LOG)
    except (debian.AptError, OSError) as error:
        say(f"without promtool: {target.without} (apt-get: {error})")


def main(name: str, *words: str) -> None:
    """Set up for the target ``name``, and for `run` and `demo` become their program with ``words``.

    Raises SystemExit where the target can't run; a stop signal ends the process.
    """
    try:
        set_up(name)
        child.look()
        if (module := MODULES.get(name)) is not None:
            os.chdir(ROOT)
            # Signals that wait, wait there as well.
            os.execv(PYTHON, [str(PYTHON), "-m", module, *words])  # noqa: S606
    except child.Stopped as stopped:
        child.die(stopped.signal)
    except Problem as error:
        raise SystemExit(f"make {name}: {error}") from None
    except OSError as error:
        raise SystemExit(
            f"make {name}: {error.filename or ROOT}: {error.strerror or error}"
        ) from None
