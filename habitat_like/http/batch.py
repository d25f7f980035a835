"""A batch: the requests that share one journal commit, and their answers.

Nothing is answered 200 before it is committed and fsynced; every request of a batch is answered
by the commit that held its messages.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from habitat_like.http.response import Refuse, Reply, to_reply, unavailable
from habitat_like.http.site import Site
from habitat_like.journal.file import JournalError
from habitat_like.journal.journal import Row

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """A reply that waits for its batch's commit; ``pushed``: it has messages in the batch.

    ``refuse`` makes the answer to send instead if they could not be stored.
    """

    fd: int
    started: float
    name: str
    ip: str | None
    reply: Reply
    pushed: bool
    refuse: Refuse | None = None


class Committer:
    """Commits batches and sends their answers. Used by one thread at a time.

    ``send`` sends a whole reply to a descriptor and handles the rest.
    """

    def __init__(self, site: Site, send: Callable[[int, bytes], None]) -> None:
        self._site = site
        self._journal = site.server.journal
        self._metrics = site.metrics
        self._send = send
        #: Seconds that a commit takes, averaged over the last few.
        self.seconds = 0.001

    def answer(self, answers: list[Answer], rows: list[Row]) -> None:
        """Commit the batch, then answer every client accordingly."""
        durable = not rows or self._commit(rows)
        metrics = self._metrics
        for fd, _, name, _, answer, pushed, own in answers:
            stands = durable or not pushed
            status, data, *_ = answer if stands else _not_durable(own)
            if answer.settled is not None:
                self._settle(name, answer.settled, stands)
            metrics.requests[name, status] += 1
            self._send(fd, data)
        end = time.monotonic()
        if self._site.steering.slow_log is not None:
            for _, started, name, ip, answer, pushed, _ in answers:
                status = answer.status if durable or not pushed else _NOT_DURABLE.status
                self.log_slow(name, ip, status, end - started)
        metrics.batch_size.observe(len(answers))
        # Most of a batch arrived together.
        for started, times in Counter([answer[1] for answer in answers]).items():
            metrics.latency.observe(end - started, times)

    def answer_one(
        self, name: str, reply: Reply, rows: list[Row], refuse: Refuse | None = None
    ) -> Reply:
        """Commit one request's messages, ``rows``, and return its answer.

        For the WSGI application, which doesn't use our connections.
        """
        pushed = bool(rows) and not reply.changes_nothing
        stands = not pushed or self._commit(rows)
        if reply.settled is not None:
            self._settle(name, reply.settled, stands)
        reply = reply if stands else _not_durable(refuse)
        self._metrics.requests[name, reply.status] += 1
        return reply

    def log_slow(self, name: str, ip: str | None, status: int, seconds: float) -> None:
        """Log a request that was slower than the operator's threshold."""
        slow = self._site.steering.slow_log
        if slow is not None and seconds >= slow:
            self._site.steering.slow_request(name, status, ip, seconds)

    def probe(self) -> None:
        """While nothing can be stored, check whether it can be again.

        A load balancer that sees 503 may not send any message to try with.
        """
        if self._site.journal_problem is None:
            return
        try:
            self._journal.probe()
        except JournalError as error:
            self._site.journal_problem = str(error)
        else:
            self._is_well()

    def _commit(self, rows: list[Row]) -> bool:
        """Make ``rows`` durable; returns whether they are."""
        begin = time.monotonic()
        try:
            written = self._journal.write(rows)
        except JournalError as error:
            self._metrics.commit_failures += 1
            if self._site.journal_problem is None:
                log.error("no message can be stored: answering 503", extra={"why": str(error)})
            self._site.journal_problem = str(error)
            return False
        if written:  # repeats alone need no commit
            took = time.monotonic() - begin
            self._metrics.commit_seconds.observe(took)
            self.seconds += (took - self.seconds) / 8
        self._metrics.messages += len(rows)
        self._metrics.written += written
        self._is_well()
        return True

    def _is_well(self) -> None:
        if self._site.journal_problem is not None:
            self._site.journal_problem = None
            log.info("messages can be stored again")

    @staticmethod
    def _settle(name: str, settled: Callable[[bool], None], stands: bool) -> None:
        """Tell an action what became of its messages; its own code may fail in doing so."""
        try:
            settled(stands)
        except Exception as error:
            log.error("action failed", extra={"action": name}, exc_info=error)


_NOT_DURABLE = unavailable("the message could not be stored")


def _not_durable(refuse: Refuse | None) -> Reply:
    return to_reply(_NOT_DURABLE) if refuse is None else refuse(_NOT_DURABLE)
