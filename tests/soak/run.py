"""A run: scenarios by name, what each is given, and what each came to."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import place
from benchmarks.front import Front
from benchmarks.place import BenchError
from tests.soak.traffic import Traffic
from tests.soak.watch import Others, Samples
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat, merge

#: nginx has a connection for each client and one to the gateway for each request.
FRONT_CONNECTIONS = 19_000


@dataclass
class Demand:
    """Something that must hold; a ``timed`` one may not, where the run is short or not alone."""

    what: str
    wanted: str
    found: str
    met: bool
    timed: bool = True


@dataclass
class Result:
    """What a scenario came to. ``others`` is how many cores worked for what is no part of it."""

    name: str
    text: str
    command: str
    seconds: float = 0.0
    others: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    demands: list[Demand] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    problem: str | None = None

    @property
    def met(self) -> bool:
        """Whether everything holds that was demanded."""
        return self.problem is None and all(demand.met for demand in self.demands)


@dataclass(frozen=True)
class Scenario:
    """A load and what is looked at meanwhile."""

    name: str
    text: str
    run: Callable[[Run], None]


#: Every scenario by its name.
SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, text: str) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register a function as a scenario."""

    def register(run: Callable[[Run], None]) -> Callable[[Run], None]:
        SCENARIOS[name] = Scenario(name, text, run)
        return run

    return register


@dataclass
class Run:
    """What a scenario works with: ``scale`` times the full durations and numbers.

    ``directory`` is on the checkout's disk, ``sockets`` has a short path. ``tell`` gets a line on
    how it goes. All that is made here is taken away by ``cleanup``.
    """

    scale: float
    directory: Path
    sockets: Path
    result: Result
    cleanup: contextlib.ExitStack
    tell: Callable[[str], None]
    servers: list[Any] = field(default_factory=list)
    _never: threading.Event = field(default_factory=threading.Event)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def seconds(self, full: float, least: float) -> float:
        """A duration to scale."""
        return max(least, full * self.scale)

    def number(self, full: int, least: int) -> int:
        """A number to scale."""
        return max(least, round(full * self.scale))

    def gateway(self, name: str, config: Mapping[str, Any]) -> Habitat:
        """A gateway as shipped, not started, with its journal on the disk."""
        own = {
            "journal": {"path": str(self.directory / f"{name}.sqlite")},
            "log": {"level": "info"},
        }
        habitat = Habitat(merge(own, config))
        habitat.socket_path = self.sockets / f"{name}.sock"
        habitat.config["gateway"]["socket"] = str(habitat.socket_path)
        self.cleanup.callback(habitat.close)
        self.servers.append(habitat)
        return habitat

    def couch(self) -> CouchServer:
        """A CouchDB-protocol server with its data on the disk, started."""
        server = CouchServer()
        server.data = self.directory / "couch"
        self.cleanup.callback(server.close)
        self.servers.append(server)
        return server.start()

    def front(self, name: str) -> int:
        """An nginx in front of the gateway of that name; its port."""
        front = Front(self.sockets, [name], FRONT_CONNECTIONS)
        self.cleanup.callback(front.stop)
        self.servers.append(front)
        return front.ports[name]

    def traffic(self) -> Traffic:
        """A source of messages; two of them send the same ones."""
        directory = self.directory / f"traffic{next(self._numbers)}"
        directory.mkdir()
        return self.cleanup.enter_context(Traffic(directory))

    def pids(self) -> Iterator[int]:
        """The servers that live."""
        for server in self.servers:
            if isinstance(server, Front):
                yield server.pid
            elif server.process is not None and server.process.poll() is None:
                yield server.process.pid

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self._never.wait(seconds)

    def figure(self, name: str, value: Any) -> None:
        """Note what was measured."""
        self.result.figures[name] = value
        self.tell(f"{name}: {value}")

    def demand(self, what: str, wanted: str, found: str, met: bool, *, timed: bool = True) -> None:
        """Note what must hold, and whether it does."""
        self.result.demands.append(Demand(what, wanted, found, met, timed))
        self.tell(f"{'ok' if met else 'NOT MET'}: {what}: {found}, wanted {wanted}")

    def keep(self, samples: Samples) -> None:
        """Keep a watch's samples for the report."""
        self.result.samples = vars(samples)


def execute(one: Scenario, scale: float, tell: Callable[[str], None]) -> Result:
    """Run a scenario; what goes wrong is in the result."""
    result = Result(one.name, one.text, f'make soak ARGS="--only {one.name} --scale {scale:g}"')
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place.data(f"soak-{one.name}"))
        sockets = stack.enter_context(place.sockets())
        cleanup = stack.enter_context(contextlib.ExitStack())
        run = Run(scale, directory, sockets, result, cleanup, tell)
        others = Others(run.pids)
        try:
            one.run(run)
        except (AssertionError, OSError, BenchError) as error:
            result.problem = f"{type(error).__name__}: {error}"
        result.others = round(others.cores, 2)
    result.seconds = round(time.monotonic() - begin, 1)
    return result
