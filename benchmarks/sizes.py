"""How much a run measures: full, quick, or the least that still uses every part."""

from __future__ import annotations

import msgspec


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """``seconds`` is the time of one sample, ``reference`` that of the responder's, whole seconds.

    ``connections`` are those of most cells. The other numbers are those of the rows: ``documents``
    in the archive and the journal that count as large, ``backlog`` messages to drain, ``couch``
    messages into the CouchDB-protocol server, ``times`` repetitions of what is short. For the
    console: ``stations``, so many ``days`` of statistics, and ``pairs`` of loads with and without
    its users, each of ``clicking`` seconds.
    """

    name: str
    rounds: int
    seconds: float
    reference: float
    connections: tuple[int, ...]
    all_cells: bool
    documents: int
    backlog: int
    couch: int
    times: int
    stations: int
    days: int
    pairs: int
    clicking: float


FULL = Size(
    name="full",
    rounds=3,
    seconds=2,
    reference=1,
    connections=(8, 32, 128),
    all_cells=True,
    documents=1_000_000,
    backlog=300_000,
    couch=5_000,
    times=20,
    stations=5000,
    days=400,
    pairs=6,
    clicking=5,
)
QUICK = Size(
    name="quick",
    rounds=1,
    seconds=1,
    reference=1,
    connections=(8, 32, 128),
    all_cells=False,
    documents=50_000,
    backlog=150_000,
    couch=1_000,
    times=5,
    stations=500,
    days=30,
    pairs=2,
    clicking=3,
)
SMOKE = Size(
    name="smoke",
    rounds=1,
    seconds=1,
    reference=1,
    connections=(8,),
    all_cells=False,
    documents=2_000,
    backlog=0,
    couch=200,
    times=2,
    stations=150,
    days=3,
    pairs=1,
    clicking=1,
)
SIZES = {size.name: size for size in (FULL, QUICK, SMOKE)}
