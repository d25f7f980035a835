"""What the subcommands share: the configuration option, errors as one line, checked values."""

from __future__ import annotations

import functools
import inspect
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from habitat_like import archive, times
from habitat_like import config as configuration
from habitat_like.archive.base import ArchiveError
from habitat_like.config.imports import make_importable
from habitat_like.config.keys import Config, ConfigError
from habitat_like.export.selection import Box, Selection, Telling, parse_box
from habitat_like.journal.file import JournalError
from habitat_like.message.message import InvalidMessage, Listener, check_type_name
from habitat_like.message.types import Registry, load_types
from habitat_like.times import MAX_TIME

#: The value of ``--limit`` that means no limit.
ALL = "all"

Function = TypeVar("Function", bound=Callable[..., Any])


class ConfigurationFailure(click.ClickException):
    """The configuration can't be used; exit code 2."""

    exit_code = 2


class Command(click.Command):
    """A subcommand whose expected failures become one line on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises click.ClickException for what can go wrong outside of us."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise ConfigurationFailure(str(error)) from None
        except (ArchiveError, JournalError) as error:
            raise click.ClickException(str(error)) from None
        except sqlite3.Error as error:
            raise click.ClickException(f"journal: {error}") from None


class Named(click.Path):
    """A path that has to be given: an empty one, of a variable that is not set, is no directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises click.BadParameter for an empty one."""
        if value == "":
            self.fail("it is empty; name a directory", param, ctx)
        return super().convert(value, param, ctx)


def config_option(function: Function) -> Function:
    """Add ``--config`` to a subcommand, as its argument ``config_path``."""
    return click.option(
        "--config",
        "config_path",
        metavar="PATH",
        help="The configuration file. [default: $HABITAT_CONFIG or /etc/habitat/config.yml]",
    )(function)


def chosen_path(config_path: str | None) -> str | None:
    """The ``--config`` of the subcommand, else that of ``habitat`` or of a group in between."""
    context = click.get_current_context().parent
    while config_path is None and context is not None:
        config_path = context.params.get("config_path") or context.params.get("config")
        context = context.parent
    return config_path


def load_config(config_path: str | None) -> Config:
    """The configuration that the command line chooses. Raises ConfigError."""
    chosen = chosen_path(config_path)
    config = configuration.load(chosen)
    make_importable(chosen)
    try:
        archive.check(config.archive)
    except ConfigError as error:
        raise error.at(configuration.origin(error.key, chosen)) from None
    return config


def ask_password(what: str = "password") -> str:
    """A password or other secret: asked for on a terminal, elsewhere a line of standard input.

    Raises click.UsageError for an empty one.
    """
    if sys.stdin.isatty():
        password: str = click.prompt(
            what.capitalize(), hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError(f"The {what} is empty")
    return password


def callsign_option(function: Function) -> Function:
    """Add ``--callsign``, checked and in upper case, as the archive has it."""
    return click.option(
        "--callsign",
        metavar="CALLSIGN",
        callback=_callsign,
        help="Only messages of this station (case doesn't matter).",
    )(function)


def type_option(function: Function) -> Function:
    """Add ``--type``, as the argument ``type_``."""
    return click.option(
        "--type",
        "type_",
        metavar="TYPE",
        callback=_message_type,
        help="Only messages of this type, such as RECEIVED_TELEM.",
    )(function)


def suspicious_option(function: Function) -> Function:
    """Add ``--suspicious``."""
    return click.option(
        "--suspicious",
        is_flag=True,
        help="Include suspicious messages, whose date can't be right.",
    )(function)


def selection_option(function: Function) -> Function:
    """Add ``--payload``, ``--network`` and ``--box``, as one argument ``selection``."""

    @functools.wraps(function)
    def with_selection(
        *, payload: str | None, network: str | None, box: Box | None, **arguments: Any
    ) -> Any:
        selection = Selection(payload=payload, network=network, box=box)
        return function(selection=selection, **arguments)

    for name, metavar, callback, text in reversed(_SELECTING):
        add = click.option(name, metavar=metavar, callback=callback, help=text)
        with_selection = add(with_selection)
    return cast(Function, with_selection)


def facts_of(config: Config) -> Telling:
    """What tells the facts of documents, of the operator's own types too. Raises ConfigError."""
    try:
        return Registry(load_types(config.types)).facts
    except ValueError as error:
        raise ConfigError(str(error), "types") from None


def times_option(callback: Callable[..., Any]) -> Callable[[Function], Function]:
    """Add ``--since`` and ``--until``, each checked by ``callback``, None where not given."""

    def add(function: Function) -> Function:
        until = click.option(
            "--until",
            metavar="TIME",
            callback=callback,
            help="Only messages created before this time.",
        )
        since = click.option(
            "--since",
            metavar="TIME",
            callback=callback,
            help="Only messages created at this time or later.",
        )
        return since(until(function))

    return add


def check_times(since: int | None, until: int | None) -> tuple[int, int]:
    """The bounds of a query in UNIX seconds, None being all of time. Raises click.UsageError."""
    bounds = since or 0, MAX_TIME + 1 if until is None else until
    if bounds[0] > bounds[1]:
        raise click.BadOptionUsage("since", "--since is later than --until, nothing can match")
    return bounds


def explain_times(command: click.Command) -> None:
    """Say in the command's help what a TIME can be."""
    command.help = f"{inspect.cleandoc(command.help or '')}\n\nA TIME is {times.FORMS}."


def check_time(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """An option's callback: as ``read_time``, but gives the text."""
    read_time(ctx, param, value)
    return value


def read_time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """An option's callback: the point in time in UNIX seconds. Raises click.BadParameter."""
    if value is None:
        return None
    try:
        return times.parse(value, time.time())
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def read_limit(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """An option's callback: a number of messages, 0 for ``all``. Raises click.BadParameter."""
    if value is None:
        return None
    if value == ALL:
        return 0
    if not re.fullmatch(r"[0-9]{1,18}", value) or int(value) == 0:
        text = f"{value!r} is neither a number from 1 up nor 'all'"
        raise click.BadParameter(text, ctx, param)
    return int(value)


def _box(ctx: click.Context, param: click.Parameter, value: str | None) -> Box | None:
    try:
        return None if value is None else parse_box(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


_SELECTING: tuple[tuple[str, str, Any, str], ...] = (
    ("--payload", "NAME", None, "Only messages about this payload, such as a balloon."),
    ("--network", "NAME", None, "Only messages that came over this network, such as sondehub."),
    ("--box", "W,S,E,N", _box, "Only messages with a position in this box of degrees."),
)


def _callsign(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return Listener(value).callsign
    except InvalidMessage:
        raise click.BadParameter(
            f"{value!r} can't be a callsign (1 to 64 of A-Z a-z 0-9 / _ -)", ctx, param
        ) from None


def _message_type(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        check_type_name(value.upper())
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return value.upper()
