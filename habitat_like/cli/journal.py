"""``habitat journal``: what waits in the journal, and what the sinks refused for good.

Works on the journal's file, beside a running gateway and without one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from habitat_like import times
from habitat_like.cli import options, output
from habitat_like.cli.progress import with_progress
from habitat_like.cli.target import whole_file
from habitat_like.cli.text import printable
from habitat_like.config.keys import Config
from habitat_like.journal.dead_letters import MAX_ID, DeadLetters
from habitat_like.journal.inspection import Inspection
from habitat_like.statistics.words import plural

#: A dead letter's id.
NUMBER = click.IntRange(1, MAX_ID)


@click.group(
    name="journal",
    epilog="Example: habitat journal ls",
    no_args_is_help=False,
)
@options.config_option
def command(config_path: str | None) -> None:
    """Show the backlog; list, retry, export and drop dead letters.

    A dead letter is a message that a sink, such as the archive's, refused for good.
    """


command.command_class = options.Command


@command.command("ls", epilog="Example: habitat journal ls --limit 5")
@options.config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0, 1_000_000),
    default=20,
    help="At most N dead letters, the newest. [default: 20]",
)
def ls(config_path: str | None, as_json: bool, limit: int) -> None:
    """Show the backlog, the cursor of each sink, and the dead letters."""
    config = options.load_config(config_path)
    with _inspect(config) as journal:
        facts = _facts(journal, config, limit)
    if as_json:
        sys.stdout.buffer.write(output.encode_for(facts, sys.stdout.isatty()) + b"\n")
    else:
        _print_facts(facts)


@command.command("show", epilog="Example: habitat journal show 7")
@options.config_option
@click.argument("number", metavar="ID", type=NUMBER)
def show(config_path: str | None, number: int) -> None:
    """Show one dead letter with its document."""
    with _inspect(options.load_config(config_path)) as journal:
        letter = journal.dead_letters.get(number)
    if letter is None:
        raise click.ClickException(_no_letters([number]))
    for name, value in (
        ("dead letter", letter.id),
        ("sink", letter.sink),
        ("message", letter.seq),
        ("refused", times.show(letter.time)),
        ("reason", letter.reason),
        ("retry", "requested" if letter.retry else "not requested"),
    ):
        click.echo(f"{name + ':':13}{printable(str(value))}")
    click.echo(output.pretty(letter.document))


@command.command("retry", epilog="Example: habitat journal retry 7 8")
@options.config_option
@click.argument("numbers", metavar="[ID]...", type=NUMBER, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Retry all dead letters.")
def retry(config_path: str | None, numbers: tuple[int, ...], every: bool) -> None:
    """Let the sink that refused them try dead letters again."""
    _check_choice(numbers, every)
    with _inspect(options.load_config(config_path)) as journal:
        letters = journal.dead_letters
        missing = _missing(letters, numbers)
        marked = letters.retry(None if every else dict.fromkeys(numbers))
    if marked:
        click.echo(
            f"marked {_letters(marked)} for a retry: a running gateway retries within seconds, "
            "otherwise the next one does when it starts"
        )
    elif every:
        click.echo("there are no dead letters")
    if missing:
        raise click.ClickException(_no_letters(missing))


@command.command("export", epilog="Example: habitat journal export --dead dead-letters.ndjson")
@options.config_option
@click.option("--dead", "what", flag_value="dead", default=True, help="Dead letters. [default]")
@click.option("--backlog", "what", flag_value="backlog", help="Messages not yet archived.")
@click.argument("file", metavar="[FILE|-]", default="-")
def export(config_path: str | None, what: str, file: str) -> None:
    """Write documents to FILE, or to standard output, one JSON document per line."""
    config = options.load_config(config_path)
    with _inspect(config) as journal:
        if what == "backlog":
            after, last = journal.unarchived(config.sink_names)
            total = last - after
            documents = journal.documents(after, last)
        else:
            numbers = journal.dead_letters.numbers(MAX_ID)
            total = len(numbers)
            documents = _documents(journal.dead_letters, numbers)
        with whole_file(file) as out:
            count = 0
            for document in with_progress(documents, "exporting", total, shown=file != "-"):
                # JSON has line breaks between its tokens only, so this keeps its meaning.
                out.write(document.replace(b"\n", b" ") + b"\n")
                count += 1
    if file != "-":
        noun = "message" if what == "backlog" else "dead letter"
        click.echo(f"wrote {count} {plural(count, noun)} to {file}", err=True)


@command.command("drop", epilog="Example: habitat journal drop 7 --yes")
@options.config_option
@click.argument("numbers", metavar="[ID]...", type=NUMBER, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Drop all dead letters.")
@click.option("--sink", metavar="NAME", help="Forget this sink, which is no longer configured.")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
def drop(
    config_path: str | None, numbers: tuple[int, ...], every: bool, sink: str | None, yes: bool
) -> None:
    """Delete dead letters for good, or forget a sink that is no longer configured.

    The cursor of such a sink keeps the journal from being pruned. Export first what you may still
    need.
    """
    config = options.load_config(config_path)
    if sink is not None:
        if numbers or every:
            raise click.UsageError("Give either dead letters or --sink, not both")
        _drop_sink(config, sink, yes)
        return
    _check_choice(numbers, every)
    with _inspect(config) as journal:
        letters = journal.dead_letters
        missing = _missing(letters, numbers)
        there = sum(letters.count().values()) if every else len({*numbers} - {*missing})
        if there:
            _confirm(f"Delete {_letters(there)} for good?", yes)
            dropped = letters.drop(None if every else dict.fromkeys(numbers))
            click.echo(f"dropped {_letters(dropped)}")
        elif every:
            click.echo("there are no dead letters")
    if missing:
        raise click.ClickException(_no_letters(missing))


def _inspect(config: Config) -> Inspection:
    return Inspection(config.journal.path)


def _facts(journal: Inspection, config: Config, limit: int) -> dict[str, Any]:
    found = journal.contents(limit)
    return {
        "path": config.journal.path,
        "bytes": found.size,
        "last_seq": found.last_seq,
        "oldest_time": found.oldest,
        "max_backlog": config.journal.max_backlog,
        "sinks": [
            {
                "sink": sink,
                "cursor": cursor,
                "backlog": found.last_seq - cursor,
                "configured": sink in config.sink_names,
            }
            for sink, cursor in found.cursors.items()
        ],
        "dead_letters": {
            "count": found.dead_letters,
            "newest": [letter.summary() for letter in found.newest],
        },
    }


def _print_facts(facts: dict[str, Any]) -> None:
    oldest = facts["oldest_time"]
    age = f"oldest {times.show_age(time.time() - oldest)} old" if oldest else "no messages in it"
    click.echo(
        f"journal {printable(facts['path'])}: {facts['bytes'] / 1e6:.1f} MB,"
        f" last message {facts['last_seq']}, {age}"
    )
    click.echo()
    if facts["sinks"]:
        output.print_small_table(
            ("backlog", "cursor", "sink"),
            [
                (
                    str(sink["backlog"]),
                    str(sink["cursor"]),
                    sink["sink"] + ("" if sink["configured"] else "  (not configured)"),
                )
                for sink in facts["sinks"]
            ],
        )
    else:
        click.echo("no sink has read from it yet")
    click.echo()
    total = sum(facts["dead_letters"]["count"].values())
    newest = facts["dead_letters"]["newest"]
    if not total:
        click.echo("no dead letters")
        return
    shown = f", the newest {len(newest)} of them" if len(newest) < total else ""
    click.echo(f"{_letters(total)}{shown}")
    if newest:
        output.print_small_table(
            ("id", "refused", "message", "sink", "retry", "reason"),
            [
                (
                    str(letter["id"]),
                    times.show(letter["time"]),
                    str(letter["seq"]),
                    letter["sink"],
                    "asked" if letter["retry"] else "-",
                    letter["reason"],
                )
                for letter in newest
            ],
        )


def _documents(letters: DeadLetters, numbers: list[int]) -> Iterator[bytes]:
    found = map(letters.get, numbers)
    # One dropped or archived in the meantime is no longer a dead letter.
    return (letter.document for letter in found if letter is not None)


def _drop_sink(config: Config, sink: str, yes: bool) -> None:
    if sink in config.sink_names:
        raise options.ConfigurationFailure(
            f"the sink {sink} is configured; remove it from 'sinks' and reload the gateway first"
        )
    with _inspect(config) as journal:
        behind = journal.behind(sink)
        if behind is None:
            raise click.ClickException(
                f"no sink {sink!r} has a cursor in the journal; see 'habitat journal ls'"
            )
        unseen = f"{behind} {plural(behind, 'message')}"
        _confirm(f"Forget the sink {sink}, which has not seen {unseen}?", yes)
        journal.forget(sink)
    click.echo(f"forgot the sink {printable(sink)}")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("--yes is needed without a terminal")
    if not click.confirm(printable(question), err=True):
        raise click.ClickException("nothing was dropped")


def _check_choice(numbers: tuple[int, ...], every: bool) -> None:
    if bool(numbers) == every:
        raise click.UsageError("Give either the IDs of dead letters or --all")


def _missing(letters: DeadLetters, numbers: Iterable[int]) -> list[int]:
    return [number for number in dict.fromkeys(numbers) if letters.get(number) is None]


def _no_letters(numbers: list[int]) -> str:
    names = ", ".join(map(str, numbers))
    return f"no dead letter {names}; 'habitat journal ls' lists them"


def _letters(count: int) -> str:
    return f"{count} {plural(count, 'dead letter')}"
