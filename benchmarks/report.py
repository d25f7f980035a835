"""The tables on the screen."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table

from benchmarks.results import Cell, Report

#: Cores that others may keep busy without a word about it.
QUIET = 0.2


def show(report: Report) -> None:
    """Print the whole result."""
    console = Console()
    console.width = max(console.width, 124)
    machine = report.machine
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']},"
        f" {machine['filesystem']}; Python {machine['python']}, {machine['nginx']};"
        f" revision {machine['revision']}; {report.size} run of {report.rounds} rounds,"
        f" {report.seconds:.0f} s",
        highlight=False,
    )
    if report.cells:
        console.print(_cells(report))
    if report.figures:
        console.print(_figures(report))
    if report.goals:
        console.print(_goals(report))
    others = [sample.others for cell in report.cells for sample in cell.samples]
    if others and (busy := statistics.median(others)) > QUIET:
        console.print(
            f"[yellow]not quiet:[/] other processes kept {busy:.1f} cores busy meanwhile; ratios of"
            " this run are worth little, CPU for each request a little more",
            highlight=False,
        )
    for line in report.missing:
        console.print(f"[yellow]missing:[/] {line}", highlight=False)
    for line in report.failed:
        console.print(f"[red]failed:[/] {line}", highlight=False)


def _cells(report: Report) -> Table:
    table = Table(title="medians over the rounds; ratio: share of the C responder's rate")
    table.add_column("server", no_wrap=True)
    table.add_column("at", justify="right", no_wrap=True)
    for name in ("messages/s", "ratio", "±", "p50 ms", "p99 ms", "µs CPU", "nginx", "MB", "others"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    order = sorted(report.cells, key=lambda one: (one.via, one.connections))
    for cell in order:
        way = (cell.via, cell.connections)
        if last is not None and way != last:
            table.add_section()
        if way != last:
            _reference(table, cell)
        last = way
        _row(table, cell)
    return table


def _reference(table: Table, cell: Cell) -> None:
    where = "C responder" + (" (socket)" if cell.via == "socket" else "")
    rate = cell.median(lambda one: one.reference)
    p99 = cell.median(lambda one: one.reference_p99)
    table.add_row(
        where,
        str(cell.connections),
        f"{rate:.0f}",
        "1.00",
        "",
        "",
        _ms(p99),
        "",
        "",
        "",
        style="dim",
    )


def _row(table: Table, cell: Cell) -> None:
    name = cell.system + (" (socket)" if cell.via == "socket" else "")
    if not cell.valid:
        table.add_row(name, str(cell.connections), "[red]not valid[/]")
        return
    table.add_row(
        name,
        str(cell.connections),
        f"{cell.median(lambda one: one.rate) * cell.messages:.0f}",
        f"{cell.ratio:.2f}",
        f"{cell.spread:.0%}",
        _ms(cell.median(lambda one: one.p50)),
        _ms(cell.median(lambda one: one.p99)),
        f"{cell.median(lambda one: one.cpu):.1f}",
        f"{cell.median(lambda one: one.nginx_cpu):.1f}" if cell.via == "nginx" else "",
        f"{cell.median(lambda one: one.rss):.0f}" if cell.system != "nginx" else "",
        f"{cell.median(lambda one: one.others):.1f}",
    )


def _figures(report: Report) -> Table:
    table = Table(title="beside the cells; medians")
    table.add_column("what")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("±", justify="right")
    for name, figure in report.figures.items():
        value = f"{number(figure.value)} {figure.unit}".strip()
        table.add_row(
            f"{name}{f': {figure.what}' if figure.what else ''}", value, f"{figure.spread:.0%}"
        )
    return table


def _goals(report: Report) -> Table:
    table = Table(title="goals")
    table.add_column("what")
    table.add_column("goal", justify="right", no_wrap=True)
    columns = list(dict.fromkeys(goal.column for goal in report.goals if goal.column))
    for column in ("", *columns):
        table.add_column(column or "here", justify="right", no_wrap=True)
    lines: dict[str, dict[str, str]] = {}
    goals = {}
    for goal in report.goals:
        mark = "[green]✓[/]" if goal.reached else "[red]✗[/]"
        lines.setdefault(goal.what, {})[goal.column] = f"{number(goal.value)} {mark}"
        goals[goal.what] = goal.goal
    for what, values in lines.items():
        table.add_row(what, goals[what], *(values.get(column, "") for column in ("", *columns)))
    return table


def number(value: float) -> str:
    """A number with three digits that matter."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f}"
