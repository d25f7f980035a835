"""The report: a line for each scenario, and all of it as JSON and as Markdown.

``python -m tests.faults.report DIR...`` prints one table of the reports in several directories.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.faults.campaign import Result

_COLUMNS = ["scenario", "faults", "kill -9", "sent", "acknowledged"]
_COLUMNS += ["archived", "lost", "doubled", "s"]
_WIDTHS = (24, 7, 7, 9, 12, 9, 5, 7, 7)


class Report:
    """Prints as results come in. ``out`` gets report.json and report.md, None: no files."""

    def __init__(self, out: Path | None = None) -> None:
        self._out = out
        self._results: list[Result] = []
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        self._line(*_COLUMNS)

    @property
    def failed(self) -> bool:
        """Whether any scenario found something."""
        return any(result.problem for result in self._results)

    def add(self, result: Result) -> None:
        """Take a result and show it."""
        self._results.append(result)
        numbers = (result.faults, result.kills, result.sent, result.acknowledged, result.archived)
        self._line(result.name, *numbers, result.lost, result.doubled, result.seconds)
        if result.skipped:
            print(f"  skipped: {result.skipped}")
        if result.problem:
            print("  FAILED: " + result.problem.replace("\n", "\n    "))
            print(f"  again: {result.command}", flush=True)
        if self._out is not None:
            (self._out / "report.json").write_text(
                json.dumps([asdict(one) for one in self._results], indent=1) + "\n"
            )
            (self._out / "report.md").write_text(markdown(self._results))

    def finish(self) -> None:
        """Show the sums."""
        results = self._results
        self._line(
            f"{len(results)} scenarios",
            *(sum(getattr(r, name) for r in results) for name in _SUMS),
            round(sum(r.seconds for r in results), 1),
        )
        failed = [result.name for result in results if result.problem]
        print(f"failed: {', '.join(failed)}" if failed else "every promise was kept", flush=True)

    @staticmethod
    def _line(*values: object) -> None:
        pairs = zip(values, _WIDTHS, strict=True)
        cells = [
            f"{value:<{width}}" if at == 0 else f"{value:>{width}}"
            for at, (value, width) in enumerate(pairs)
        ]
        print(" ".join(cells), flush=True)


_SUMS = ("faults", "kills", "sent", "acknowledged", "archived", "lost", "doubled")


def markdown(results: Iterable[Result]) -> str:
    """The table for docs/reliability.md: a row for each scenario, over all runs of it."""
    lines = [
        "| fault | how often | kill -9 | sent | acknowledged | archived | lost | doubled | again |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    rows: dict[str, list[Result]] = {}
    for one in results:
        rows.setdefault(one.name, []).append(one)
    for runs in rows.values():
        numbers = _sums(runs) if any(not run.skipped for run in runs) else ["not run"] + [""] * 6
        first, *others = [run.command.split('"')[1] for run in runs]
        same = f" --exact --only {runs[0].name}"
        again = ", ".join(f"`{one}`" for one in [first, *(x.replace(same, "") for x in others)])
        lines.append(f"| {runs[0].text} | {' | '.join(numbers)} | {again} |")
    every = [run for runs in rows.values() for run in runs]
    lines.append(f"| all | {' | '.join(_sums(every))} | |")
    return "\n".join(lines) + "\n"


def _sums(results: list[Result]) -> list[str]:
    return [f"{sum(getattr(one, name) for one in results):,}" for name in _SUMS]


def main(directories: list[str]) -> int:
    """Exit 1 if any run in the reports failed."""
    results = [
        Result(**one)
        for directory in directories
        for one in json.loads((Path(directory) / "report.json").read_text())
    ]
    print(markdown(results), end="")
    return 1 if any(one.problem for one in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
