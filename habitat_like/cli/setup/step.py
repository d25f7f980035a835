"""Steps: each knows whether it is done, and how to do it; so setup can be run again at any time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import click

from habitat_like.cli.setup.effects import Effects, SetupError
from habitat_like.cli.text import printable


class Step(Protocol):
    """One thing that must be so on a server."""

    #: What it is about, in a word or two.
    name: str

    def lacking(self) -> str | None:
        """What is not as it must be; None if it is. Changes nothing. Raises SetupError."""

    def make(self, effects: Effects) -> None:
        """Make it so; cut short anywhere, it is made so by the next call. Raises SetupError."""


def take(steps: Sequence[Step], effects: Effects) -> int:
    """Take the steps, in their order; returns how many were not done before.

    Raises SetupError at the first that can't be done, with its name.
    """
    changes = 0
    for step in steps:
        try:
            lacks = step.lacking()
            if lacks is None:
                tell("ok", "green", step.name)
                continue
            changes += 1
            tell("does" if effects.is_real else "would do", "yellow", f"{step.name}: {lacks}")
            step.make(effects)
            still = step.lacking() if effects.is_real else None
        except SetupError as error:
            raise SetupError(f"{step.name}: {error}") from None
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise SetupError(f"{step.name}: {what}") from None
        if still is not None:
            raise SetupError(f"{step.name}: {still}")
    return changes


def tell(mark: str, colour: str, text: str) -> None:
    """Print a line: what is done, or what is so."""
    click.echo(f"{click.style(f'{mark:9}', fg=colour)} {printable(text)}")
