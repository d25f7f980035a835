"""The report: a line for each scenario, and all of it as JSON and as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tests.faults.campaign import Result

_COLUMNS = ("scenario", "faults", "sent", "acknowledged", "archived", "lost", "doubled", "s")
_WIDTHS = (24, 7, 9, 12, 9, 5, 7, 7)


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
        numbers = (result.faults, result.sent, result.acknowledged, result.archived)
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
            (self._out / "report.md").write_text(self.markdown())

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

    def markdown(self) -> str:
        """The table for docs/reliability.md."""
        lines = [
            "| fault | how often | sent | acknowledged | archived | lost | doubled | again |",
            "|---|--:|--:|--:|--:|--:|--:|---|",
        ]
        for one in self._results:
            numbers = [f"{getattr(one, name):,}" for name in _SUMS]
            if one.skipped:
                numbers = ["not run"] + [""] * 5
            again = one.command.split('"')[1]
            lines.append(f"| {one.text} | {' | '.join(numbers)} | `{again}` |")
        sums = [f"{sum(getattr(one, name) for one in self._results):,}" for name in _SUMS]
        lines.append(f"| all | {' | '.join(sums)} | |")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _line(*values: object) -> None:
        pairs = zip(values, _WIDTHS, strict=True)
        cells = [
            f"{value:<{width}}" if at == 0 else f"{value:>{width}}"
            for at, (value, width) in enumerate(pairs)
        ]
        print(" ".join(cells), flush=True)


_SUMS = ("faults", "sent", "acknowledged", "archived", "lost", "doubled")
