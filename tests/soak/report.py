"""The report: text as it comes, and all of it as JSON and as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks import machine
from tests.soak.run import Result


class Report:
    """Prints as results come in. ``out`` gets soak.json and soak.md, None: no files."""

    def __init__(self, out: Path | None = None) -> None:
        self._out = out
        self._machine = machine.describe()
        self._results: list[Result] = []
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)

    @property
    def failed(self) -> bool:
        """Whether any scenario did not come to what it must."""
        return not all(result.met for result in self._results)

    def tell(self, line: str) -> None:
        """Show how it goes."""
        print(f"  {line}", flush=True)

    def add(self, result: Result) -> None:
        """Take a result and show what it came to."""
        self._results.append(result)
        missed = [demand.what for demand in result.demands if not demand.met]
        outcome = result.problem or (f"not met: {', '.join(missed)}" if missed else "all met")
        print(
            f"{result.name}: {outcome}; {result.seconds:g} s, others used {result.others:g} cores",
            flush=True,
        )
        if self._out is not None:
            tree = {"machine": self._machine, "results": [asdict(one) for one in self._results]}
            (self._out / "soak.json").write_text(json.dumps(tree, indent=1) + "\n")
            (self._out / "soak.md").write_text(self.markdown())

    def markdown(self) -> str:
        """The tables for docs/reliability.md."""
        lines = ["| load | what | wanted | found | |", "|---|---|---|---|---|"]
        for one in self._results:
            lines += [
                f"| {one.name} | {demand.what} | {demand.wanted} | {demand.found} |"
                f" {'met' if demand.met else '**not met**'} |"
                for demand in one.demands
            ]
        for one in self._results:
            lines += ["", f"**{one.name}**: {one.text}. Others used {one.others:g} cores.", ""]
            lines += [f"- {name}: {value}" for name, value in one.figures.items()]
        return "\n".join(lines) + "\n"
