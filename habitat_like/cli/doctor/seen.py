"""What the doctor sees, and the machine that it looks at."""

from __future__ import annotations

import functools
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from habitat_like.cli.check import ERROR, OK, WARNING
from habitat_like.cli.setup.effects import ask
from habitat_like.config.keys import Config

__all__ = ["ERROR", "OK", "WARNING", "Machine", "Seen"]


class Seen(NamedTuple):
    """One thing: ``mark`` as in ``habitat check``, and the command that ``mend``s it."""

    mark: str
    subject: str
    text: str
    mend: str = ""


class Machine:
    """The gateway of one configuration, and what systemd knows of it. Looks when asked."""

    def __init__(self, config: Config, path: Path) -> None:
        """``path`` is the configuration's."""
        self.config = config
        self.path = path
        # As the units have it: habitat@a reads a.yml.
        instance = "" if path.name == "config.yml" else f"@{path.stem}"
        self.service = f"habitat{instance}.service"
        self.socket_unit = f"habitat{instance}.socket"
        self.is_root = os.geteuid() == 0

    @functools.cached_property
    def has_units(self) -> bool:
        """Whether systemd runs here, and has the gateway's units."""
        return self.unit("LoadState") == "loaded"

    def unit(self, name: str, unit: str = "") -> str:
        """A property of a unit, by default the service; empty where it can't be known."""
        code, said = ask("systemctl", "show", "--value", f"--property={name}", unit or self.service)
        return said if code == 0 else ""

    @functools.cached_property
    def user(self) -> str:
        """The gateway's user: the unit's, else whose the journal's directory is."""
        if name := self.unit("User"):
            return name
        try:
            directory = Path(self.config.journal.path).absolute().parent
            return pwd.getpwuid(directory.stat().st_uid).pw_name
        except (OSError, KeyError):
            return pwd.getpwuid(os.geteuid()).pw_name

    @property
    def restart(self) -> str:
        """The command that starts the gateway anew, with its socket."""
        if self.has_units:
            return f"systemctl restart {self.socket_unit} {self.service}"
        return f"habitat serve --config {self.path}"

    @property
    def as_user(self) -> str:
        """What stands before a command that the gateway's user is to run."""
        return f"runuser -u {self.user} -- "

    def last_words(self) -> str:
        """The last complaint in the gateway's log, for a text; empty where there is none."""
        code, said = ask("journalctl", f"--unit={self.service}", "--output=cat", "--lines=30")
        for line in reversed(said.splitlines() if not code else []):
            try:
                record = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError:
                if line.startswith("habitat"):  # before there is a log
                    return f" ({line[:300]})"
                continue
            if record.get("level") in ("error", "critical"):
                why = [str(record[key]) for key in ("message", "why") if key in record]
                return f" ({': '.join(why)[:300]})"
        return ""


#: A look at one part of the machine.
Look = Iterator[Seen]
