"""Draining: no more uploads, the sinks take what there is, then the program ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future


class Drain:
    """A drain that was asked for; ``backlog`` gives the messages that the sinks have not taken.

    ``timeout`` is in seconds, None for as long as it takes. Thread-safe: other threads look at
    ``outcome`` alone, which is the number of messages left when the program ends.
    """

    def __init__(self, backlog: Callable[[], int], timeout: float | None) -> None:
        self.backlog = backlog
        self.outcome: Future[int] = Future()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def is_over(self) -> bool:
        """Whether the program can end now, or must. Asked by the thread that ends it."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self.backlog() == 0
