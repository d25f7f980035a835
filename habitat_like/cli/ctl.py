"""``habitat ctl``: steers the running gateway over its control socket."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click

from habitat_like.cli import client, options
from habitat_like.cli.text import is_text, printable
from habitat_like.config.keys import ConfigError
from habitat_like.steering.switches import LOG_LEVELS, MAX_SLOW

#: Seconds within which the gateway must say something; during longer work it reports progress.
PATIENCE = 30.0
OFF = "off"
ON_OFF = click.Choice(["on", OFF])


@click.group(name="ctl", epilog="Example: habitat ctl maintenance on --message 'back at noon'")
@options.config_option
def command(config_path: str | None) -> None:
    """Control the running gateway over its control socket.

    The log shows who changed what. Changes last until the gateway's next start, except for
    maintenance, which lasts until it is switched off.
    """


command.command_class = options.Command


@command.command("maintenance", epilog="Example: habitat ctl maintenance on --message 'back at 12'")
@options.config_option
@click.argument("switch", type=ON_OFF, metavar="on|off")
@click.option(
    "--message",
    metavar="TEXT",
    help="The response to stations. To redirect them: '307 https://other.example/message'.",
)
def maintenance(config_path: str | None, switch: str, message: str | None) -> None:
    """Refuse uploads, or accept them again.

    Stations get a 503 with Retry-After, or a redirect. Maintenance survives restarts until it is
    switched off: it is the file 'maintenance' next to the journal.
    """
    if message is not None and switch == OFF:
        raise click.UsageError("--message works only with 'on'")
    if message is not None and not is_text(message):
        raise click.UsageError("--message is not UTF-8 text")
    answer = _ask(config_path, command="maintenance", on=switch == "on", message=message or "")
    now = answer["steering"]["maintenance"]
    if now is None:
        click.echo("no maintenance: uploads are accepted")
    else:
        where = f" {now['location']}" if now["location"] else ""
        click.echo(printable(f"maintenance: uploads get {now['status']}{where}: {now['message']}"))


@command.command("log-level", epilog="Example: habitat ctl log-level debug")
@options.config_option
@click.argument("level", type=click.Choice(LOG_LEVELS), metavar="LEVEL")
def log_level(config_path: str | None, level: str) -> None:
    """Set the log level (debug, info, warning, error) until the next reload or start."""
    answer = _ask(config_path, command="log-level", level=level)
    click.echo(f"log level: {answer['steering']['log_level']}")


def _threshold(ctx: click.Context, param: click.Parameter, value: str) -> float | None:
    if value == OFF:
        return None
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(value)) <= MAX_SLOW:
            return seconds
    text = f"{value!r} is neither 'off' nor a number of seconds from 0 to {MAX_SLOW:g}"
    raise click.BadParameter(text, ctx, param)


@command.command("slow-log", epilog="Example: habitat ctl slow-log 0.5")
@options.config_option
@click.argument("seconds", metavar="SECONDS|off", callback=_threshold)
def slow_log(config_path: str | None, seconds: float | None) -> None:
    """Log each request that takes at least SECONDS, or none."""
    answer = _ask(config_path, command="slow-log", seconds=seconds)
    now = answer["steering"]["slow_log"]
    click.echo("slow log: off" if now is None else f"slow log: requests of {now:g} s or longer")


@command.command("archive-log", epilog="Example: habitat ctl archive-log on")
@options.config_option
@click.argument("switch", type=ON_OFF, metavar="on|off")
def archive_log(config_path: str | None, switch: str) -> None:
    """Log each batch sent to the archive, with its size and time, or none."""
    answer = _ask(config_path, command="archive-log", on=switch == "on")
    click.echo(f"archive log: {'on' if answer['steering']['archive_log'] else OFF}")


@command.command("reload", epilog="Example: habitat ctl reload")
@options.config_option
def reload(config_path: str | None) -> int:
    """Reload the configuration, and print what changed.

    The exit code is 1 if the configuration was refused, or a sink could not be changed.
    """
    try:
        answer = _ask(config_path, command="reload")
    except ConfigError as error:
        # The gateway would say the same of its file, and can't be found without it.
        raise click.ClickException(f"not reloaded, the old configuration stays: {error}") from None
    click.echo(f"changed: {printable(', '.join(answer['changed'])) or 'nothing'}")
    if answer["restart"]:
        click.echo(f"needs a restart: {printable(', '.join(answer['restart']))}")
    for problem in answer["problems"]:
        click.echo(f"habitat: {printable(problem)}", err=True)
    return int(bool(answer["problems"]))


@command.command("drain", epilog="Example: habitat ctl drain --timeout 300")
@options.config_option
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, 100_000_000),
    help="Stop after this many seconds in any case. [default: wait as long as it takes]",
)
def drain(config_path: str | None, timeout: float | None) -> None:
    """Refuse uploads, wait until the archive has all messages, then stop the gateway.

    If some are left when the time is up, they stay in the journal for the next start, and this
    command and the gateway exit with code 1. Ctrl-C ends this command, not the drain.
    """
    left = 0
    with _counter() as show:
        for answer in _answers(config_path, command="drain", timeout=timeout):
            if "progress" in answer:
                show(answer["progress"]["backlog"])
            else:
                left = answer["left"]
    if left:
        raise click.ClickException(
            f"the gateway has stopped; {left} messages are left in the journal for its next start"
        )
    click.echo("drained: the archive has all messages, and the gateway has stopped")


@contextlib.contextmanager
def _counter() -> Iterator[Any]:
    """A function that shows on a terminal how many messages are left."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 (slow to import, seldom used)

    with Console(stderr=True).status("draining") as status:
        yield lambda left: status.update(f"draining: {left} messages are left")


def _ask(config_path: str | None, **request: Any) -> dict[str, Any]:
    """The gateway's last answer. Raises click.ClickException."""
    *_, answer = _answers(config_path, **request)
    return answer


def _answers(config_path: str | None, **request: Any) -> Iterator[dict[str, Any]]:
    path = options.load_config(config_path).control.socket
    try:
        yield from client.converse(path, request, PATIENCE)
    except client.GatewayError as error:
        raise click.ClickException(str(error)) from None
