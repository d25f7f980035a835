"""The files that come with the program: units, site, configuration, logrotate."""

from __future__ import annotations

import sys
from pathlib import Path

import habitat_like
from habitat_like.cli.setup.effects import SetupError

#: The program in the units that come with it.
PROGRAM = "/opt/habitat/bin/habitat"
#: Their configuration.
CONFIG = "/etc/habitat/config.yml"

#: Where the package has them.
PACKAGED = Path("/usr/share/habitat-like")


def text(name: str) -> str:
    """The text of the file ``name`` of etc/. Raises SetupError."""
    return path(name).read_text(encoding="utf-8")


def path(name: str) -> Path:
    """The file ``name`` of etc/: beside the modules, or in the checkout. Raises SetupError."""
    package = Path(habitat_like.__file__).resolve().parent
    places = [package / "etc", package.parent / "etc"]
    if package.is_relative_to("/usr/lib"):
        places.insert(0, PACKAGED)
    for place in places:
        if (place / name).is_file():
            return place / name
    raise SetupError(f"{package / 'etc' / name} is missing; install habitat_like again")


def program() -> Path:
    """The ``habitat`` that runs now, as the units must name it. Raises SetupError."""
    for path in (Path(sys.argv[0]), Path(sys.executable).parent / "habitat"):
        if path.name == "habitat" and path.is_file():
            return path.resolve()
    raise SetupError("run it as the command habitat, from the package or a virtual environment")
