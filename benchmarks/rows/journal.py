"""Whether the journal becomes slower as it grows."""

from __future__ import annotations

import contextlib
import time

from benchmarks import place, prepared
from benchmarks.results import Figure
from benchmarks.rows.context import Context
from habitat_like.journal.journal import Journal, Row

#: Messages in one commit: what comes in at about 32 connections.
BATCH = 32
#: Commits in one turn, so that both journals meet the same moods of the disk.
TURN = 50
TURNS = 8


def growth(context: Context) -> dict[str, Figure]:
    """Insert into a large journal and an empty one by turns."""
    count = context.size.documents
    ratios, large_rates = [], []
    fresh = prepared.rows(2 * BATCH * TURN * TURNS * context.rounds, first=10**9)
    for _ in range(context.rounds):
        with place.data("journal") as directory, contextlib.ExitStack() as stack:
            prepared.journal(directory / "large.sqlite", count)
            journals = [Journal(directory / name) for name in ("large.sqlite", "empty.sqlite")]
            for journal in journals:
                stack.callback(journal.close)
            took = [0.0, 0.0]
            for _ in range(TURNS):
                for which, journal in enumerate(journals):
                    todo = [next(prepared.batches(fresh, BATCH)) for _ in range(TURN)]
                    took[which] += _insert(journal, todo)
                    journal.checkpoint()
        ratios.append(took[1] / took[0])
        large_rates.append(BATCH * TURN * TURNS / took[0])
    return {
        "journal: large vs empty": Figure(
            values=ratios,
            unit="",
            better="higher",
            what=f"insert rate at {count:,} rows, commits of {BATCH}",
        ),
        "journal: inserts": Figure(
            values=large_rates, unit="/s", better="higher", what=f"at {count:,} rows"
        ),
    }


def _insert(journal: Journal, todo: list[list[Row]]) -> float:
    begin = time.perf_counter()
    for batch in todo:
        journal.write(batch)
    return time.perf_counter() - begin
