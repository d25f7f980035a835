"""``habitat archive``: what the archive has, month by month, and what of it can go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

import click
import msgspec

from habitat_like import times
from habitat_like.archive import open_archive
from habitat_like.archive.base import (
    AgingArchive,
    Archive,
    ArchiveError,
    Dropped,
    ListedArchive,
    Portion,
)
from habitat_like.archive.months import MONTH, UNDATED
from habitat_like.cli import options, output
from habitat_like.config.keys import Config
from habitat_like.statistics.words import many, size

#: The shortest age that can be given, in seconds: a message that came in late is a day old soon.
LEAST = 86400
#: Of the time that dropping takes, this share is left to the gateway.
REST = 0.5


@click.group(name="archive", epilog="Example: habitat archive ls", no_args_is_help=False)
@options.config_option
def command(config_path: str | None) -> None:
    """List what is archived, month by month, and drop what is old.

    The gateway drops by itself what is older than archive.keep.
    """


command.command_class = options.Command


@command.command("ls", epilog="Example: habitat archive ls --json")
@options.config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def ls(config_path: str | None, as_json: bool) -> None:
    """List the archive's months: messages, bytes on disk, the first and the last message.

    With a database for each month these are databases, and 'undated' is the one for messages whose
    time can't be right.
    """
    with _opened(options.load_config(config_path)) as archive:
        if not isinstance(archive, ListedArchive):
            raise click.ClickException(f"{archive.name} can't be listed")
        found = list(archive.portions())
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    output.print_small_table(("month", "messages", "bytes", "first", "last"), _rows(found))
    if not found:
        click.echo("the archive is empty", err=True)


@command.command("make", epilog="Example: habitat archive make 2027-01 2027-02")
@options.config_option
@click.argument("months", metavar="MONTH...", nargs=-1, required=True)
def make(config_path: str | None, months: tuple[str, ...]) -> None:
    """Make the databases of months, with indexes and rights, as an admin of CouchDB.

    The gateway makes them itself where its account may. MONTH is such as 2027-01, or 'undated'.
    """
    from habitat_like.archive.couch_months import MonthlyArchive  # noqa: PLC0415 (only for CouchDB)

    _check(months)
    with _opened(options.load_config(config_path)) as archive:
        if not isinstance(archive, MonthlyArchive):
            raise click.ClickException(f"{archive.name} has no database for each month")
        for month in months:
            for warning in archive.make(month):
                click.echo(f"habitat archive: {warning}", err=True)
            click.echo(f"{month} is ready")


@command.command(
    "drop",
    epilog=(
        "\b\n"
        "Examples: habitat archive drop --older 365d --dry-run\n"
        "          habitat archive drop 2024-03 --yes"
    ),
)
@options.config_option
@click.argument("months", metavar="[MONTH]...", nargs=-1)
@click.option("--older", metavar="AGE", help="Drop what is older than this, such as 365d.")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
def drop(
    config_path: str | None, months: tuple[str, ...], older: str | None, dry_run: bool, yes: bool
) -> None:
    """Delete old messages from the archive for good.

    --older goes by the time a message was created. In CouchDB whole months go, once their last
    message is that old; MONTH names one, whatever its age. Export first what you may still need.
    """
    if bool(months) == (older is not None):
        raise click.UsageError("Give either months or --older AGE")
    _check(months)
    before = 0 if older is None else _before(older)
    with _opened(options.load_config(config_path)) as archive:
        if not isinstance(archive, AgingArchive):
            raise click.ClickException(
                f"{archive.name} drops nothing: in CouchDB that wants a database for each month"
            )
        doomed = list(archive.expired(before) if older else _named(archive, months))
        output.print_small_table(("month", "messages", "bytes", "first", "last"), _rows(doomed))
        total = sum(one.messages for one in doomed)
        if dry_run or not doomed:
            click.echo(f"{many(total, 'message')} would go" if doomed else "nothing is that old")
            return
        if not yes:
            click.confirm(f"Delete {many(total, 'message')} for good?", abort=True, err=True)
        _drop(archive.drop(month) for month in months) if months else _drop(_steps(archive, before))


def _check(months: Iterable[str]) -> None:
    for month in months:
        if not MONTH.fullmatch(month) and month != UNDATED:
            raise click.UsageError(f"{month!r} is not a month such as 2026-11, nor {UNDATED!r}")


def _before(older: str) -> int:
    """The UNIX time before which all goes. Raises click.BadOptionUsage."""
    try:
        age = times.parse_length(older)
    except ValueError as error:
        raise click.BadOptionUsage("older", f"--older: {error}") from None
    if age < LEAST:
        raise click.BadOptionUsage("older", "--older: at least 1d; what comes in late must stay")
    return max(int(time.time() - age), 0)


def _named(archive: AgingArchive, months: tuple[str, ...]) -> Iterator[Portion]:
    known = {one.name: one for one in archive.portions()}
    for month in months:
        if month not in known:
            raise click.ClickException(f"there is no {month}; see habitat archive ls")
        yield known[month]


def _steps(archive: AgingArchive, before: int) -> Iterator[Dropped]:
    """Drop step by step, and leave time for the gateway in between."""
    while True:
        begun = time.monotonic()
        done = archive.drop_before(before)
        yield done
        if not done.more:
            return
        time.sleep(min((time.monotonic() - begun) * REST / (1 - REST), 1.0))


def _drop(steps: Iterable[Dropped]) -> None:
    total = 0
    kept: tuple[str, ...] = ()
    try:
        for done in steps:
            total, kept = total + done.messages, done.kept
    except ArchiveError as error:
        raise click.ClickException(f"{error}; {many(total, 'message')} went before") from None
    click.echo(f"dropped {many(total, 'message')}")
    if kept:
        raise click.ClickException("; ".join(kept))


def _rows(portions: Iterable[Portion]) -> list[tuple[str, ...]]:
    return [
        (
            one.name,
            f"{one.messages:,}",
            "-" if one.bytes is None else size(one.bytes),
            *("-" if at is None else times.show(int(at)) for at in (one.first, one.last)),
        )
        for one in portions
    ]


def _opened(config: Config) -> contextlib.closing[Archive]:
    return contextlib.closing(open_archive(config.archive))
