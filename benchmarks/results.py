"""What a run finds out, as it stands in the JSON file."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.place import BenchError

#: The version of the JSON's form.
FORMAT = 1

Via = Literal["nginx", "socket"]


class Sample(msgspec.Struct, kw_only=True):
    """One server measured once: one cell in one round.

    ``rate`` is in requests a second, ``p50`` and ``p99`` in microseconds, ``cpu`` and ``nginx_cpu``
    in microseconds of processor time a request, ``rss`` in MB. ``reference`` is the responder's
    rate over the same way at the same number of connections, the mean of right before and right
    after; ``reference_p99`` likewise. ``others`` is how many cores were busy with what is no
    part of the run. ``problem`` says why the sample is not valid.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    nginx_cpu: float
    rss: float
    reference: float
    reference_p99: float
    others: float
    problem: str | None = None

    @property
    def ratio(self) -> float:
        """The rate as a share of the reference's."""
        return self.rate / self.reference


class Cell(msgspec.Struct, kw_only=True):
    """One server at one number of connections; a sample a round."""

    system: str
    via: Via
    connections: int
    messages: int = 1
    samples: list[Sample] = []

    @property
    def name(self) -> str:
        """Names the cell in tables, for --only, and in comparisons."""
        way = "" if self.via == "nginx" else " (socket)"
        return f"{self.system}{way} @{self.connections}"

    @property
    def valid(self) -> bool:
        """Whether every round was measured and without a problem."""
        return bool(self.samples) and not self.problems

    @property
    def problems(self) -> list[str]:
        """What was wrong, once each."""
        return list(dict.fromkeys(one.problem for one in self.samples if one.problem))

    def median(self, of: Callable[[Sample], float]) -> float:
        """The median over the rounds."""
        return statistics.median(of(sample) for sample in self.samples)

    @property
    def ratio(self) -> float:
        """The median share of the reference."""
        return self.median(lambda sample: sample.ratio)

    @property
    def spread(self) -> float:
        """The largest distance of a round's ratio from the median, as a share of it."""
        ratio = self.ratio
        return max(abs(sample.ratio - ratio) for sample in self.samples) / ratio if ratio else 0.0


class Figure(msgspec.Struct, kw_only=True):
    """Something measured that is no cell: its values in the order of the rounds."""

    values: list[float]
    unit: str
    better: Literal["higher", "lower"]
    what: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """The largest distance of a value from the median, as a share of it."""
        value = self.value
        return max(abs(one - value) for one in self.values) / abs(value) if value else 0.0


class Outcome(msgspec.Struct, kw_only=True):
    """A goal and what became of it in this run."""

    what: str
    column: str
    goal: str
    value: float
    reached: bool


class Report(msgspec.Struct, kw_only=True):
    """A whole run."""

    format: int = FORMAT
    date: str
    size: str
    rounds: int
    seconds: float = 0.0
    method: dict[str, str]
    machine: dict[str, str]
    cells: list[Cell] = []
    figures: dict[str, Figure] = {}
    goals: list[Outcome] = []
    missing: list[str] = []
    failed: list[str] = []

    def cell(self, system: str, connections: int, via: Via = "nginx") -> Cell | None:
        """A valid cell, None where it was not measured or is not valid."""
        for cell in self.cells:
            if (cell.system, cell.connections, cell.via) == (system, connections, via):
                return cell if cell.valid else None
        return None

    def figure(self, name: str) -> float | None:
        """The median of a figure, None where it was not measured."""
        figure = self.figures.get(name)
        return figure.value if figure else None


def save(report: Report, path: Path) -> None:
    """Write the JSON. Raises BenchError."""
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text + b"\n")
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; name another file with --json") from None


def load(path: Path) -> Report:
    """Read the JSON. Raises BenchError."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: no result of a run: {error}") from None
    if report.format != FORMAT:
        raise BenchError(f"{path}: has format {report.format}, this version reads {FORMAT}")
    return report
