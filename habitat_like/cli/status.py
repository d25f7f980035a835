"""``habitat status``: asks the running gateway how it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
import msgspec

from habitat_like import times
from habitat_like.cli import client, options, output
from habitat_like.cli.text import printable
from habitat_like.config.keys import GatewayConfig
from habitat_like.statistics.status import JournalStatus, NetworkStatus, SinkStatus, Status


@click.command(
    cls=options.Command,
    epilog=(
        "Examples: habitat status --json\n"
        "          habitat status /etc/habitat/a.yml /etc/habitat/b.yml"
    ),
)
@options.config_option
@click.option("--json", "as_json", is_flag=True, help="Print each gateway's answer as JSON.")
@click.argument("configs", metavar="[CONFIG]...", nargs=-1)
def command(config_path: str | None, as_json: bool, configs: tuple[str, ...]) -> int:
    """Show the state of the running gateway, which is asked over its socket.

    If several run on one machine, name the configuration of each.
    """
    failed = False
    for number, path in enumerate(configs or [config_path]):
        gateway = options.load_config(path).gateway
        try:
            status, facts = ask(gateway)
        except click.ClickException as error:
            if len(configs) < 2:
                raise
            click.echo(f"habitat: {printable(error.message)}", err=True)
            failed = True
            continue
        if as_json:
            sys.stdout.buffer.write(output.encode_for(facts, sys.stdout.isatty()) + b"\n")
            continue
        if number:
            click.echo()
        print_status(status)
    return int(failed)


def print_status(status: Status) -> None:
    """Print what a gateway says of itself, a line for each thing, what is wrong first."""
    for name, value in _lines(status):
        click.echo(f"{name:14}{printable(value)}")


def ask(gateway: GatewayConfig) -> tuple[Status, dict[str, Any]]:
    """What the gateway says of itself, and the same as plain data.

    Raises click.ClickException.
    """
    try:
        code, body = client.get(gateway.socket, "/status", gateway.timeout)
    except client.GatewayError as error:
        raise click.ClickException(str(error)) from None
    if code != 200:
        text = printable(body.decode("utf-8", "replace").strip())
        raise click.ClickException(f"the gateway answered {code}: {text}")
    try:
        facts = msgspec.json.decode(body, type=dict[str, Any])
        return msgspec.convert(facts, Status), facts
    except msgspec.ValidationError as error:
        raise click.ClickException(f"the gateway's answer is not a status ({error})") from None
    except msgspec.DecodeError as error:
        raise click.ClickException(f"the gateway's answer is not a JSON object ({error})") from None


def _lines(status: Status) -> Iterator[tuple[str, str]]:
    """Name and text of each line."""
    yield "state", status.state
    for trouble in status.troubles:
        yield trouble.level, trouble.text
    about = [one for one in (status.instance, f"habitat_like {status.version}") if one]
    yield "gateway", ", ".join([*about, f"up {times.show_age(status.uptime)}"])
    yield "backlog", f"{status.backlog} of at most {status.max_backlog} messages"
    for name, sink in status.sinks.items():
        yield "sink", f"{name}: {_sink(sink)}"
    hint = "; see 'habitat journal ls'" if status.dead_letters else ""
    yield "dead letters", f"{status.dead_letters}{hint}"
    # Repeats are accepted and not written again.
    messages = status.messages
    yield "messages", f"{messages.accepted} accepted, {messages.written} written"
    yield "requests", _requests(status.requests) or "none"
    for name, counts in status.networks.items():
        yield "network", f"{name}: {_network(counts)}"
    yield "connections", str(status.connections)
    yield from _journal(status.journal)
    log = status.log
    if log.lost or log.problem:
        yield "log", f"{log.lost} lines are lost{f'; {log.problem}' if log.problem else ''}"
    yield "threads", str(len(status.threads))
    switches = status.switches
    yield "log level", switches.log_level or "unknown"
    slow = switches.slow_log
    yield "slow log", "off" if slow is None else f"{slow:g} s or longer"
    yield "archive log", "on" if switches.archive_log else "off"


def _journal(journal: JournalStatus) -> Iterator[tuple[str, str]]:
    """The journal's file, and the disk that it is on."""
    size = f"{journal.bytes / 1e6:.1f} MB"
    yield "journal", f"{journal.path}, {size}, last message {journal.last_seq}"
    if journal.disk_size and journal.disk_free is not None:
        share = 100 * journal.disk_free / journal.disk_size
        yield "disk", f"{journal.disk_free / 1e9:.1f} GB free, {share:.0f} %"


def _network(counts: NetworkStatus) -> str:
    """What came in over a network."""
    taken = ", ".join(f"{count} {name}" for name, count in counts.observations.items())
    text = f"{counts.requests} requests, {taken or 'no observations'}"
    for number, word in (
        (counts.suspicious, "suspicious"),
        (counts.problems, "problems"),
        (sum(counts.refused.values()), "refused"),
    ):
        if number:
            text += f", {number} {word}"
    return text


def _sink(sink: SinkStatus) -> str:
    text = f"{sink.state}, backlog {sink.backlog}"
    if sink.seconds_since_success is not None:
        text += f", last success {times.show_age(sink.seconds_since_success)} ago"
    if sink.dead_letters:
        text += f", dead letters {sink.dead_letters}"
    return f"{text}; {sink.problem}" if sink.problem else text


def _requests(requests: Mapping[str, Mapping[str, int]]) -> str:
    """``{"message": {"200": 3, "400": 1}}`` as ``message 200: 3, 400: 1; ...``."""
    return "; ".join(
        f"{name or '/'} " + ", ".join(f"{code}: {count}" for code, count in counts.items())
        for name, counts in requests.items()
    )
