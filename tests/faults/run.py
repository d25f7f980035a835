"""One run of one scenario: its chance, its stations, its faults, and its verdict."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from habitat_like.statistics import StatisticsReader
from tests.faults.judge import Verdict, judge
from tests.faults.ledger import Ledger
from tests.faults.messages import Messages
from tests.faults.rig import Rig
from tests.faults.stations import Mix, Stations
from tests.support.couch import CouchServer

#: More messages than any scenario sends.
ENDLESS = 1 << 30
#: Seconds after which stations give up, which only a gateway that never recovers makes them do.
LIMIT = 900.0


@dataclass(frozen=True)
class Scenario:
    """A kind of fault. ``run`` injects ``faults`` of them in a full run, ``short`` in a short one.

    ``short`` 0: the short cut leaves it out.
    """

    name: str
    text: str
    run: Callable[[Run], None]
    faults: int
    short: int = 0


#: Every scenario by its name, in the order in which they are run.
SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str, text: str, faults: int, short: int = 0
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register a function as a scenario."""

    def register(run: Callable[[Run], None]) -> Callable[[Run], None]:
        SCENARIOS[name] = Scenario(name, text, run, faults, short)
        return run

    return register


class Skipped(Exception):
    """This machine can't do what the scenario needs; the text says what."""


@dataclass
class Run:
    """What a scenario works with.

    ``rng`` is made of seed and scenario, and every choice comes from it. ``faults`` is how many to
    inject, ``short`` whether that is the short cut. ``schedule`` tells what was done, ``injected``
    counts it. ``couch`` gives the running CouchDB-protocol server.
    """

    scenario: Scenario
    seed: int
    faults: int
    couch: Callable[[], CouchServer]
    short: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    messages: Messages = field(default_factory=Messages)
    schedule: list[str] = field(default_factory=list)
    injected: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    rigs: list[Rig] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    cleanup: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}/{self.scenario.name}")
        self._never = threading.Event()

    def rig(self, **options: Any) -> Rig:
        """A rig (the arguments are Rig's), not started; taken down after the run."""
        if options.get("archive", "sqlite") != "sqlite":
            options["couch"] = self.couch()
        rig = Rig(**options)
        self.rigs.append(rig)
        self.cleanup.callback(rig.close)
        return rig

    @contextmanager
    def stations(
        self,
        rig: Rig,
        threads: int = 16,
        *,
        mix: Mix | None = None,
        count: int = ENDLESS,
        timeout: float = 10,
    ) -> Iterator[Stations]:
        """Stations that upload inside the block; at its end, all of it has been answered.

        In a short run a third of them, as it is there for the faults alone.
        """
        if self.short:
            threads = max(2, threads // 3)
        rng = random.Random(self.rng.random())
        clients = rig.clients(threads, timeout)
        with Stations(
            clients,
            self.messages,
            self.ledger,
            rng,
            mix=mix or Mix(),
            count=count,
            limit=LIMIT,
        ) as stations:
            yield stations
            stations.finish(rig.up)

    def inject(self, what: str) -> None:
        """Note that a fault is injected now."""
        self.injected += 1
        self.schedule.append(what)

    def inject_met(self, what: str, fired: int) -> None:
        """Note a fault that was set up, and whether the gateway has met it."""
        self.inject(f"{what}: {'met' if fired else 'not met'}")
        self.notes["met"] = self.notes.get("met", 0) + (fired > 0)

    def pause(self, least: float, most: float) -> float:
        """Let a random time pass; returns it, in seconds."""
        seconds = self.rng.uniform(least, most)
        self._never.wait(seconds)
        return seconds

    def judge(
        self,
        rig: Rig,
        *,
        forbidden: Callable[[int], bool] = lambda _: False,
        strangers: int = 0,
    ) -> Verdict:
        """Let the journal drain and compare the archive with the ledger, as ``judge.judge``."""
        rig.drain()
        verdict = judge(
            self.ledger, self.messages, rig.documents(), rig.dead_letters(), forbidden, strangers
        )
        self.verdicts.append(verdict)
        if rig.kills or not self.short:  # it is a wait, and what goes on counts right
            self.check_statistics(rig)
        self.check_log(rig)
        return verdict

    def check_nothing_sent(self) -> None:
        """The verdict of a scenario without stations."""
        self.verdicts.append(Verdict())

    def check_statistics(self, rig: Rig) -> None:
        """Each message that was written is counted once: their numbers have no gaps."""
        rig.count()
        written = rig.habitat.status()["journal"]["last_seq"]
        with StatisticsReader(rig.journal) as reader:
            counted = sum(reader.totals().values())
        assert counted == written, f"{counted} messages are counted, {written} were written"

    def check_log(self, rig: Rig) -> None:
        """No traceback may be in any log: an error is a line."""
        if "Traceback" in rig.habitat.log:
            at = rig.habitat.log.index("Traceback")
            raise AssertionError(f"a traceback is in the log: {rig.habitat.log[at : at + 1500]}")

    def keep(self, directory: Path) -> None:
        """Keep what tells how a failure came about."""
        target = directory / f"{self.scenario.name}-{self.seed}"
        target.mkdir(parents=True, exist_ok=True)
        self.ledger.save(target / "ledger")
        (target / "schedule").write_text("\n".join(self.schedule) + "\n")
        for number, rig in enumerate(self.rigs):
            (target / f"log{number}").write_text(rig.habitat.log)
