"""The manual pages, and the completion of command lines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from habitat_like.cli import COMMANDS, habitat
from tests.support.net import program
from tools import manual

PAGES = manual.pages()


def commands(command: click.Command, path: str, context: click.Context) -> Iterator[str]:
    """The path of each command that does something."""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}", context)
    else:
        yield path


def shown(page: str) -> str:
    """A page as man shows it."""
    man = program("man")
    done = subprocess.run(
        [man, "--warnings", "--local-file", "-"],
        input=page,
        env={"PATH": os.defpath, "MANWIDTH": "120", "LANG": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout


def test_every_command_and_subcommand_is_in_a_page() -> None:
    every = list(commands(habitat, "habitat", click.Context(habitat)))
    assert len(every) > len(COMMANDS)
    for path in every:
        page = PAGES[f"habitat-{path.split()[1]}"]
        assert f"\\fB{manual.text(path)}\\fR" in page, path
    for name in COMMANDS:
        assert f".BR habitat\\-{name} (1)" in PAGES["habitat"]


@pytest.mark.parametrize("name", ["habitat", "habitat-query", "habitat-ctl"])
def test_man_shows_a_page(name: str) -> None:
    said = shown(PAGES[name])
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES"):
        assert f"\n{heading}\n" in f"\n{said}", heading
    assert "--config PATH" in said


def test_what_means_something_to_troff_is_shown_as_it_is() -> None:
    wild = ".SH not a heading \\fB 'quoted' -- and\\so on"
    assert wild in shown(f'.TH "T" "1"\n.SH NAME\n{manual.text(wild)}\n')


def completions(words: str, position: int) -> list[str]:
    """What bash is offered for the word at ``position``."""
    environ = {
        **os.environ,
        "COMP_WORDS": words,
        "COMP_CWORD": str(position),
        "_HABITAT_COMPLETE": "bash_complete",
    }
    done = subprocess.run(
        [sys.executable, "-m", "habitat_like.cli"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "position", "offered"),
    [
        ("habitat ", 1, list(COMMANDS)),
        ("habitat que", 1, ["query"]),
        ("habitat journal re", 2, ["retry"]),
        ("habitat query --since", 2, ["--since"]),
    ],
)
def test_a_command_line_is_completed(words: str, position: int, offered: list[str]) -> None:
    assert completions(words, position) == offered
