"""``habitat stations``: who was heard, and who fell silent.

Works on the statistics in the journal's file, beside a running gateway and without one.
"""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec

from habitat_like import times
from habitat_like.cli import options, output
from habitat_like.cli.text import printable
from habitat_like.export.csv_form import guard
from habitat_like.message.message import InvalidMessage, Listener
from habitat_like.statistics.reader import SORTS, StatisticsReader
from habitat_like.statistics.rows import HeardStation

NEVER = "-"
#: Sorted from A to Z without ``--order``; the rest from the largest and newest.
#: What a station chooses freely, and everything sorted from A to Z.
_FREE = ("name", "location", "radio", "antenna")
_TEXTS = ("callsign", "ip", *_FREE)


@click.group(epilog="Example: habitat stations silent --for 2h", no_args_is_help=False)
@options.config_option
def command(config_path: str | None) -> None:
    """List the stations that were heard, or the silent ones.

    This shows stations of every network, from the gateway's statistics. 'habitat station' manages
    the identities and secrets of stations of other networks.
    """


command.command_class = options.Command


def read_length(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """An option's callback: a length of time in seconds. Raises click.BadParameter."""
    try:
        return times.parse_length(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@command.command(
    "ls",
    epilog=(
        "\b\n"
        "Examples: habitat stations ls --sort last_heard --limit 20\n"
        "          habitat stations ls --search ann --format csv > stations.csv"
    ),
)
@options.config_option
@click.option("--search", metavar="TEXT", help="Only stations with TEXT in their callsign or name.")
@click.option(
    "--sort",
    metavar="COLUMN",
    type=click.Choice(SORTS),
    default="callsign",
    help=f"Sort by one of {', '.join(SORTS)}. [default: callsign]",
)
@click.option(
    "--order",
    type=click.Choice(["asc", "desc"]),
    help="[default: text from A to Z, numbers and times from the largest and newest]",
)
@click.option(
    "--limit",
    metavar="N|all",
    callback=options.read_limit,
    help="At most N stations. [default: all]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "ndjson", "csv"]),
    default="table",
    help="table: for people, with local times; json: one array; ndjson: one per line. "
    "[default: table]",
)
def ls(
    config_path: str | None,
    search: str | None,
    sort: str,
    order: str | None,
    limit: int | None,
    form: str,
) -> None:
    """List the stations that were heard.

    'today' is since 00:00 UTC; 'clock' is how many seconds a station's clock is ahead.
    """
    is_descending = order == "desc" if order else sort not in _TEXTS
    with _reader(config_path) as reader:
        page = reader.stations(search, sort, descending=is_descending, limit=limit or -1)
    if form in ("json", "ndjson"):
        output.print_lines(map(msgspec.json.encode, page.stations), array=form == "json")
    elif form == "csv":
        _print_csv(page.stations)
    else:
        header = ("callsign", "name", "last heard", "today", "messages", "clock", "radio")
        output.print_table(header, map(_cells, page.stations))
        if not page.stations:
            click.echo("no station matches" if search else "no station was heard yet", err=True)


@command.command("show", epilog="Example: habitat stations show M0ZDR")
@options.config_option
@click.argument("callsign", metavar="CALLSIGN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(config_path: str | None, callsign: str, as_json: bool) -> None:
    """Show what is known about one station.

    Exit code 1 if it was never heard.
    """
    try:
        callsign = Listener(callsign).callsign
    except InvalidMessage as error:
        raise click.UsageError(str(error)) from None
    with _reader(config_path) as reader:
        station = reader.station(callsign)
    if station is None:
        raise click.ClickException(
            f"{callsign} was never heard; see 'habitat stations ls --search TEXT'"
        )
    if as_json:
        sys.stdout.buffer.write(output.encode_for(_plain(station), sys.stdout.isatty()) + b"\n")
        return
    for name, value in _lines(station, time.time()):
        click.echo(f"{name:13}{printable(value)}")


@command.command(
    "silent",
    epilog="Example (for cron): habitat stations silent --for 2h --known 7d",
)
@options.config_option
@click.option(
    "--for",
    "length",
    metavar="LENGTH",
    default="2h",
    callback=read_length,
    help="Silent means not heard for this long: 90s, 15m, 2h, 7d. [default: 2h]",
)
@click.option(
    "--known",
    metavar="LENGTH",
    default="7d",
    callback=read_length,
    help="Only stations heard within this time; older ones are gone. [default: 7d]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def silent(config_path: str | None, length: float, known: float, as_json: bool) -> int:
    """List the stations that have fallen silent, one per line, longest silent first.

    Exit code 1 if there are any, 0 and no output if there are none.
    """
    if known <= length:
        raise click.BadOptionUsage("known", "--known must be longer than --for")
    now = time.time()
    with _reader(config_path) as reader:
        found = reader.silent(length, known)
    if as_json:
        output.print_lines(map(msgspec.json.encode, found), array=True)
    else:
        for station in found:
            name = f" ({station.name})" if station.name else ""
            heard = times.show(station.last_heard)
            lasts = f" for {times.show_age(now - station.last_heard)}, since {heard}"
            if station.last_heard > now:
                lasts = f"; last heard at {heard}, by a clock that was ahead"
            click.echo(printable(f"{station.callsign}{name} silent{lasts}"))
    return int(bool(found))


def _reader(config_path: str | None) -> StatisticsReader:
    """The statistics of the configured journal. Raises ConfigError, JournalError."""
    return StatisticsReader(options.load_config(config_path).journal.path)


def _plain(station: HeardStation) -> dict[str, Any]:
    return msgspec.structs.asdict(station)


def _cells(station: HeardStation) -> Sequence[str]:
    return (
        station.callsign,
        station.name or NEVER,
        times.show(station.last_heard),
        str(station.messages_today),
        str(station.messages),
        NEVER if station.clock_offset is None else f"{station.clock_offset:+d} s",
        station.radio or NEVER,
    )


def _lines(station: HeardStation, now: float) -> Iterator[tuple[str, str]]:
    """Name and text of each line about a station; what is not known is left out."""
    yield "callsign", station.callsign
    for name in ("name", "location", "radio", "antenna"):
        if value := getattr(station, name):
            yield name, value
    if station.position_time is not None:
        where = f"latitude {station.latitude:.5f}, longitude {station.longitude:.5f}"
        yield "position", f"{where}, altitude {station.altitude:.0f} m"
        yield "", f"at {times.show(station.position_time)}"
    yield "first heard", times.show(station.first_heard)
    age = times.show_age(now - station.last_heard)
    yield "last heard", f"{times.show(station.last_heard)}, {age} ago"
    yield "messages", f"{station.messages}, {station.messages_today} of them today (UTC)"
    if station.clock_offset is not None:
        side = "ahead of" if station.clock_offset > 0 else "behind"
        offset = times.show_age(abs(station.clock_offset))
        yield "clock", f"{offset} {side} the gateway's" if station.clock_offset else "right"
    if station.ip:
        yield "address", station.ip


def _print_csv(stations: Sequence[HeardStation]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")  # writes None as an empty cell
    writer.writerow(SORTS)
    writer.writerows(
        [
            guard(value) if name in _FREE and value else value
            for name, value in _plain(station).items()
        ]
        for station in stations
    )
    # Bytes, as in the other forms for programs: UTF-8 whatever the locale says.
    sys.stdout.buffer.write(text.getvalue().encode())
