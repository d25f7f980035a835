"""`python -m benchmarks run` and `python -m benchmarks compare`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from benchmarks import report, results, run
from benchmarks.compare import compare
from benchmarks.place import BenchError
from benchmarks.sizes import SIZES


@click.group()
def main() -> None:
    """Measures the gateway beside its peers and its limits."""


@main.command("run")
@click.option("--quick", "size", flag_value="quick", help="A minute's run: few cells, one round.")
@click.option("--smoke", "size", flag_value="smoke", help="The least that uses every part.")
@click.option("--full", "size", flag_value="full", default="full", help="Everything (default).")
@click.option("--only", metavar="REGEX", default="", help="Only cells and rows of such a name.")
@click.option("--rounds", type=click.IntRange(min=1), help="How often each cell is measured.")
@click.option(
    "--json",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file of the result. [default: var/bench/results/DATE-REVISION.json]",
)
@click.option("--list", "listing", is_flag=True, help="Print the names of cells and rows.")
def run_command(size: str, only: str, rounds: int | None, path: Path | None, listing: bool) -> None:
    """Measure, print the tables, write the JSON."""
    try:
        pattern = re.compile(only)
    except re.error as error:
        raise click.UsageError(f"--only: {error}") from None
    if listing:
        click.echo("\n".join(run.names(SIZES[size], pattern)))
        return
    found = run.run(SIZES[size], pattern, rounds or SIZES[size].rounds)
    path = path or run.default_path(found)
    results.save(found, path)
    report.show(found)
    click.echo(f"written to {path}")
    if found.failed:
        sys.exit(1)


@main.command("compare")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
def compare_command(before: Path, after: Path) -> None:
    """Print how AFTER differs from BEFORE, two files that `run` wrote.

    Exit code 1 where something became worse beyond the noise.
    """
    if compare(results.load(before), results.load(after)):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except BenchError as problem:
        sys.exit(f"bench: {problem}")
