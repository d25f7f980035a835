"""Housekeeping: what the journal needs once a second, off the path of the requests."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from habitat_like import log
from habitat_like.config.keys import JournalConfig
from habitat_like.journal.file import JournalError, JournalFailed
from habitat_like.journal.journal import Journal
from habitat_like.main.signals import FAILED

logger = logging.getLogger(__name__)

#: Seconds of pruning before the checkpoint, the watchdog and the rest get their turn.
PRUNE_FOR = 0.1
#: The longest pause after a slice, in seconds. It lasts as long as the slice, to let commits in.
PRUNE_PAUSE = 0.05


class Housekeeping:
    """Looks after ``journal``, on one thread.

    ``beat`` is called during long steps, so that the thread is not taken for stuck.
    """

    def __init__(self, journal: Journal, beat: Callable[[], None]) -> None:
        self._journal = journal
        self._beat = beat
        self._problem: str | None = None
        #: Dead letters by sink, as counted in the last round.
        self.dead_letters: dict[str, int] = {}

    def round(self, config: JournalConfig) -> bool:
        """Do what is due, and prune for a while; returns whether there is more to do at once.

        Each step is tried by itself: on a full disk, a prune can let a failing checkpoint succeed.
        Ends the process if the journal can't go on: a clean close would remove its log.
        """
        journal = self._journal
        self._tell(journal.look())
        self._try(lambda: journal.keep_files(self._beat))
        self._try(journal.keep_reserve)
        self._try(journal.checkpoint)
        self._try(self._count)
        more = self._prune(config)
        return self._tell(journal.problem) or more

    def _prune(self, config: JournalConfig) -> bool:
        """Delete some slices; returns whether there may be more to delete."""
        journal = self._journal
        end = time.monotonic() + PRUNE_FOR
        while True:
            begin = time.monotonic()
            if not self._try(lambda: journal.prune_slice(config.retention, config.max_bytes)):
                return False
            now = time.monotonic()
            if journal.is_tight or now >= end:
                return True
            time.sleep(min(now - begin, PRUNE_PAUSE))

    def _count(self) -> int:
        self.dead_letters = self._journal.count_dead_letters()
        return 0

    def _try(self, step: Callable[[], int | None]) -> bool:
        """Whether the step did something; a failed one is retried in the next round."""
        try:
            return bool(step())
        except JournalFailed as error:
            logger.critical("the journal can't go on, stopping at once", extra={"why": str(error)})
            log.close()
            os._exit(FAILED)
        except JournalError as error:
            logger.debug("housekeeping postponed", extra={"why": str(error)})
            return False

    def _tell(self, problem: str | None) -> bool:
        """Log a change in what keeps messages from being stored; returns whether it changed."""
        if problem == self._problem:
            return False
        self._problem = problem
        if problem is None:
            logger.info("the journal takes messages again")
        else:
            logger.critical("the journal takes no messages", extra={"why": problem})
        return True
