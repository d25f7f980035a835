"""Retention: lets messages go that are older than ``archive.keep``, a little at a time."""

from __future__ import annotations

import logging
import time

from habitat_like.archive.base import AgingArchive, ArchiveError
from habitat_like.times import FUTURE, is_set

log = logging.getLogger(__name__)

DAY = 86400
#: The share of the time that it takes while there is much to drop, the rest being for uploads.
SHARE = 0.1
#: Seconds until it looks again, when nothing is left to drop or it can't be.
PAUSE = 300.0


class Retention:
    """Drops what is older than ``keep`` days from ``archive``, on the thread that stores there.

    ``dropped`` counts messages; ``problem`` is why none can go now.
    """

    def __init__(self, archive: AgingArchive, keep: int) -> None:
        self.keep = keep
        self.dropped = 0
        self.problem: str | None = None
        self._archive = archive
        self._next = 0.0
        self._round = 0
        # The wall clock less the seconds since boot, when it was first right.
        self._booted: float | None = None

    def turn(self, seconds: float = 0.0) -> None:
        """Take some steps if it is time: one, or as many as begin within ``seconds``."""
        begun = time.monotonic()
        # A clock that is not set would let nothing go, one in the future everything.
        while is_set(now := time.time()) and time.monotonic() >= self._next:
            before = time.monotonic()
            if ahead := self._days_ahead(now):
                self._tell(
                    f"the clock was put ahead by {ahead} days: restart the gateway if it is right"
                )
                self._next = before + PAUSE
                return
            more = self._step(int(now) - self.keep * DAY)
            after = time.monotonic()
            if not more:
                self._next = after + PAUSE
            elif after - begun >= seconds:
                self._next = after + (after - before) * (1 / SHARE - 1)
            if not more or after - begun >= seconds:
                return

    def _days_ahead(self, now: float) -> int:
        """By how many days the clock was put ahead, if that is too much, else 0."""
        booted = now - time.clock_gettime(time.CLOCK_BOOTTIME)
        if self._booted is None:
            self._booted = booted
        ahead = booted - self._booted
        return int(ahead / DAY) if ahead >= FUTURE else 0

    def _step(self, before: int) -> bool:
        """One step; returns whether there is more to drop at once."""
        try:
            done = self._archive.drop_before(before)
        except ArchiveError as error:
            self._tell(str(error))
            return False
        self._tell("; ".join(done.kept) or None)
        self.dropped += done.messages
        self._round += done.messages
        if done.portions or (self._round and not done.more):
            extra = {"messages": self._round, "days": self.keep, "months": list(done.portions)}
            log.info("old messages dropped", extra=extra)
            self._round = 0
        return done.more

    def _tell(self, problem: str | None) -> None:
        before, self.problem = self.problem, problem
        if problem is not None and problem != before:
            log.warning("old messages stay", extra={"why": problem})
