"""The package that steps install: that of this checkout, and a later one, to upgrade to."""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.machine.image import MachineError
from tools import package
from tools.setup import Problem

#: What a later version has after its number.
LATER = "+later"
#: What it has in its configuration, so that dpkg has one to replace.
NEWS = "# Another word on it.\n"


@cache
def built() -> Path:
    """The package, built once a run. Raises MachineError."""
    print("building the package", flush=True)
    try:
        return package.build()
    except Problem as error:
        raise MachineError(str(error)) from None


@cache
def later() -> Path:
    """The same as a later version, which says so, with another configuration."""
    first = built()
    name, version, architecture = first.name.split("_")
    path = first.with_name(f"{name}_{version}{LATER}_{architecture}")
    with tempfile.TemporaryDirectory(prefix="habitat-later-") as made:
        root = Path(made) / "root"
        subprocess.run(["dpkg-deb", "--raw-extract", first, root], check=True)
        _change(root / "DEBIAN" / "control", r"^(Version: .*)$", rf"\1{LATER}")
        module = root / "usr/lib/habitat-like/habitat_like/__init__.py"
        _change(module, r'^(__version__ = ".*)"$', rf'\1{LATER}"')
        _change(root / "etc/habitat/config.yml", r"\A", NEWS)
        (root / "DEBIAN" / "md5sums").unlink()
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def _change(path: Path, pattern: str, text: str) -> None:
    changed, number = re.subn(pattern, text, path.read_text(encoding="utf-8"), flags=re.M)
    assert number == 1, path
    path.write_text(changed, encoding="utf-8")
