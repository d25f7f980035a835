"""The manual pages of `habitat`, from the commands' own help: `python3 tools/manual.py DIRECTORY`.

One page for `habitat` and one for each command; subcommands are in the page of theirs. Not with
click-man, which knows nothing of commands that are imported when they run, nor of our examples.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from habitat_like import __version__
from habitat_like.cli import COMMANDS, habitat

NAME = "Durable gateway between field stations and a message archive."
ENDING = """\
.SH ENVIRONMENT
.TP
.B HABITAT_CONFIG
The configuration file, where no \\fB\\-\\-config\\fR names another.
.TP
.B HABITAT_GATEWAY_WORKERS
Overrides the key \\fBgateway.workers\\fR of the configuration; each other key has a variable, too.
.SH FILES
.TP
.I /etc/habitat/config.yml
The configuration; it says what each key means.
.SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
Failed at run time.
.TP
.B 2
Wrong usage, or a configuration that can't be used.
.TP
.B 130
Interrupted.
"""


def pages() -> dict[str, str]:
    """The text of each page by its name, such as habitat-query."""
    top = click.Context(habitat, info_name="habitat")
    made = {"habitat": "\n".join([*_head("habitat", NAME), *_body(habitat, top, ".SH")])}
    made["habitat"] += "\n.SH COMMANDS\n"
    for name, command in _within(habitat, top):
        line = COMMANDS[name]
        made["habitat"] += f".TP\n.BR habitat\\-{name} (1)\n{text(line)}\n"
        context = click.Context(command, info_name=name, parent=top)
        lines = [*_head(f"habitat-{name}", line), *_body(command, context, ".SH")]
        if isinstance(command, click.Group):
            lines.append(".SH COMMANDS")
            lines += _subcommands(command, context)
        made[f"habitat-{name}"] = "\n".join([*lines, ".SH SEE ALSO", ".BR habitat (1)", ""])
    made["habitat"] += ENDING
    return made


def _head(name: str, line: str) -> list[str]:
    return [
        f'.TH "{text(name.upper())}" "1" "" "habitat_like {__version__}" "habitat_like"',
        # Words are not cut, and lines not stretched, as both end up in somebody's shell.
        ".nh\n.ad l",
        ".SH NAME",
        f"{text(name)} \\- {text(line[0].lower() + line[1:].rstrip('.'))}",
    ]


def _body(command: click.Command, context: click.Context, heading: str) -> Iterator[str]:
    """What a command's help says; ``heading`` is the macro of its headings."""
    usage = " ".join(command.collect_usage_pieces(context))
    under = heading == ".SS"
    if not under:
        yield f"{heading} SYNOPSIS"
    yield f"\\fB{text(context.command_path)}\\fR {text(usage)}"
    if not under:
        yield f"{heading} DESCRIPTION"
    yield from _paragraphs(command.help or "", first="" if not under else ".PP")
    options = [one.get_help_record(context) or ("", "") for one in command.params]
    if any(meaning for _, meaning in options) and not under:
        yield f"{heading} OPTIONS"
    for names, meaning in options:
        if meaning:  # an argument has none
            yield f".TP\n\\fB{text(names)}\\fR\n{text(' '.join(meaning.split()))}"
    if command.epilog and under:
        yield from _paragraphs(command.epilog, first=".PP")
    elif command.epilog:
        yield f"{heading} EXAMPLES"
        yield from _paragraphs(re.sub(r"^(\x08\n)?Examples?: *", "\b\n", command.epilog), first="")


def _within(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            yield name, command


def _subcommands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name, command in _within(group, context):
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _subcommands(command, inner)
        else:
            yield f".SS {text(inner.command_path.removeprefix('habitat '))}"
            yield from _body(command, inner, ".SS")


def _paragraphs(said: str, first: str) -> Iterator[str]:
    """The paragraphs of a help text; as in click, a backspace before one keeps its lines."""
    mark = first
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(said)):
        if mark:
            yield mark
        mark = ".PP"
        if paragraph.startswith("\b"):
            lines = paragraph.removeprefix("\b").strip("\n").splitlines()
            yield "\n".join([".nf", *(text(line.strip()) for line in lines), ".fi"])
        else:
            yield text(" ".join(paragraph.split()))


def text(said: str) -> str:
    """A text as troff takes it, without anything that is an instruction to it."""
    escaped = said.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (directory / f"{name}.1").write_text(page, encoding="utf-8")
