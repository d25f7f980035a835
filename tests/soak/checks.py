"""What scenarios have in common: waiting for the archive, and looking what is in it."""

from __future__ import annotations

import sys

from tests.soak.run import Run
from tests.soak.traffic import Traffic
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.wait import eventually

#: Seconds without progress after which a backlog is given up.
STUCK = 120.0


def wait_until_drained(habitat: Habitat) -> None:
    """Wait until all is archived, as long as it gets less."""
    left = sys.maxsize
    while left:

        def shrunk() -> tuple[int] | None:
            backlog: int = habitat.status()["backlog"]
            return (backlog,) if backlog < left else None  # noqa: B023 (called in this turn)

        what = f"of {left} messages more are archived"
        shown = eventually(shrunk, what, timeout=STUCK, pause=0.1)
        assert shown is not None
        (left,) = shown


def check_archived_once(run: Run, traffic: Traffic, couch: CouchServer, database: str) -> None:
    """Every message with a 200 is archived, and no other one, nor one twice."""
    verdict = traffic.compare(couch.ids(database))
    run.figure("acknowledged", verdict.acknowledged)
    run.figure("archived", verdict.archived)
    for name, finding in (("lost", verdict.lost), ("foreign or doubled", verdict.foreign)):
        found = f"{finding.count} {' '.join(finding.examples)}".strip()
        run.demand(name, "0", found, finding.count == 0, timed=False)
