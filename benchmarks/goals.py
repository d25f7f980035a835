"""The goals, and what became of them in a run."""

from __future__ import annotations

from benchmarks.results import Outcome, Report


def judge(report: Report) -> list[Outcome]:
    """Every goal of which the run measured what it speaks of."""
    return []
