"""The benchmarks run, find what they look for, and tell when something is wrong."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import compare, goals, results
from benchmarks.place import BenchError
from benchmarks.results import Cell, Figure, Report, Sample
from tests.support.net import ROOT

#: One cell of each kind that needs nothing but what `make test` installs, and all rows.
CELLS = r"^(message|messages|classic)( \(socket\))? @8$"
ROWS = r"^[a-z]+$|^console (pages|pages couch|users)$"


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def sample(rate: float, reference: float = 1000.0, p99: float = 100.0) -> Sample:
    return Sample(
        rate=rate,
        p50=p99 / 2,
        p99=p99,
        cpu=10.0,
        nginx_cpu=10.0,
        rss=40.0,
        reference=reference,
        reference_p99=100.0,
        others=0.0,
    )


def cell(system: str, connections: int, rates: Sequence[float], messages: int = 1) -> Cell:
    samples = [sample(rate) for rate in rates]
    return Cell(
        system=system, via="nginx", connections=connections, messages=messages, samples=samples
    )


def report(*cells: Cell, **figures: Figure) -> Report:
    return Report(
        date="2020-01-01T00:00:00+00:00",
        size="full",
        rounds=1,
        method={},
        machine={},
        cells=list(cells),
        figures=figures,
    )


def test_the_smallest_run_measures_cells_and_rows_and_judges_them(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    done = bench("run", "--smoke", "--only", f"{CELLS}|{ROWS}", "--json", path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results.load(path)
    assert {one.name for one in found.cells} == {
        "message @8",
        "messages @8",
        "classic @8",
        "message (socket) @8",
    }
    for one in found.cells:
        assert one.valid, one
        assert one.ratio > 0
        assert one.samples[0].rss > 1
    names = {name.partition(":")[0] for name in found.figures}
    assert names == set(bench("run", "--smoke", "--only", ROWS, "--list").stdout.splitlines())
    assert "/message vs the C responder, at 8" in {goal.what for goal in found.goals}
    assert "message" in done.stdout
    assert bench("compare", path, path).returncode == 0


def test_an_answer_that_is_no_200_makes_a_cell_not_valid() -> None:
    good = cell("message", 8, [500, 500])
    bad = copy.deepcopy(good)
    bad.samples[1].problem = "3 of 500 requests got no 200"
    assert good.valid
    assert not bad.valid
    assert report(bad).cell("message", 8) is None


def test_a_goal_is_judged_by_ratios_to_the_reference_round_by_round() -> None:
    ours, theirs = cell("message", 32, [900, 300]), cell("classic", 32, [180, 60])
    (vs_classic,) = [
        goal for goal in goals.judge(report(ours, theirs)) if "vs classic" in goal.what
    ]
    assert vs_classic.value == pytest.approx(5)
    assert vs_classic.reached
    theirs.samples[0].reference = theirs.samples[1].reference = 900  # the machine was slower then
    (vs_classic,) = [
        goal for goal in goals.judge(report(ours, theirs)) if "vs classic" in goal.what
    ]
    assert vs_classic.value == pytest.approx(4.5)
    assert not vs_classic.reached


def test_batches_are_judged_by_messages() -> None:
    single, batches = cell("message", 128, [800]), cell("messages", 128, [40], messages=100)
    judged = {goal.what: goal for goal in goals.judge(report(single, batches))}
    assert judged["/messages of 100 vs /message, messages/s, at 128"].value == pytest.approx(5)


@pytest.mark.parametrize(
    ("after", "worse"),
    [
        ([500, 505, 495], False),
        ([440, 445, 435], True),
        ([440, 520, 380], False),  # its own rounds differ as much
        ([600, 605, 595], False),
    ],
)
def test_compare_tells_what_became_worse_beyond_the_noise(after: list[float], worse: bool) -> None:
    before = report(cell("message", 8, [500, 505, 495]))
    told = compare.compare(before, report(cell("message", 8, after)))
    assert [change.name for change in told] == (["message @8"] if worse else [])


def test_compare_knows_where_less_is_better() -> None:
    def start(values: list[float]) -> Report:
        return report(start=Figure(values=values, unit="s", better="lower"))

    assert compare.compare(start([0.10, 0.10]), start([0.15, 0.15]))
    assert not compare.compare(start([0.15, 0.15]), start([0.10, 0.10]))


def test_a_file_that_is_no_result_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"format": 1}')
    with pytest.raises(BenchError, match="no result of a run"):
        results.load(path)
    done = bench("compare", path, path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
