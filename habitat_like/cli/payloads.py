"""``habitat payloads``: what payload configurations make of a sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from habitat_like.cli import options
from habitat_like.cli.output import print_small_table
from habitat_like.cli.text import printable
from habitat_like.config.keys import Config
from habitat_like.message_server.server import find_sink
from habitat_like.statistics.words import many
from habitat_like.telemetry import configuration, names, ukhas
from habitat_like.telemetry.configuration import Field, Payloads
from habitat_like.telemetry.coordinates import show_time
from habitat_like.telemetry.fix import Fix, ParseError
from habitat_like.telemetry.horus import NO_NAMES, Names
from habitat_like.telemetry.packets import read
from habitat_like.telemetry.sink import ParserSink
from habitat_like.telemetry.ukhas import Sentence


@click.group(name="payloads", epilog="Example: habitat payloads check payloads.yml")
def command() -> None:
    """Check payload configurations, and try sentences on them."""


command.command_class = options.Command


@command.command("check", epilog="Example: habitat payloads check /etc/habitat/payloads.yml")
@click.argument("file")
def check(file: str) -> None:
    """Check a file of payload configurations."""
    payloads = configuration.load(file).payloads
    sentences = sum(len(payload.layouts) for payload in payloads)
    left_out = sum(payload.left_out for payload in payloads)
    text = f"{many(len(payloads), 'payload')}, {many(sentences, 'sentence')}"
    if left_out:
        text += f"; {many(left_out, 'sentence')} of other protocols not read"
    click.echo(f"{printable(file)}: {text}")


@command.command("ls", epilog="Example: habitat payloads ls")
@options.config_option
def ls(config_path: str | None) -> None:
    """List the payloads that the ParserSink of the configuration knows."""
    payloads, _ = _known(options.load_config(config_path))
    print_small_table(
        ("callsign", "payload", "checksum", "fields"),
        [
            (
                layout.callsign,
                payload.name,
                layout.checksum,
                ", ".join(field.name for field in layout.fields),
            )
            for payload in payloads.payloads
            for layout in payload.layouts
        ],
    )


@command.command("try", epilog="Example: habitat payloads try '$$hab,1,12:00:00,51.5,-0.1,90*2A6D'")
@options.config_option
@click.option("--payloads", "file", metavar="FILE", help="Use the configurations in this file.")
@click.argument("sentence")
def try_(config_path: str | None, file: str | None, sentence: str) -> int:
    """Decode a SENTENCE field by field, or print why it can't be decoded.

    Write Horus Binary packets in hex. The exit code is 1 if nothing can be decoded.
    """
    if file is not None:
        known = configuration.load(file), NO_NAMES
    else:
        known = _known(options.load_config(config_path))
    try:
        packet = bytes.fromhex(sentence)
    except ValueError:
        packet = sentence.encode("utf-8", "replace")
    fixes, problems = read(packet, *known)
    for fix in fixes:
        for name, value in _lines(fix):
            click.echo(f"{printable(name):16}{printable(str(value))}")
    if problems:
        for line in _examined(packet, known[0]):
            click.echo(line)
    for problem in problems:
        click.echo(f"{problem.kind}: {printable(str(problem))}{_hint(problem, packet)}", err=True)
    return 0 if fixes else 1


def _examined(packet: bytes, payloads: Payloads) -> Iterator[str]:
    """What each field of a configured sentence that could not be decoded is."""
    for readings in ukhas.find(packet):
        for field, text in next(filter(None, (_fields(one, payloads) for one in readings)), []):
            try:
                value = ukhas.sense(field, text)
                told = "left out" if value is None else str(value)
            except ValueError as error:
                told = f"wrong: {error}"
            yield f"{printable(field.name):16}{printable(text):16}{printable(told)}"


def _fields(sentence: Sentence, payloads: Payloads) -> list[tuple[Field, str]]:
    """The fields of a sentence by the first of its payload's layouts that has as many."""
    with contextlib.suppress(ParseError):
        for layout in payloads.layouts(ukhas.callsign_of(sentence)):
            with contextlib.suppress(ParseError):
                return ukhas.split(sentence, layout)
    return []


def _lines(fix: Fix) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = [("protocol", fix.protocol), ("payload", fix.payload)]
    if fix.sequence is not None:
        lines.append(("sequence", fix.sequence))
    if fix.time is not None:
        lines.append(("time", show_time(fix.time)))
    if fix.position is None:
        lines.append(("position", "none"))
    else:
        lines += [
            ("latitude", fix.position.latitude),
            ("longitude", fix.position.longitude),
            ("altitude", "none" if fix.position.altitude is None else fix.position.altitude),
        ]
    return [*lines, *fix.values.items()]


def _hint(problem: ParseError, packet: bytes) -> str:
    if problem.kind == "unknown" and not list(ukhas.find(packet)):
        return "; a sentence begins with $$ and ends with * and two or four hex digits"
    return ""


def _known(config: Config) -> tuple[Payloads, Names]:
    """What the configured ParserSink knows. Raises ConfigError."""
    for index, sink in enumerate(config.sinks):
        factory, settings = find_sink(sink, f"sinks[{index}]")
        if issubclass(factory, ParserSink) and isinstance(settings, ParserSink.Settings):
            payloads = settings.payloads
            known = Payloads([]) if payloads is None else configuration.load(payloads)
            return known, names.read(settings.payload_ids, settings.custom_fields)
    return Payloads([]), NO_NAMES
