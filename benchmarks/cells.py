"""The cells: which servers are measured over which way at how many connections, and how."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benchmarks import load, place, systems
from benchmarks.front import Front
from benchmarks.load import Outcome
from benchmarks.place import BenchError
from benchmarks.process import Child, busy, children, cpu, rss
from benchmarks.results import Cell, Sample, Via
from benchmarks.sizes import Size
from benchmarks.systems import PEERS, Place, System, running
from tests.support.couch import CouchServer

NGINX = System(name="nginx", command=lambda _: ([], {}), checks=False)
#: Time of the load that a server gets before it is measured, in seconds, straight at its socket.
WARM_UP = 0.3
WARM_CONNECTIONS = 8


class Job(msgspec.Struct):
    """A cell and its server."""

    system: System
    cell: Cell


def jobs(size: Size) -> list[Job]:
    """Every cell of a run, those that are compared with one another side by side."""
    found: list[Job] = []
    many = (*size.connections, 512) if size.all_cells else size.connections
    middle = tuple(count for count in size.connections if count > 8) or size.connections

    def add(system: System, counts: tuple[int, ...], via: Via = "nginx") -> None:
        for count in counts:
            cell = Cell(
                system=system.name, via=via, connections=count, messages=system.messages, samples=[]
            )
            found.append(Job(system, cell))

    add(systems.MESSAGE, many)
    add(systems.MESSAGE_DRAINING, many)
    add(PEERS["classic"], many)
    add(PEERS["uwsgi x1"], many)
    add(PEERS["uwsgi x1 + sqlite"], size.connections if size.all_cells else middle[:1])
    add(systems.MESSAGES, middle[-1:] if not size.all_cells else size.connections)
    add(systems.MESSAGES_DRAINING, middle[-1:])
    backlog = systems.gateway("message, backlog", systems.embedded, backlog=size.backlog)
    add(backlog, middle[-1:] if size.backlog else ())
    if size.all_cells:
        add(NGINX, many)
        for name in ("scgi x2", "scgi x4", "aioscgi", "aioscgi uvloop", "uwsgi x2"):
            add(PEERS[name], size.connections)
            add(PEERS[f"{name} + sqlite"], middle)
        add(PEERS["classic + sqlite"], middle)
        for name, system in PEERS.items():
            if name.endswith("+ couch"):
                add(system, middle[:1])
        add(systems.MESSAGE_IDLE, middle[-1:])
        add(systems.MESSAGE_IDLE_DRAINING, middle[-1:])
        for system in (systems.MESSAGE, PEERS["classic"], PEERS["aioscgi uvloop"]):
            add(system, size.connections, "socket")
        for name in ("uwsgi x1", "uwsgi x2", "scgi x4"):
            add(PEERS[name], size.connections, "socket")
    else:
        add(systems.MESSAGE, middle[:1], "socket")
    return found


class Bench:
    """Measures cells, each between two looks at the reference, which runs all the time."""

    def __init__(self, size: Size, sockets: Path, front: Front, couch: CouchServer | None) -> None:
        self._size = size
        self._sockets = sockets
        self._front = front
        self._couch = couch

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        """Keep the responder running."""
        with place.data("responder") as directory:
            where = Place(self._socket(systems.RESPONDER), directory, None)
            with running(systems.RESPONDER, where):
                yield

    def round(self, todo: list[Job], tell: Callable[[str], None]) -> Iterator[tuple[Job, Sample]]:
        """Measure every cell once. ``tell`` gets what can't be measured."""
        ways = dict.fromkeys((job.cell.via, job.cell.connections) for job in todo)
        for way in ways:
            same = [job for job in todo if (job.cell.via, job.cell.connections) == way]
            before = self._look(*way)
            for job in same:
                try:
                    sample = self._sample(job, before)
                except (BenchError, OSError, subprocess.SubprocessError) as error:
                    tell(f"{job.cell.name}: {error}")
                    continue
                after = self._look(*way)
                sample.reference = (before.rate + after.rate) / 2
                sample.reference_p99 = (before.p99 + after.p99) / 2
                before = after
                yield job, sample

    def _look(self, via: Via, connections: int) -> Outcome:
        """The reference, once."""
        outcome = self._load(systems.RESPONDER, via, connections, self._size.reference)
        if outcome.errors or not outcome.requests:
            raise BenchError(f"the reference had {outcome.errors} errors; is the machine too busy?")
        return outcome

    def _sample(self, job: Job, before: Outcome) -> Sample:
        system, cell = job.system, job.cell
        if system is NGINX:
            return self._measure(job, None, before)
        with place.data("server") as directory:
            where = Place(self._socket(system), directory, self._couch)
            with running(system, where) as child:
                self._warm_up(system)
                stored = system.stored(where) if system.stored else 0
                with _idle(where.socket, system.idle):
                    sample = self._measure(job, child, before)
                requests = round(sample.rate * self._size.seconds)
                if system.stored and not sample.problem:
                    # Rounded rates and a wrk that stops a little late: allow for one in a hundred.
                    least = int(requests * cell.messages * 0.99)
                    if (found := system.stored(where) - stored) < least:
                        sample.problem = f"stored {found} of {requests * cell.messages} messages"
                return sample

    def _measure(self, job: Job, child: Child | None, before: Outcome) -> Sample:
        size, cell = self._size, job.cell
        begin = (cpu(child.pid) if child else 0.0, cpu(self._front.pid), children(), busy())
        outcome = self._load(job.system, cell.via, cell.connections, size.seconds)
        end = (cpu(child.pid) if child else 0.0, cpu(self._front.pid), children(), busy())
        server, nginx, own, everything = (b - a for a, b in zip(begin, end, strict=True))
        requests = outcome.requests or 1
        problem = None
        if outcome.errors:
            problem = f"{outcome.errors} of {outcome.requests} requests got no 200"
        elif not outcome.requests:
            problem = "no request was answered"
        return Sample(
            rate=outcome.rate,
            p50=outcome.p50,
            p99=outcome.p99,
            cpu=server / requests,
            nginx_cpu=nginx / requests,
            rss=rss(child.pid) if child else 0.0,
            reference=before.rate,
            reference_p99=before.p99,
            others=max(0.0, everything - server - nginx - own) / size.seconds / 1e6,
            problem=problem,
        )

    def _load(self, system: System, via: Via, connections: int, seconds: float) -> Outcome:
        if via == "socket":
            path = self._socket(system)
            return load.straight(path, system.path, connections, seconds, system.batch)
        port = self._front.ports[system.name]
        return load.through_nginx(port, system.path, connections, seconds, system.batch)

    def _warm_up(self, system: System) -> None:
        path = self._socket(system)
        load.straight(path, system.path, WARM_CONNECTIONS, WARM_UP, system.batch)

    def _socket(self, system: System) -> Path:
        return self._sockets / f"{system.name.replace(' ', '_')}.sock"


@contextlib.contextmanager
def _idle(path: Path, count: int) -> Iterator[None]:
    """Connections to the server's socket that have begun a request and say no more."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(path))
            connection.sendall(b"2")
        yield
