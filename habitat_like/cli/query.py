"""``habitat query``: prints archived messages."""

from __future__ import annotations

import contextlib
import itertools
import sys
from typing import Literal

import click

from habitat_like.archive import open_archive
from habitat_like.archive.base import Query, to_json
from habitat_like.cli import options, output
from habitat_like.cli.progress import Counted, with_progress
from habitat_like.export.selection import BUILT_IN, Selection, selected

#: Messages in a table when ``--limit`` doesn't say; the other forms are for programs and have all.
TABLE_LIMIT = 100


@click.command(
    cls=options.Command,
    epilog=(
        "\b\n"
        "Examples: habitat query --callsign M0ZDR --since '2h ago'\n"
        "          habitat query --since yesterday --until today --format csv > day.csv"
    ),
)
@options.config_option
@options.callsign_option
@options.type_option
@options.suspicious_option
@options.selection_option
@options.times_option(options.read_time)
@click.option(
    "--limit",
    metavar="N|all",
    callback=options.read_limit,
    help=f"At most N messages. [default: {TABLE_LIMIT} in a table on a terminal, else all]",
)
@click.option(
    "--order",
    type=click.Choice(["asc", "desc"]),
    default="desc",
    help="asc: oldest first; desc: newest first. [default: desc]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "ndjson", "csv"]),
    default="table",
    help=(
        "table: for people, with local times; json: one array; ndjson: one document per line;"
        " csv: with a header and data as JSON. [default: table]"
    ),
)
def command(
    *,
    config_path: str | None,
    callsign: str | None,
    type_: str | None,
    suspicious: bool,
    selection: Selection,
    since: int | None,
    until: int | None,
    limit: int | None,
    order: Literal["asc", "desc"],
    form: str,
) -> None:
    """Print archived messages, by default newest first.

    They are printed while they are read, so any number of them needs little memory.
    """
    since, until = options.check_times(since, until)
    cut = TABLE_LIMIT if limit is None and form == "table" and sys.stdout.isatty() else None
    # One more than is shown by default tells whether there are more.
    wanted = cut + 1 if cut is not None else limit or None
    query = Query(
        callsign=callsign,
        type=type_,
        since=since,
        until=until,
        limit=wanted,
        order=order,
        suspicious=suspicious,
    )
    config = options.load_config(config_path)
    facts = options.facts_of(config) if selection else BUILT_IN
    with contextlib.closing(open_archive(config.archive)) as archive:
        found = selected(archive, query, selection, facts)
        # On one terminal the messages themselves show how far it is.
        away = not sys.stdout.isatty()
        if form in ("json", "ndjson"):
            raw = map(to_json, found) if selection else archive.lines(query)
            lines = with_progress(raw, "messages", query.limit, shown=away)
            output.print_lines(lines, array=form == "json")
            return
        counted = Counted(found)
        documents = with_progress(
            itertools.islice(counted, cut), "messages", query.limit, shown=away
        )
        output.print_documents(documents, form, suspicious=suspicious)
        if cut is not None and counted.more():
            click.echo(f"only the first {cut} are shown; --limit all shows all", err=True)
        elif not counted.count and form == "table":
            click.echo("no message matches", err=True)


options.explain_times(command)
