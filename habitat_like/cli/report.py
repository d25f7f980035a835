"""``habitat report``: what happened on a day, as text or HTML, fit for a mail from cron.

Works on the journal's file, beside a running gateway and without one.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from collections.abc import Iterator, Sequence

import click

from habitat_like.cli import options
from habitat_like.cli.text import printable
from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.journal.file import open_file
from habitat_like.statistics import troubles
from habitat_like.statistics.day import KNOWN_DAYS, Day, facts
from habitat_like.statistics.reader import StatisticsReader
from habitat_like.statistics.rows import NetworkSum
from habitat_like.statistics.tables import DAY
from habitat_like.statistics.words import plural

#: Stations and reasons in one list; the rest is a number.
LONGEST_LIST = 50
#: Characters of a dead letter's reason.
REASON = 100


def read_day(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """An option's callback: the first second of a day in UTC. Raises click.BadParameter."""
    today = int(time.time()) // DAY * DAY
    word = value.strip().lower()
    if word in ("today", "yesterday"):
        return today - DAY * (word == "yesterday")
    try:
        day = datetime.date.fromisoformat(word)
        begin = datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()
    except ValueError:
        text = f"{value!r} is not a day; write yesterday, today or a date such as 2026-11-21"
        raise click.BadParameter(text, ctx, param) from None
    if begin > today:
        raise click.BadParameter(f"{value} is in the future", ctx, param)
    return int(begin)


@click.command(
    cls=options.Command,
    epilog=(
        "\b\n"
        "Examples: habitat report --day yesterday | mail -s 'habitat' operator@example.org\n"
        "          habitat report --day 2026-11-21 --format html > report.html"
    ),
)
@options.config_option
@click.option(
    "--day",
    "begin",
    metavar="DAY",
    default="yesterday",
    callback=read_day,
    help="yesterday, today or a date such as 2026-11-21, in UTC. [default: yesterday]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "html"]),
    default="text",
    help="text, or html: a self-contained page. [default: text]",
)
def command(config_path: str | None, begin: int, form: str) -> None:
    """Print a summary of a day: messages, stations, errors, dead letters, disk space.

    Days are UTC days. Works on the journal's file, whether or not a gateway is running.
    """
    config = options.load_config(config_path)
    path = config.journal.path
    with StatisticsReader(path) as reader, contextlib.closing(open_file(path)) as connection:
        day = facts(reader, DeadLetters(connection), begin, int(time.time()))
    gateway = config.gateway.machine_code
    if form == "html":
        sys.stdout.buffer.write(_html(day, gateway).encode())
    else:
        for line in _text(day, gateway):
            click.echo(printable(line))


def concerns(day: Day) -> list[str]:
    """What an operator should look at, one sentence each; the worst first."""
    found = []
    if not day.messages:
        found.append("No messages arrived.")
    elif day.is_over and day.messages * 2 < day.before:
        found.append(f"Only {day.messages} messages arrived, after {day.before} the day before.")
    if failed := sum(one.requests for one in day.errors if one.status >= 500):
        found.append(f"Requests that could not be served (status 5xx): {failed}.")
    wrong = [*troubles.disks(day.disks), *troubles.dead_letters(day.waiting)]
    found += [one.text for one in wrong]
    if day.absent:
        since = "yet " if not day.is_over else ""
        found.append(
            f"{_number(len(day.absent), 'station')} heard in the {KNOWN_DAYS} days before"
            f" {'was' if len(day.absent) == 1 else 'were'} not heard {since}that day."
        )
    return found


def _text(day: Day, gateway: str) -> Iterator[str]:
    """The report's lines."""
    yield f"habitat report for {date(day.begin)} (UTC), gateway {gateway}"
    if not day.is_over:
        yield f"so far: until {clock(day.end)}"
    yield ""
    for concern in concerns(day):
        yield f"! {concern}"
    yield from _table(
        f"Messages: {day.messages} (the day before: {day.before})",
        [(one.type, str(one.messages), f"({one.before})") for one in day.types],
    )
    if day.messages:
        busiest = max(range(len(day.hours)), key=day.hours.__getitem__)
        yield f"  most in the hour from {busiest:02}:00: {day.hours[busiest]}"
    yield from _table(
        f"Stations: {day.heard} heard, {len(day.new)} new, {len(day.absent)} not heard", []
    )
    yield from _table(
        "  Not heard", [(*_who(one.callsign, one.name), date(one.last_day)) for one in day.absent]
    )
    yield from _table(
        "  New", [(*_who(one.callsign, one.name), clock(one.first_heard)) for one in day.new]
    )
    yield from _table("  Most messages", [(one.callsign, str(one.messages)) for one in day.top])
    refused = sum(one.requests for one in day.errors)
    yield from _table(
        f"Requests: {day.requests}, {refused} of them refused",
        [(one.action, str(one.status), str(one.requests)) for one in day.errors],
    )
    latency = day.latency
    if latency.p50 is not None and latency.p99 is not None:
        yield f"  answered within {_ms(latency.p50)} (median), {_ms(latency.p99)} (99 %)"
    if day.networks:
        yield from _table("Networks", [_network(one) for one in day.networks])
    yield from _table(
        f"Dead letters: {sum(one.messages for one in day.dead_letters)}, {day.waiting} in total",
        [(str(one.messages), one.reason[:REASON]) for one in day.dead_letters],
    )
    yield from _table("Machine", machine(day))


def _html(day: Day, gateway: str) -> str:
    """The report as a page."""
    import jinja2  # noqa: PLC0415 (slow to import)

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("habitat_like.cli"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"date": date, "clock": clock, "ms": _ms}
    return environment.get_template("report.html").render(
        day=day,
        gateway=gateway,
        concerns=concerns(day),
        machine=machine(day),
        known_days=KNOWN_DAYS,
        longest=LONGEST_LIST,
        reason=REASON,
    )


def machine(day: Day) -> list[tuple[str, str]]:
    """Name and text of what is known of backlog and disks."""
    rows = []
    if day.largest_backlog is not None:
        rows.append(("largest backlog", _number(day.largest_backlog, "message")))
    for disk in day.disks:
        text = f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB free"
        if disk.days_left is not None and disk.days_left < 10 * 365:
            text += f", full in {disk.days_left:.0f} days"
        elif disk.bytes_per_day is not None:
            text += ", not filling" if disk.days_left is None else ", enough for years"
        rows.append((f"disk of the {disk.place}", text))
    return rows


def date(seconds: int) -> str:
    """A day in UTC, as 2026-11-21."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def clock(seconds: int) -> str:
    """A time of day in UTC, as 14:05."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%H:%M")


def _table(title: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A title and rows below it, in columns; a sub-title without rows is left out."""
    indent = " " * (len(title) - len(title.lstrip()) + 2)
    if indent == "  ":
        yield ""
    elif not rows:
        return
    yield title
    shown = rows[:LONGEST_LIST]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{indent}{'  '.join(cells)}".rstrip()
    if len(rows) > len(shown):
        yield f"{indent}and {len(rows) - len(shown)} more"


def _who(callsign: str, name: str | None) -> tuple[str, str]:
    return callsign, name or ""


def _network(one: NetworkSum) -> tuple[str, ...]:
    """A network's line, in columns; what there was none of is left out."""
    parts = [_number(one.observations, "observation")]
    parts += [f"{one.suspicious} suspicious"] if one.suspicious else []
    parts += [f"{_number(one.problems, 'part')} not accepted"] if one.problems else []
    parts += [f"{_number(one.refused, 'request')} refused"] if one.refused else []
    return one.network, _number(one.requests, "request"), ", ".join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count} {plural(count, noun)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
