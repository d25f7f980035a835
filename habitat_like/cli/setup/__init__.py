"""``habitat setup``: makes a server of this machine, step by step, as often as one likes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from habitat_like.archive.base import ArchiveError
from habitat_like.archive.couch_uri import parse
from habitat_like.cli import options
from habitat_like.cli.setup import nginx, shipped, trial
from habitat_like.cli.setup.configuration import ConfigurationStep, values
from habitat_like.cli.setup.console_user import ConsoleUserStep
from habitat_like.cli.setup.couch import CouchStep
from habitat_like.cli.setup.effects import Doing, Effects, SetupError, Showing, read
from habitat_like.cli.setup.nginx import NginxStep
from habitat_like.cli.setup.step import Step, take, tell
from habitat_like.cli.setup.system import (
    CommandStep,
    LogrotateStep,
    ServiceStep,
    UnitsStep,
    UserStep,
)
from habitat_like.cli.setup.wanted import STATE, USER, Tls, Wanted
from habitat_like.config.keys import ArchiveConfig, ConfigError
from habitat_like.console.users import check_name

LOCK = Path("/run/habitat-setup.lock")
EMBEDDED = "sqlite"
EMBEDDED_URI = f"sqlite:{STATE}/archive.sqlite"
#: A host's name, as DNS and nginx take it.
NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


@click.command(
    cls=options.Command,
    epilog=(
        "\b\n"
        "Examples: habitat setup\n"
        "          habitat setup --yes --archive sqlite --server-name habitat.example.org\n"
        "          habitat setup --dry-run --yes"
    ),
)
@options.config_option
@click.option("--yes", is_flag=True, help="Ask nothing: take the options, else what is there.")
@click.option("--dry-run", is_flag=True, help="Print every file and command, and do nothing.")
@click.option(
    "--archive",
    metavar="WHERE",
    help="sqlite, sqlite:PATH, or couchdb://host:5984/database. [default: sqlite]",
)
@click.option("--admin", metavar="NAME", help="CouchDB's admin, for once. [default: admin]")
@click.option(
    "--admin-password-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file with the admin's password, for once; else it is asked for.",
)
@click.option(
    "--server-name",
    "names",
    metavar="NAME",
    multiple=True,
    help="The server's name in DNS; may be given again. [default: this host's]",
)
@click.option("--tls-cert", metavar="FILE", help="The certificate with its chain (PEM).")
@click.option("--tls-key", metavar="FILE", help="The certificate's key (PEM).")
@click.option(
    "--console-user", metavar="NAME", help="The console's first user. [default: operator]"
)
@click.option("--no-console", is_flag=True, help="Leave the console as it is.")
def command(
    *,
    config_path: str | None,
    yes: bool,
    dry_run: bool,
    archive: str | None,
    admin: str | None,
    admin_password_file: Path | None,
    names: tuple[str, ...],
    tls_cert: str | None,
    tls_key: str | None,
    console_user: str | None,
    no_console: bool,
) -> None:
    """Make a server of this machine: gateway, nginx, archive, console. Run it as root.

    Asks on a terminal. Every step is taken only if it isn't done yet, so it can be run again, to
    change something, after an upgrade, or when it was interrupted. At the end a message goes
    through nginx and is found in the archive.
    """
    config = Path(options.chosen_path(config_path) or shipped.CONFIG).absolute()
    asks = not yes and sys.stdin.isatty()
    if not (asks or yes or dry_run):
        raise click.UsageError("There is no terminal to ask on; give --yes, and options")
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if no_console and console_user is not None:
        raise click.UsageError("--console-user and --no-console exclude each other")
    if os.geteuid() != 0 and not dry_run:
        raise click.ClickException("run it as root, such as with sudo habitat setup")
    try:
        with _locked(dry_run):
            known_names, known_tls = nginx.present()
            archive = archive or _ask(
                asks, "Archive (sqlite, or couchdb://host:5984/database)", _present_archive(config)
            )
            names = names or known_names or _names(_ask(asks, "Server's name", _own_name()))
            tls = Tls(tls_cert, tls_key) if tls_cert and tls_key else known_tls
            wanted = Wanted(
                config=config,
                program=shipped.program(),
                archive=_archive_uri(archive, config),
                names=_names(" ".join(names)),
                tls=tls,
                console_user=None if no_console else console_user or "operator",
                admin=admin,
                admin_password=admin_password_file,
                may_ask=asks,
            )
            _check(wanted)
            _set_up(wanted, Showing() if dry_run else Doing())
    except (SetupError, ArchiveError) as error:
        raise click.ClickException(f"{error} (then run habitat setup again)") from None


def steps(wanted: Wanted) -> list[Step]:
    """The steps, in their order."""
    found: list[Step] = [UserStep(), CommandStep(wanted.program)]
    if wanted.has_couch:
        found.append(CouchStep(wanted))
    found.append(ConfigurationStep(wanted))
    if wanted.console_user is not None:
        found.append(ConsoleUserStep(wanted))
    units = UnitsStep(wanted.program, wanted.config)
    return [*found, units, LogrotateStep(), ServiceStep(wanted), NginxStep(wanted)]


def _set_up(wanted: Wanted, effects: Effects) -> None:
    changes = take(steps(wanted), effects)
    if not effects.is_real:
        click.echo(f"\n{changes} steps to take; nothing is done. A message would be sent at last.")
        return
    tell("ok", "green", f"trial: {trial.send(wanted)}")
    if not changes:
        click.echo("\nNothing had to be changed.")
    trial.tell(wanted)


def _present_archive(config: Path) -> str:
    """The archive that is configured, if it was ever set up, else the embedded one."""
    found = values(read(config) or "")
    uri, password = found.get("archive.uri"), found.get("archive.password_file")
    if not uri or (password and not Path(password).exists()):
        return EMBEDDED
    return str(uri)


def _archive_uri(text: str, config: Path) -> str:
    """The ``archive.uri`` for an answer. Raises click.UsageError."""
    if text == EMBEDDED:
        present = str(values(read(config) or "").get("archive.uri") or "")
        return present if present.startswith("sqlite:") else EMBEDDED_URI
    if text.startswith("sqlite:"):
        if not text.startswith(f"sqlite:{STATE}/"):
            raise click.UsageError(
                f"--archive: {text}: the service may write only below {STATE}: name a file there"
            )
        return text
    try:
        uri = parse(ArchiveConfig(uri=text))
    except ConfigError as error:
        raise click.UsageError(f"--archive: {error.reason}, and not {EMBEDDED}") from None
    if uri.password is not None:
        raise click.UsageError("--archive: leave the password out; the account gets one of its own")
    return f"{uri.scheme}://{uri.user or USER}@{uri.netloc}/{uri.database}"


def _names(text: str) -> tuple[str, ...]:
    """The names in an answer. Raises click.UsageError."""
    found = tuple(text.split())
    for name in found:
        if not NAME.fullmatch(name):
            raise click.UsageError(f"--server-name: {name!r} is not a host's name")
    return found


def _own_name() -> str:
    """This host's name, if it is one of the DNS, else none."""
    name = socket.getfqdn()
    return name if "." in name and NAME.fullmatch(name) and not name.startswith("localhost") else ""


def _check(wanted: Wanted) -> None:
    """Raise SetupError or click.UsageError for answers that can't be right."""
    if wanted.console_user is not None:
        try:
            check_name(wanted.console_user)
        except ValueError as error:
            raise click.UsageError(f"--console-user: {error}") from None
    if wanted.tls is not None:
        for path in (wanted.tls.certificate, wanted.tls.key):
            if not re.fullmatch(r"/[\w/.@+-]+", path):
                raise click.UsageError(f"--tls-cert and --tls-key: {path!r} is no absolute path")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                wanted.tls.certificate, wanted.tls.key
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise SetupError(
                f"{wanted.tls.certificate} and {wanted.tls.key} are no certificate and its key"
                f" ({reason})"
            ) from None


def _ask(asks: bool, question: str, default: str) -> str:
    if not asks:
        return default
    answer: str = click.prompt(question, default=default, err=True)
    return answer


@contextlib.contextmanager
def _locked(dry_run: bool) -> Iterator[None]:
    """Let one setup run at a time. Raises SetupError."""
    if dry_run:
        yield
        return
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError("another habitat setup is running; wait for it") from None
        yield
