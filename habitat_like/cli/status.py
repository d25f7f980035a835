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
    """Ask the running gateway over its socket how it is.

    Where several run on one machine, name the configuration of each.
    """
    failed = False
    for number, path in enumerate(configs or [config_path]):
        gateway = options.load_config(path).gateway
        try:
            facts = _ask(gateway)
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
        print_facts(facts)
    return int(failed)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print what a gateway says of itself, a line for each thing."""
    for name, value in _lines(facts):
        click.echo(f"{name:14}{printable(value)}")


def _ask(gateway: GatewayConfig) -> dict[str, Any]:
    """What the gateway says of itself. Raises click.ClickException."""
    try:
        status, body = client.get(gateway.socket, "/status", gateway.timeout)
    except client.GatewayError as error:
        raise click.ClickException(str(error)) from None
    if status != 200:
        text = printable(body.decode("utf-8", "replace").strip())
        raise click.ClickException(f"the gateway answered {status}: {text}")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise click.ClickException(f"the gateway's answer is no JSON object ({error})") from None


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of each line; what another version doesn't tell is left out."""
    yield "state", str(facts.get("state", "unknown"))
    about = [str(facts["instance"])] if "instance" in facts else []
    if "version" in facts:
        about.append(f"habitat_like {facts['version']}")
    if "uptime" in facts:
        about.append(f"up {times.show_age(facts['uptime'])}")
    if about:
        yield "gateway", ", ".join(about)
    if "backlog" in facts:
        limit = f" of at most {facts['max_backlog']}" if "max_backlog" in facts else ""
        yield "backlog", f"{facts['backlog']}{limit} messages"
    if isinstance(sinks := facts.get("sinks"), dict):
        for path, sink in sinks.items():
            yield "sink", f"{path}: {_sink(sink)}"
    if "dead_letters" in facts:
        hint = "; see 'habitat journal ls'" if facts["dead_letters"] else ""
        yield "dead letters", f"{facts['dead_letters']}{hint}"
    if isinstance(messages := facts.get("messages"), dict):
        # Repeats are accepted and not written again.
        yield "messages", ", ".join(f"{count} {name}" for name, count in messages.items())
    if isinstance(requests := facts.get("requests"), dict):
        yield "requests", _flat(requests) or "none"
    for name, counts in (facts.get("networks") or {}).items():
        yield "network", f"{name}: {_network(counts)}"
    if "connections" in facts:
        yield "connections", str(facts["connections"])
    yield from _journal(facts.get("journal"))
    if isinstance(threads := facts.get("threads"), list):
        yield "threads", str(len(threads))


def _journal(journal: Any) -> Iterator[tuple[str, str]]:
    """The journal's file, and the disk that it is on."""
    if isinstance(journal, dict):
        size = f"{journal.get('bytes', 0) / 1e6:.1f} MB"
        yield "journal", f"{journal.get('path')}, {size}, last message {journal.get('last_seq')}"
        if journal.get("disk_size"):
            free, whole = journal["disk_free"], journal["disk_size"]
            yield "disk", f"{free / 1e9:.1f} GB free, {100 * free / whole:.0f} %"


def _network(counts: Mapping[str, Any]) -> str:
    """What came in over a network."""
    taken = ", ".join(f"{count} {name}" for name, count in counts["observations"].items())
    text = f"{counts['requests']} requests, {taken or 'no observations'}"
    for name in ("suspicious", "problems"):
        if counts[name]:
            text += f", {counts[name]} {name}"
    if refused := sum(counts["refused"].values()):
        text += f", {refused} refused"
    return text


def _sink(sink: Mapping[str, Any]) -> str:
    text = f"{sink.get('state', 'unknown')}, backlog {sink.get('backlog', 'unknown')}"
    if (seconds := sink.get("seconds_since_success")) is not None:
        text += f", last success {times.show_age(seconds)} ago"
    if sink.get("dead_letters"):
        text += f", dead letters {sink['dead_letters']}"
    if sink.get("problem"):
        text += f"; {sink['problem']}"
    return text


def _flat(tree: Mapping[str, Any]) -> str:
    """``{"message": {"200": 3, "400": 1}}`` as ``message 200: 3, 400: 1; ...``."""
    parts = []
    for name, value in tree.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {count}" for key, count in value.items())  # noqa: PLW2901
        parts.append(f"{name or '/'} {value}")
    return "; ".join(parts)
