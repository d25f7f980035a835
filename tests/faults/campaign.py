"""The campaign: runs scenarios one after the other and says how each went."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from habitat_like.archive.base import ArchiveError
from habitat_like.journal.file import JournalError
from tests.faults.run import Run, Scenario, Skipped
from tests.support.couch import CouchServer


@dataclass
class Result:
    """How a scenario went. ``problem`` is None when every promise was kept."""

    name: str
    text: str
    seed: int
    command: str
    faults: int = 0
    kills: int = 0
    sent: int = 0
    attempts: int = 0
    acknowledged: int = 0
    archived: int = 0
    lost: int = 0
    doubled: int = 0
    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    skipped: str | None = None
    schedule: list[str] = field(default_factory=list)


class Campaign:
    """Runs scenarios with ``seed``; ``scale`` multiplies their faults."""

    def __init__(self, seed: int, scale: float = 1.0, *, short: bool = False) -> None:
        self._seed = seed
        self._scale = scale
        self._short = short
        self._couch = CouchServer()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self._couch.close()

    def run(self, scenario: Scenario, out: Path | None = None) -> Result:
        """Run one; a failure is in the result, with what is needed to look at it in ``out``."""
        faults = scenario.short if self._short else max(1, round(scenario.faults * self._scale))
        result = Result(scenario.name, scenario.text, self._seed, self._command(scenario))
        run = Run(scenario, self._seed, faults, self._running_couch, self._short)
        begin = time.monotonic()
        try:
            with run.cleanup:
                try:
                    scenario.run(run)
                except BaseException:
                    if out is not None:
                        run.keep(out)
                    raise
                finally:
                    result.kills = sum(rig.kills for rig in run.rigs)
        except Skipped as skipped:
            result.skipped = str(skipped)
        except (AssertionError, OSError, ArchiveError, JournalError, sqlite3.Error) as error:
            result.problem = f"{type(error).__name__}: {error}"
        self._fill(result, run)
        result.seconds = round(time.monotonic() - begin, 1)
        return result

    def _fill(self, result: Result, run: Run) -> None:
        ledger = run.ledger
        result.faults = run.injected
        result.schedule = run.schedule
        result.attempts = ledger.attempts
        result.statuses = dict(sorted(ledger.statuses.items()))
        result.notes = run.notes
        for verdict in run.verdicts:
            result.sent += verdict.sent
            result.acknowledged += verdict.acknowledged
            result.archived += verdict.archived
            result.lost += verdict.lost.count
            result.doubled += verdict.doubled.count
            if verdict.findings and result.problem is None:
                result.findings = {name: asdict(one) for name, one in verdict.findings.items()}
                result.problem = str(verdict)
        if not run.verdicts and not result.skipped and result.problem is None:
            result.problem = "the scenario came to no verdict"

    def _running_couch(self) -> CouchServer:
        if not self._couch.running():
            self._couch.start()
        return self._couch

    def _command(self, scenario: Scenario) -> str:
        more = " --short" if self._short else f" --scale {self._scale:g}" * (self._scale != 1)
        return f'make faults ARGS="--seed {self._seed} --exact --only {scenario.name}{more}"'
