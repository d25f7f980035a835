"""The slow lane: threads for actions that may take long."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from habitat_like.journal.journal import Row
from habitat_like.threads import alive, start_thread

if TYPE_CHECKING:
    from habitat_like.http.connection import Connection
    from habitat_like.http.handler import SCGIHandler
    from habitat_like.http.response import Reply
    from habitat_like.message_server import Server


class Done(NamedTuple):
    """A slow request whose action has returned; ``rows`` are the messages it pushed."""

    connection: Connection
    handler: SCGIHandler
    reply: Reply
    rows: list[Row]


class Workers:
    """A pool of ``count`` threads that run actions; ``name`` is theirs, with a number.

    What an action pushes is not committed here: it goes back with the response through
    ``report`` (called on a worker's thread) and is committed before the response is sent.
    """

    def __init__(
        self, name: str, count: int, server: Server, report: Callable[[Done], None]
    ) -> None:
        self._name = name
        self._server = server
        self._report = report
        self._queue: queue.SimpleQueue[tuple[Connection, SCGIHandler] | None] = queue.SimpleQueue()
        self._count = count
        self._threads: list[threading.Thread] = []
        # Seconds that an action takes, averaged over the last few. Written by all the threads, read
        # by the gateway's: an estimate, so it doesn't matter if one overwrites another's.
        self._seconds = 0.0

    def start(self) -> None:
        """Start the threads."""
        self._threads = [start_thread(f"{self._name} {n}", self._run) for n in range(self._count)]

    def put(self, connection: Connection, handler: SCGIHandler) -> None:
        """Queue a request. The number of connections, and ``delay``, bound the queue."""
        self._queue.put((connection, handler))

    @property
    def delay(self) -> float:
        """About how many seconds a request queued now will wait for a thread."""
        return self._queue.qsize() * self._seconds / self._count

    def stop(self, deadline: float) -> list[str]:
        """Join the threads by ``deadline`` (monotonic); returns the names of those still busy."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return alive(self._threads)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            self._work(*work)
            del work  # otherwise the body would be kept until the next request

    def _work(self, connection: Connection, handler: SCGIHandler) -> None:
        if connection.abandoned:  # answered 503 while it waited here
            handler.release()
            return
        begin = time.monotonic()
        with self._server.transaction() as rows:
            reply = handler.handle_slow()
        if reply.changes_nothing:
            rows.clear()  # a refused request changes nothing
        self._seconds += (time.monotonic() - begin - self._seconds) / 8
        self._report(Done(connection, handler, reply, rows))
