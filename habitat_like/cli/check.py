"""``habitat check``: looks at everything that the gateway needs, and says what it found."""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import yaml

from habitat_like import config as configuration
from habitat_like import passwords
from habitat_like.archive import mask, open_archive
from habitat_like.archive.base import ArchiveError
from habitat_like.archive.schemes import archive_class
from habitat_like.cli import options, rights
from habitat_like.cli.text import printable
from habitat_like.config.keys import Config, ConfigError
from habitat_like.console import users
from habitat_like.http.actions import enabled_actions, find_actions
from habitat_like.http.listener import is_live
from habitat_like.journal.file import JournalError, open_file
from habitat_like.message.types import Registry, load_types
from habitat_like.message_server.server import find_sink
from habitat_like.networks.hisparc import stations

OK = "ok"
WARNING = "warning"
#: Something outside of the configuration is not as it must be: exit code 1.
ERROR = "error"
#: The configuration itself can't be used: exit code 2.
CONFIG_ERROR = "config error"
COLOURS = {OK: "green", WARNING: "yellow", ERROR: "red", CONFIG_ERROR: "red"}


class Finding(NamedTuple):
    """What one check found: ``mark`` is one of the above, ``text`` one line."""

    mark: str
    subject: str
    text: str


@click.command(cls=options.Command, epilog="Example: habitat check --config etc/config.yml")
@options.config_option
def command(config_path: str | None) -> int:
    """Check everything that the gateway needs.

    Prints the configuration as it takes effect, secrets masked, then a line for each check. Makes
    nothing but what the archive's database lacks. Run it as the gateway's user. The exit code is 0
    if all is usable, 1 if something is not as it must be now (an archive that is down, which a
    gateway lives with), 2 if the configuration can't be used.
    """
    config = options.load_config(config_path)
    chosen = options.chosen_path(config_path)
    text = yaml.safe_dump(configuration.effective(config), sort_keys=False, allow_unicode=True)
    click.echo(text)
    marks = set()
    for finding in _findings(config, configuration.find(chosen)):
        marks.add(finding.mark)
        mark = click.style(f"{finding.mark:12}", fg=COLOURS[finding.mark])
        line = " ".join(printable(finding.text).split())
        click.echo(f"{mark} {finding.subject}: {line}")
    if CONFIG_ERROR in marks:
        return 2
    return 1 if ERROR in marks else 0


def _findings(config: Config, source: Path | None) -> Iterator[Finding]:
    """What all checks find; one that can't look says so, and the others go on.

    ``source`` is the file of the configuration, None where it is all defaults.
    """
    yield from check_source(source)
    for check in CHECKS:
        try:
            yield from check(config)
        except OSError as error:
            subject = check.__name__.removeprefix("check_")
            text = f"{error.filename or ''}: {error.strerror}; check as the gateway's user"
            yield Finding(ERROR, subject, text.removeprefix(": "))


def check_environment(config: Config) -> Iterator[Finding]:
    """Variables that look like overrides and are none, and a password in the wrong place."""
    for line in configuration.unknown_environment(os.environ):
        yield Finding(WARNING, "environment", line)
    if mask(config.archive.uri) != config.archive.uri and config.archive.password_file is None:
        hint = "move it into a file that archive.password_file names"
        yield Finding(WARNING, "configuration", f"archive.uri holds a password; {hint}")
    if config.archive.password_file is not None:
        path = Path(config.archive.password_file)
        if not path.is_file():
            hint = f"there is no file {path}; make it, or take the key out"
            yield Finding(CONFIG_ERROR, "archive.password_file", hint)
        elif open_to_all := rights.readable(path):
            yield Finding(WARNING, "archive.password_file", open_to_all)


def check_code(config: Config) -> Iterator[Finding]:
    """Types, actions and sinks lead to what they must lead to."""
    loads: dict[str, Callable[[], list[str]]] = {
        "types": lambda: Registry(load_types(config.types)).names,
        "gateway.actions": lambda: list(find_actions(enabled_actions(config))),
        "sinks": lambda: _sinks(config),
    }
    for subject, load in loads.items():
        # Importing an operator's own code may raise anything.
        try:
            names = load()
        except Exception as error:
            reason = str(error) or type(error).__name__
            text = reason.removeprefix(f"{subject}: ")
            yield Finding(CONFIG_ERROR, subject, text)
        else:
            yield Finding(OK, subject, ", ".join(names) or "none")


def check_stations(config: Config) -> Iterator[Finding]:
    """The list of HiSPARC stations, where there is one."""
    path = config.hisparc.station_list
    if path is None:
        return
    try:
        found = stations.load(path)
    except stations.StationListError as error:
        yield Finding(CONFIG_ERROR, "hisparc.station_list", str(error))
        return
    yield Finding(OK, "hisparc.station_list", f"{len(found)} stations in {path}")
    clear = any(not passwords.is_hash(station.password) for station in found.values())
    if clear and (hint := rights.readable(path)):
        yield Finding(WARNING, "hisparc.station_list", f"it has passwords in clear, and {hint}")


def check_source(source: Path | None) -> Iterator[Finding]:
    """Whether others can change the configuration: what it names is run."""
    for path in () if source is None else (source, source.resolve().parent):
        if hint := rights.writable(path):
            yield Finding(WARNING, "configuration", f"what it names is run as code, and {hint}")


def check_console(config: Config) -> Iterator[Finding]:
    """The users of the console, where it has a file of them."""
    path = config.console.password_file
    if path is None:
        return
    try:
        found = users.read(Path(path))
    except (ConfigError, OSError) as error:
        reason = f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)
        text = f"{reason.removeprefix('console.password_file: ')}; stations are served all the same"
        yield Finding(ERROR, "console.password_file", text)
        return
    yield Finding(OK, "console.password_file", f"{len(found)} users in {path}")
    if hint := rights.readable(path):
        yield Finding(WARNING, "console.password_file", hint)


def check_directories(config: Config) -> Iterator[Finding]:
    """The files that the gateway makes, and their directories."""
    paths = {
        "gateway.socket": config.gateway.socket,
        "control.socket": config.control.socket,
        "journal.path": config.journal.path,
    }
    if config.log.file is not None:
        paths["log.file"] = config.log.file
    if (file := archive_class(config.archive.uri).file(config.archive)) is not None:
        paths["archive.uri"] = str(file)
    for subject, path in paths.items():
        directory = Path(path).absolute().parent
        yield _directory(subject, directory)
        if hint := rights.writable(directory):
            yield Finding(WARNING, subject, hint)
        # The socket has a key that says who may connect.
        if subject != "gateway.socket" and (hint := rights.readable(path)):
            yield Finding(WARNING, subject, f"stations' addresses are in it, and {hint}")


def check_socket(config: Config) -> Iterator[Finding]:
    """Whether the gateway can have its socket, and the group is one of this machine."""
    path = config.gateway.socket
    yield Finding(*_socket_state(path))
    group = config.gateway.socket_group
    if group is not None:
        try:
            grp.getgrnam(group)
        except KeyError:
            hint = f"there is no group {group!r} on this machine; make it with groupadd"
            yield Finding(CONFIG_ERROR, "gateway.socket_group", hint)


def check_journal(config: Config) -> Iterator[Finding]:
    """Whether the journal can be read, by this version; a running gateway may have it open."""
    path = config.journal.path
    if not Path(path).exists():
        yield Finding(OK, "journal", f"{path} doesn't exist yet, the gateway makes it")
        return
    try:
        with contextlib.closing(open_file(path)):
            pass
    except (JournalError, OSError) as error:
        yield Finding(ERROR, "journal", str(error))
        return
    if os.access(path, os.W_OK):
        yield Finding(OK, "journal", f"{path} is readable and of a known format")
    else:
        yield Finding(ERROR, "journal", f"{path} is not writable for {_user()}")


def check_archive(config: Config) -> Iterator[Finding]:
    """Whether the archive answers, with these credentials, and has its indexes."""
    try:
        file = archive_class(config.archive.uri).file(config.archive)
        if file is not None and not file.exists():
            # Made here it would belong to whoever runs this, root for one.
            text = f"{file} doesn't exist yet, the gateway makes it"
            yield Finding(OK, "archive", text)
            return
        with contextlib.closing(open_archive(config.archive)) as archive:
            warnings = archive.prepare()
            yield from (Finding(WARNING, "archive", warning) for warning in warnings)
            yield Finding(OK, "archive", f"{archive.name} can be used")
    except ConfigError:
        # Told already by check_environment.
        yield Finding(CONFIG_ERROR, "archive", "not tried, as it is not configured right")
    except ArchiveError as error:
        text = (
            f"{error}; a gateway serves stations all the same, their messages wait in the journal"
        )
        yield Finding(ERROR, "archive", text)


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    check_environment,
    check_code,
    check_stations,
    check_console,
    check_directories,
    check_socket,
    check_journal,
    check_archive,
)


def _sinks(config: Config) -> list[str]:
    """The names of the sinks. Raises SinkError and ConfigError for one that can't be."""
    for index, sink in enumerate(config.sinks):
        find_sink(sink, f"sinks[{index}]")
    return config.sink_names


def _socket_state(path: str) -> tuple[str, str, str]:
    try:
        kind = Path(path).lstat().st_mode
        if not stat.S_ISSOCK(kind):
            return ERROR, "socket", f"{path} is no socket; remove it or change gateway.socket"
        if is_live(path):
            return OK, "socket", f"{path}: a gateway is running"
    except FileNotFoundError:
        return OK, "socket", f"{path} is free"
    return OK, "socket", f"{path} is left over from a crash and will be taken over"


def _directory(subject: str, directory: Path) -> Finding:
    there = next(path for path in (directory, *directory.parents) if path.exists())
    if not there.is_dir():
        return Finding(ERROR, subject, f"{there} is not a directory; remove it or change {subject}")
    if not os.access(there, os.W_OK | os.X_OK):
        hint = "check as the gateway's user, or change its owner"
        return Finding(ERROR, subject, f"directory {there} is not writable for {_user()}; {hint}")
    if there != directory:
        return Finding(
            OK, subject, f"directory {directory} doesn't exist yet, the gateway makes it"
        )
    return Finding(OK, subject, f"directory {directory} is writable")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.geteuid()}"
