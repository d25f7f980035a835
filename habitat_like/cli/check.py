"""``habitat check``: looks at everything that the gateway needs, and says what it found."""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import stat
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import yaml

from habitat_like import config as configuration
from habitat_like import times
from habitat_like.archive import mask, open_archive
from habitat_like.archive.base import Archive, ArchiveError, ClusterArchive
from habitat_like.archive.schemes import archive_class
from habitat_like.cli import options, rights
from habitat_like.cli.text import printable
from habitat_like.config.keys import Config, ConfigError
from habitat_like.console import users
from habitat_like.http.actions import find_actions
from habitat_like.http.listening_socket import is_live
from habitat_like.journal.file import JournalError, open_file
from habitat_like.message.types import Registry, load_types
from habitat_like.message_server.server import find_sink
from habitat_like.networks import catalogue, stations
from habitat_like.networks.networks import check_paths, types_of
from habitat_like.networks.runner import Runner

OK = "ok"
WARNING = "warning"
#: Something outside the configuration is wrong: exit code 1.
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
@click.option("--json", "as_json", is_flag=True, help="Print only what was found, as JSON.")
def command(config_path: str | None, as_json: bool) -> int:
    """Check everything that the gateway needs.

    Prints the effective configuration, with secrets masked, then one line per check. Creates
    nothing but what is missing in the archive's database. Run it as the gateway's user. The exit
    code is 0 if all is well, 1 if something is wrong that a gateway can run with (such as an
    archive that is down), 2 if the configuration can't be used.
    """
    config = options.load_config(config_path)
    chosen = options.chosen_path(config_path)
    findings = _findings(config, configuration.find(chosen))
    if as_json:
        found = list(findings)
        click.echo(msgspec.json.encode([finding._asdict() for finding in found]))
        return _exit_code({finding.mark for finding in found})
    text = yaml.safe_dump(configuration.effective(config), sort_keys=False, allow_unicode=True)
    click.echo(text)
    marks = set()
    for finding in findings:
        marks.add(finding.mark)
        mark = click.style(f"{finding.mark:12}", fg=COLOURS[finding.mark])
        line = " ".join(printable(finding.text).split())
        click.echo(f"{mark} {finding.subject}: {line}")
    return _exit_code(marks)


def _exit_code(marks: Set[str]) -> int:
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
    for line in configuration.unknown_environment(os.environ, config):
        yield Finding(WARNING, "environment", line)
    if mask(config.archive.uri) != config.archive.uri and config.archive.password_file is None:
        hint = "move it into a file that archive.password_file names"
        yield Finding(WARNING, "configuration", f"archive.uri holds a password; {hint}")
    if config.archive.password_file is not None:
        path = Path(config.archive.password_file)
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "no regular file"
            hint = f"{path} is {kind}; name the file with the password"
            yield Finding(CONFIG_ERROR, "archive.password_file", hint)
        elif not path.is_file():
            hint = f"there is no file {path}; create it, or remove the key"
            yield Finding(CONFIG_ERROR, "archive.password_file", hint)
        elif open_to_all := rights.readable(path):
            yield Finding(WARNING, "archive.password_file", open_to_all)


def check_clock(config: Config) -> Iterator[Finding]:
    """Whether the machine's clock can be right."""
    now = time.time()
    if not times.is_set(now):
        text = (
            f"it shows {times.show(int(now))}, which is in the past; set it (timedatectl): until "
            "then messages are archived as suspicious, with their stations' times"
        )
        yield Finding(ERROR, "clock", text)


def check_code(config: Config) -> Iterator[Finding]:
    """Types, actions and sinks lead to what they must lead to."""
    loads: dict[str, Callable[[], list[str]]] = {
        "types": lambda: Registry(load_types(config.types), _network_types(config)).names,
        "gateway.actions": lambda: list(find_actions(config.gateway.actions)),
        "sinks": lambda: _sinks(config),
    }
    for subject, load in loads.items():
        # Importing an operator's code may raise anything.
        try:
            names = load()
        except Exception as error:
            reason = str(error) or type(error).__name__
            text = reason.removeprefix(f"{subject}: ")
            yield Finding(CONFIG_ERROR, subject, text)
        else:
            yield Finding(OK, subject, ", ".join(names) or "none")


def check_networks(config: Config) -> Iterator[Finding]:
    """The networks that are on, and what each has to say."""
    try:
        classes = catalogue.classes(config.networks)
    except ConfigError as error:
        yield Finding(CONFIG_ERROR, "networks", error.reason)
        return
    runners = []
    for key, network in zip(config.networks, classes.values(), strict=True):
        subject = f"networks.{key}"
        try:
            settings = catalogue.settings_of(key, config.networks[key])
            made = network(settings, catalogue.load(key, network, settings))
            found = list(made.check())
        except ConfigError as error:
            yield Finding(CONFIG_ERROR, error.key or subject, error.reason)
            continue
        except Exception as error:  # an operator's own network may raise anything
            yield Finding(CONFIG_ERROR, subject, f"{type(error).__name__}: {error}")
            continue
        runners.append(Runner(made, stations.Stations(b""), stations.Gatekeeper()))
        paths = ", ".join(dict.fromkeys(route.pattern for route in network.routes))
        yield Finding(OK, subject, f"accepts uploads to {paths}")
        for mark, of, text in found:
            if mark != "secret":
                yield Finding(mark, of, text)
            elif hint := rights.readable(text):
                yield Finding(WARNING, of, f"it has plain-text passwords, and {hint}")
    try:
        check_paths(runners, config)
    except ConfigError as error:
        yield Finding(CONFIG_ERROR, "networks", error.reason)


def check_stations(config: Config) -> Iterator[Finding]:
    """The file of stations, where there is one."""
    path = config.stations
    if path is None:
        return
    try:
        entries = stations.read(path)
        on = set(catalogue.classes(config.networks))
    except ConfigError as error:
        yield Finding(CONFIG_ERROR, "stations", str(error))
        return
    yield Finding(OK, "stations", f"{len(entries)} stations in {path}")
    if off := sorted({one.network for one in entries} - on):
        yield Finding(WARNING, "stations", f"networks that are off have entries: {', '.join(off)}")
    if hint := rights.readable(path):
        yield Finding(WARNING, "stations", f"it has identities and secrets, and {hint}")


def check_identities(config: Config) -> Iterator[Finding]:
    """The key of identities' hashes, where it is made, and that no two stations share one."""
    try:
        entries = [] if config.stations is None else stations.read(config.stations)
    except ConfigError:
        return  # check_stations says so
    path = stations.key_path(config.journal.path)
    key = b""
    if os.path.lexists(path) and (entries or config.networks):  # made here, it could be root's
        if path.exists() and not os.access(path, os.R_OK):
            text = f"{path} can't be read by {_user()}; check as the gateway's user"
            yield Finding(ERROR, "identities", text)
            return
        try:
            key = stations.load_key(path)
        except ConfigError as error:
            yield Finding(CONFIG_ERROR, "identities", str(error))
            return
    try:
        stations.Stations(key, entries)
    except ConfigError as error:
        yield Finding(CONFIG_ERROR, "stations", str(error.at(str(config.stations))))


def check_source(source: Path | None) -> Iterator[Finding]:
    """Whether others than root can change the configuration: what it names is run, by root too."""
    if source is None:
        return
    # Modules beside the file are imported; anyone who can write further up can replace them.
    beside = {source.absolute(), source.resolve(), source.resolve().parent}
    above = {*source.absolute().parents, *source.resolve().parents} - beside
    for path in sorted(beside | above, key=lambda path: (-len(path.parts), path)):
        if hint := rights.changeable(path, is_above=path in above):
            yield Finding(WARNING, "configuration", f"it names code that is run, and {hint}")


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
        if subject != "gateway.socket" and Path(path).is_dir():
            yield Finding(ERROR, subject, f"{path} is a directory; choose another path")
            continue
        # The socket has a key that says who may connect.
        if subject != "gateway.socket" and (hint := rights.readable(path)):
            yield Finding(WARNING, subject, f"it has stations' addresses, and {hint}")


def check_socket(config: Config) -> Iterator[Finding]:
    """Whether the gateway can have its socket, and the group is one of this machine."""
    path = config.gateway.socket
    yield Finding(*_socket_state(path))
    group = config.gateway.socket_group
    if group is not None:
        try:
            grp.getgrnam(group)
        except KeyError:
            hint = f"there is no group {group!r} on this machine; create it with groupadd"
            yield Finding(CONFIG_ERROR, "gateway.socket_group", hint)


def check_journal(config: Config) -> Iterator[Finding]:
    """Whether the journal can be read, by this version; a running gateway may have it open."""
    path = config.journal.path
    if not Path(path).exists():
        yield Finding(OK, "journal", f"{path} doesn't exist yet; the gateway creates it")
        return
    try:
        with contextlib.closing(open_file(path)):
            pass
    except (JournalError, OSError) as error:
        yield Finding(ERROR, "journal", str(error))
        return
    if os.access(path, os.W_OK):
        yield Finding(OK, "journal", f"{path} is readable, and its format is known")
    else:
        yield Finding(ERROR, "journal", f"{path} is not writable by {_user()}")


def check_archive(config: Config) -> Iterator[Finding]:
    """Whether the archive answers, with these credentials, and has its indexes."""
    try:
        file = archive_class(config.archive.uri).file(config.archive)
        if file is not None and not file.exists():
            # Created here, it would belong to the caller, for example root.
            text = f"{file} doesn't exist yet; the gateway creates it"
            yield Finding(OK, "archive", text)
            return
        with contextlib.closing(open_archive(config.archive)) as archive:
            yield from _nodes(archive)
            warnings = archive.prepare()
            yield from (Finding(WARNING, "archive", warning) for warning in warnings)
            yield Finding(OK, "archive", f"{archive.name} can be used")
    except ConfigError:
        # Already reported by check_environment.
        yield Finding(CONFIG_ERROR, "archive", "not tested, because its configuration is wrong")
    except ArchiveError as error:
        text = f"{error}; the gateway still serves stations, and their messages wait in the journal"
        yield Finding(ERROR, "archive", text)


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    check_environment,
    check_clock,
    check_code,
    check_networks,
    check_stations,
    check_identities,
    check_console,
    check_directories,
    check_socket,
    check_journal,
    check_archive,
)


def _nodes(archive: Archive) -> Iterator[Finding]:
    """How each of several servers of the archive does."""
    if not isinstance(archive, ClusterArchive) or len(archive.nodes()) < 2:
        return
    for node in archive.ask_nodes():
        mark = OK if node.problem is None else ERROR
        yield Finding(mark, "archive node", f"{node.name} {node.problem or 'stores documents'}")


def _network_types(config: Config) -> dict[str, str]:
    """The types of the networks that are on; none if these can't be used, as is told elsewhere."""
    with contextlib.suppress(ConfigError):
        return types_of(catalogue.classes(config.networks).values())
    return {}


def _sinks(config: Config) -> list[str]:
    """The names of the sinks. Raises SinkError and ConfigError for one that can't be started."""
    for index, sink in enumerate(config.sinks):
        key = f"sinks[{index}]"
        factory, settings = find_sink(sink, key)
        try:
            factory.check(settings)
        except ConfigError as error:
            raise ConfigError(str(error), key) from None
    return config.sink_names


def _socket_state(path: str) -> tuple[str, str, str]:
    try:
        kind = Path(path).lstat().st_mode
        if not stat.S_ISSOCK(kind):
            return ERROR, "socket", f"{path} is not a socket; remove it or change gateway.socket"
        if is_live(path):
            return OK, "socket", f"{path}: a gateway is running"
    except FileNotFoundError:
        return OK, "socket", f"{path} is free"
    return OK, "socket", f"{path} is left over from a crash and will be replaced"


def _directory(subject: str, directory: Path) -> Finding:
    there = next(path for path in (directory, *directory.parents) if path.exists())
    if not there.is_dir():
        return Finding(ERROR, subject, f"{there} is not a directory; remove it or change {subject}")
    if not os.access(there, os.W_OK | os.X_OK):
        if there != directory:
            hint = f"install -d -m 0750 -o {_user()} {directory}"
            text = f"directory {directory} is missing, and {_user()} can't make it; {hint}"
            return Finding(ERROR, subject, text)
        hint = "check as the gateway's user, or change its owner"
        return Finding(ERROR, subject, f"directory {there} is not writable by {_user()}; {hint}")
    if there != directory:
        return Finding(
            OK, subject, f"directory {directory} doesn't exist yet; the gateway creates it"
        )
    return Finding(OK, subject, f"directory {directory} is writable")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.geteuid()}"
