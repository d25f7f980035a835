"""Steps on the system: user, command, directories, units, and the service that runs."""

from __future__ import annotations

import contextlib
import pwd
import re
import stat
import time
from pathlib import Path

import msgspec

from habitat_like import __version__
from habitat_like.cli import client
from habitat_like.cli.setup import nginx, shipped
from habitat_like.cli.setup.configuration import load
from habitat_like.cli.setup.effects import Effects, Owner, SetupError, ask, read
from habitat_like.cli.setup.wanted import STATE, USER, Wanted
from habitat_like.config.keys import Config

#: Where the package has its units, and where those of an installation by hand go.
PACKAGED = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
UNITS = Path("/etc/systemd/system")
COMMANDS = (Path("/usr/bin/habitat"), Path("/usr/local/bin/habitat"))
SERVICE, SOCKET = "habitat.service", "habitat.socket"
UNIT_NAMES = (SOCKET, SERVICE, "habitat-backup.service", "habitat-backup.timer")
#: Seconds for the gateway to serve: it may have a large journal to read.
START_TIMEOUT = 120.0
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (not used, refused)


class UserStep:
    """There is the gateway's user, and its directory."""

    name = "user"

    def lacking(self) -> str | None:
        """See ``Step``."""
        try:
            user = pwd.getpwnam(USER)
        except KeyError:
            return f"there is no user {USER}"
        if not STATE.is_dir():
            return f"there is no {STATE}"
        if STATE.stat().st_uid != user.pw_uid:
            return f"{STATE} belongs to somebody else"
        return None

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        try:
            pwd.getpwnam(USER)
        except KeyError:
            home = ("--home-dir", str(STATE), "--shell", "/usr/sbin/nologin")
            effects.run("useradd", "--system", "--user-group", *home, USER)
        effects.directory(STATE, 0o750, Owner(USER, USER))


class CommandStep:
    """``habitat`` can be typed, and the service may read the program."""

    name = "command"

    def __init__(self, program: Path) -> None:
        """``program`` is the habitat that runs now."""
        self._program = program

    def lacking(self) -> str | None:
        """See ``Step``."""
        for place in HIDDEN:
            if self._program.is_relative_to(place):
                raise SetupError(
                    f"{self._program} is below {place}, where the service sees nothing;"
                    " install it into a virtual environment in /opt/habitat"
                )
        if any(path.exists() and path.resolve() == self._program for path in COMMANDS):
            return None
        return f"{COMMANDS[1]} is not {self._program}"

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        effects.link(COMMANDS[1], str(self._program))


class UnitsStep:
    """systemd has the units, and they run this program; the package brings its own."""

    name = "units"

    def __init__(self, program: Path, config: Path) -> None:
        """``program`` is what they are to run, with ``config``."""
        self._program = program
        self._config = config

    def lacking(self) -> str | None:
        """See ``Step``."""
        missing = [name for name in UNIT_NAMES if not self._is_there(name)]
        if missing:
            return f"{', '.join(missing)} for {self._program}"
        if _property(SERVICE, "NeedDaemonReload") == "yes":
            return "systemd has not read them since they changed"
        return None

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        for name in UNIT_NAMES:
            if not self._is_there(name):
                effects.write(UNITS / name, self._text(name))
        effects.run("systemctl", "daemon-reload")

    def _is_there(self, name: str) -> bool:
        own = read(UNITS / name)
        is_packaged = self._program.is_relative_to("/usr/lib")
        if not is_packaged or not any((path / name).exists() for path in PACKAGED):
            return own == self._text(name)
        if str(self._config) != shipped.CONFIG:
            raise SetupError(f"the package's units read {shipped.CONFIG}; leave out --config")
        if own is not None:
            raise SetupError(
                f"{UNITS / name} hides the package's; remove it (changes of yours go into"
                f" 'systemctl edit {name}')"
            )
        return True

    def _text(self, name: str) -> str:
        text = shipped.text(f"systemd/{name}").replace(shipped.PROGRAM, str(self._program))
        text = text.replace(shipped.CONFIG, str(self._config))
        return re.sub(r"^SocketGroup=.*$", f"SocketGroup={nginx.group()}", text, flags=re.M)


class LogrotateStep:
    """A log file, where the configuration names one, is rotated."""

    name = "logrotate"
    path = Path("/etc/logrotate.d/habitat")

    def lacking(self) -> str | None:
        """See ``Step``."""
        if self.path.exists() or not self.path.parent.is_dir():
            return None
        return f"there is no {self.path}"

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        effects.write(self.path, shipped.text("logrotate.d/habitat"))


class ServiceStep:
    """The gateway runs, now and after a reboot, with the configuration as it is."""

    name = "service"

    def __init__(self, wanted: Wanted) -> None:
        """``wanted`` names the configuration."""
        self._wanted = wanted

    def lacking(self) -> str | None:
        """See ``Step``."""
        for unit in (SOCKET, SERVICE):
            if _property(unit, "UnitFileState") != "enabled":
                return f"{unit} is not enabled"
            if _property(unit, "ActiveState") != "active":
                return f"{unit} is not active"
        return self._outdated(load(self._wanted.config))

    def _outdated(self, config: Config) -> str | None:
        """Why what runs is not what is installed and configured; None if it is."""
        running = _running(config)
        if (wrong := socket_rights(config)) is not None:
            return wrong
        if isinstance(running, str):
            return running
        if running.version != __version__:
            return f"version {running.version} runs, and {__version__} is installed"
        read = [self._wanted.config]
        if self._wanted.has_couch:
            read.append(self._wanted.couch_password)
        if max(path.stat().st_mtime for path in read) > time.time() - running.uptime:
            return "it was started before the configuration was changed"
        return None

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        effects.run("systemctl", "enable", SOCKET, SERVICE)
        config = load(self._wanted.config) if self._wanted.config.exists() else Config()
        if _property(SOCKET, "ActiveState") == "active" and socket_rights(config):
            # Stations get a 503 meanwhile; so only where the socket itself must change.
            effects.run("systemctl", "stop", SERVICE, SOCKET)
        effects.run("systemctl", "restart", SERVICE)
        if effects.is_real:
            self._wait(config)

    def _wait(self, config: Config) -> None:
        """Wait until it serves. Raises SetupError."""
        deadline = time.monotonic() + START_TIMEOUT
        while isinstance(why := _running(config), str):
            failed = _property(SERVICE, "ActiveState") == "failed"
            if failed or time.monotonic() > deadline:
                said = ask("journalctl", "--unit=habitat", "--output=cat", "--lines=3")[1]
                more = f" ({' / '.join(said.splitlines())})" if said else ""
                raise SetupError(f"{why}; see journalctl -u habitat{more}")
            time.sleep(0.1)


class _Running(msgspec.Struct):
    """What ``GET /status`` says, as far as it matters here."""

    version: str
    uptime: float


def _running(config: Config) -> _Running | str:
    """The gateway that answers, or why none does."""
    try:
        code, body = client.get(config.gateway.socket, "/status", config.gateway.timeout)
    except client.GatewayError as error:
        return str(error)
    with contextlib.suppress(msgspec.DecodeError):
        if code == 200:
            return msgspec.json.decode(body, type=_Running)
    return f"the gateway answers {code} to GET /status"


def socket_rights(config: Config) -> str | None:
    """Why nginx may not connect to the gateway's socket; None if it may, or there is none."""
    path = Path(config.gateway.socket)
    try:
        status = path.stat()
    except OSError:
        return None
    group = nginx.group_number()
    has_group = status.st_gid == group and bool(status.st_mode & stat.S_IWGRP)
    if group is None or has_group or status.st_mode & stat.S_IWOTH:
        return None
    return f"nginx, in the group {nginx.group()}, may not connect to {path}"


def _property(unit: str, name: str) -> str:
    """A property of a unit, as ``systemctl show`` prints it; empty if systemd can't say."""
    code, said = ask("systemctl", "show", "--value", f"--property={name}", unit)
    return said if code == 0 else ""
