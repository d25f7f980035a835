"""Two results side by side: what became faster or slower beyond the noise."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.report import number
from benchmarks.results import Report

#: A change smaller than this is never told, as a share.
LEAST = 0.03
#: The noise that is assumed of what was measured once.
ONCE = 0.10


class Change(msgspec.Struct):
    """One value before and after. ``gain`` over 1 is better, under 1 worse."""

    name: str
    before: float
    after: float
    gain: float
    noise: float

    @property
    def told(self) -> bool:
        """Whether the change is larger than the noise."""
        return abs(self.gain - 1) > max(LEAST, self.noise)


def compare(before: Report, after: Report) -> list[Change]:
    """Print every value that both have; returns those that became worse beyond the noise."""
    console = Console()
    console.width = max(console.width, 124)
    for key in sorted(before.machine.keys() & after.machine.keys()):
        if before.machine[key] != after.machine[key]:
            console.print(f"{key}: {before.machine[key]} -> {after.machine[key]}", highlight=False)
    if before.size != after.size:
        console.print(
            f"[yellow]a {before.size} run and a {after.size} one:[/] rows are of different sizes",
            highlight=False,
        )
    table = Table(title="cells: ratio to the C responder; then what stands beside the cells")
    table.add_column("what", no_wrap=True)
    for name in ("before", "after", "gain", "noise", ""):
        table.add_column(name, justify="right", no_wrap=True)
    changes = [*_cells(before, after), *_figures(before, after)]
    for change in changes:
        word = ""
        if change.told:
            word = "[green]better[/]" if change.gain > 1 else "[red]worse[/]"
        table.add_row(
            change.name,
            number(change.before),
            number(change.after),
            f"{change.gain:.2f}",
            f"{change.noise:.0%}",
            word,
        )
    console.print(table)
    worse = [change for change in changes if change.told and change.gain < 1]
    told = sum(change.told for change in changes)
    console.print(f"{len(changes)} compared, {told} changed beyond the noise, {len(worse)} worse")
    return worse


def _cells(before: Report, after: Report) -> Iterator[Change]:
    old = {cell.name: cell for cell in before.cells if cell.valid}
    for cell in after.cells:
        was = old.get(cell.name)
        if was is None or not cell.valid:
            continue
        noise = max(_noise(was.spread, len(was.samples)), _noise(cell.spread, len(cell.samples)))
        yield Change(cell.name, was.ratio, cell.ratio, cell.ratio / was.ratio, noise)


def _figures(before: Report, after: Report) -> Iterator[Change]:
    for name, figure in after.figures.items():
        was = before.figures.get(name)
        if was is None or not was.value or not figure.value:
            continue
        gain = figure.value / was.value
        if figure.better == "lower":
            gain = 1 / gain
        noise = max(_noise(was.spread, len(was.values)), _noise(figure.spread, len(figure.values)))
        yield Change(name, was.value, figure.value, gain, noise)


def _noise(spread: float, count: int) -> float:
    return spread if count > 1 else ONCE
