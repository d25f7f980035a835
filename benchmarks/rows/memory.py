"""Whether the gateway's memory stays flat."""

from __future__ import annotations

from benchmarks import load, place, systems
from benchmarks.place import BenchError
from benchmarks.process import rss
from benchmarks.results import Figure
from benchmarks.rows.context import Context
from benchmarks.systems import Place, running

PARTS = 4
CONNECTIONS = 32
PATIENCE = 600.0


def memory(context: Context) -> dict[str, Figure]:
    """Resident memory after each quarter of many messages, with the embedded archive draining."""
    count = context.size.documents
    sizes = []
    with place.data("memory") as directory:
        where = Place(context.sockets / "memory.sock", directory, None)
        with running(systems.gateway("memory", systems.embedded), where) as child:
            for _ in range(PARTS):
                outcome = load.straight(
                    where.socket,
                    "/message",
                    CONNECTIONS,
                    PATIENCE,
                    requests=count // PARTS,
                )
                if outcome.errors or outcome.requests < count // PARTS:
                    raise BenchError(
                        f"{outcome.requests} requests of {count // PARTS}, {outcome.errors} errors"
                    )
                sizes.append(rss(child.pid))
    return {
        "memory: RSS": Figure(
            values=[sizes[-1]], unit="MB", better="lower", what=f"after {count:,} messages"
        ),
        "memory: growth": Figure(
            values=[sizes[-1] / sizes[0]],
            unit="",
            better="lower",
            what="RSS at the end by that after the first quarter",
        ),
    }
