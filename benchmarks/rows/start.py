"""How long the commands take to start."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks import place, systems
from benchmarks.process import Child
from benchmarks.results import Figure
from benchmarks.rows.context import Context
from benchmarks.systems import Place, wait_ready

_SCRIPT = Path(sys.executable).parent / "habitat"
#: The console script, where the package is installed.
HABITAT = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-m", "habitat_like.cli"]


def start(context: Context) -> dict[str, Figure]:
    """`habitat --help` from start to end, `habitat serve` until it is ready."""
    usage, ready = [], []
    for _ in range(context.rounds * context.size.times):
        usage.append(_usage())
        ready.append(_ready(context))
    return {
        "start: habitat --help": Figure(values=usage, unit="s", better="lower"),
        "start: habitat serve": Figure(
            values=ready, unit="s", better="lower", what="to GET /readyz, empty journal"
        ),
    }


def _usage() -> float:
    begin = time.perf_counter()
    subprocess.run([*HABITAT, "--help"], stdout=subprocess.DEVNULL, cwd=place.ROOT, check=True)
    return time.perf_counter() - begin


def _ready(context: Context) -> float:
    with place.data("start") as directory:
        where = Place(context.sockets / "start.sock", directory, None)
        # By the console script, as an operator starts it.
        command, _ = systems.gateway("start", systems.embedded).command(where)
        command[:3] = HABITAT
        begin = time.perf_counter()
        child = Child("start", command)
        try:
            wait_ready(child, where.socket)
            return time.perf_counter() - begin
        finally:
            child.stop()
