"""Draining: no more uploads, the sinks take what there is, then the program ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future


class Drain:
    """A requested drain; ``backlog`` gives the number of messages the sinks have not taken.

    ``timeout`` is in seconds, None for no limit. Thread-safe: other threads only use ``outcome``,
    the number of messages left when the program ends.
    """

    def __init__(self, backlog: Callable[[], int], timeout: float | None) -> None:
        self.backlog = backlog
        self.outcome: Future[int] = Future()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def is_over(self) -> bool:
        """Whether the program can, or must, end now. Called by the thread that ends it."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self.backlog() == 0
