"""``habitat doctor``: looks for what keeps uploads from working, from the outside in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from habitat_like.cli import options
from habitat_like.cli.check import COLOURS
from habitat_like.cli.doctor import gateway, places
from habitat_like.cli.doctor.front import Front, rights
from habitat_like.cli.doctor.seen import ERROR, OK, WARNING, Machine, Seen
from habitat_like.cli.text import printable
from habitat_like.config.file import DEFAULT_PATH, find
from habitat_like.config.keys import ConfigError

#: What `habitat check` finds, in the order in which a message passes it; the rest comes before.
ORDER = ("journal.path", "journal", "clock", "archive.password_file", "archive.uri", "archive")


@click.command(cls=options.Command, epilog="Example: habitat doctor")
@options.config_option
def command(config_path: str | None) -> int:
    """Look for what keeps uploads from working, and say how to mend the first thing.

    From the outside in: DNS name, port, nginx and its rights on the socket, the gateway, journal,
    disks, clock, archive, certificate. Changes nothing. Run it as root. The exit code is 0 if
    nothing is wrong, though there may be warnings, 1 if something is, 2 if the configuration
    can't be used.
    """
    chosen = options.chosen_path(config_path)
    path = (find(chosen) or Path(DEFAULT_PATH)).absolute()
    try:
        config = options.load_config(config_path)
    except ConfigError as error:
        seen = Seen(ERROR, "configuration", str(error), f"editor {path} && {_restart(path)}")
        _show(seen)
        _tell_first(seen)
        return 2
    first = None
    for seen in _all(Machine(config, path)):
        _show(seen)
        if first is None and seen.mark == ERROR:
            first = seen
    if first is None:
        click.echo("\nNothing is wrong.")
        return 0
    _tell_first(first)
    return 1


def _all(machine: Machine) -> Iterator[Seen]:
    """Everything that is seen, from the outside in."""
    front = Front(machine)
    yield from front.look()
    yield from rights(machine)
    yield from gateway.look(machine)
    # What the gateway's user finds wrong, each in its place; what is well says little here.
    found = [seen for seen in gateway.check(machine) if seen.mark != OK]
    yield from (seen for seen in found if seen.subject not in ORDER)
    yield from (seen for seen in found if seen.subject in ORDER[:2])
    yield from places.disks(machine)
    yield from (seen for seen in found if seen.subject in ORDER[2:3])
    yield from places.clock()
    yield from (seen for seen in found if seen.subject in ORDER[3:])
    yield from front.certificates()


def _restart(path: Path) -> str:
    unit = "habitat" if path.name == "config.yml" else f"habitat@{path.stem}"
    return f"systemctl restart {unit}.socket {unit}"


def _show(seen: Seen) -> None:
    mark = click.style(f"{'wrong' if seen.mark == ERROR else seen.mark:8}", fg=COLOURS[seen.mark])
    click.echo(f"{mark} {seen.subject}: {printable(' '.join(seen.text.split()))}")
    if seen.mark == WARNING and seen.mend:
        click.echo(f"         {printable(seen.mend)}")


def _tell_first(seen: Seen) -> None:
    click.echo(f"\nMend this first: {printable(' '.join(seen.text.split()))}\n")
    click.echo(f"  {printable(seen.mend)}\n")
    click.echo("Then run habitat doctor again.")
