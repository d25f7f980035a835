"""Threads: how the program starts them; how long to wait before a retry, and for a rate limit."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a thread whose every unexpected end reaches ``threading.excepthook``.

    Python ends a thread silently when its code raises SystemExit, which would leave the process
    half dead. The threads are daemons so that one that can't be stopped doesn't keep the process
    alive; the program joins all of them.
    """

    def run() -> None:
        try:
            target()
        except SystemExit as error:
            raise RuntimeError(f"code in the thread {name!r} tried to end the process") from error

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def alive(threads: Iterable[threading.Thread]) -> list[str]:
    """The names of the threads still running."""
    return [thread.name for thread in threads if thread.is_alive()]


def backoff(tries: int, shortest: float, longest: float) -> float:
    """Seconds to wait after ``tries`` failed tries: exponential, with jitter.

    ``shortest`` and ``longest``, in seconds, are those of ``archive.retry_min`` and
    ``archive.retry_max``. Half of the wait is random, so that many don't come back together.
    """
    ceiling = min(longest, shortest * 2.0 ** min(tries - 1, 32))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 (jitter needs no secrecy)


class RateLimiter:
    """A token bucket for each key: at most ``burst`` tokens, ``per_minute`` new ones.

    Stored as the time at which a bucket is full again (the generic cell rate algorithm). It may go
    into debt: a caller let in takes all it needs, and waits longer afterwards. So one burst can
    exceed ``burst``, but the average can't. ``most`` keys are remembered; beyond that the least
    recently used is forgotten. Times are in seconds. Not thread-safe.
    """

    def __init__(self, per_minute: float, burst: int, most: int) -> None:
        self.per_minute = per_minute
        self.burst = burst
        self._most = most
        self._interval = 60 / per_minute
        self._room = (burst - 1) * self._interval
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until there is a token, 0 while there is one."""
        return max(self._full_at.get(key, now) - now - self._room, 0)

    def take(self, key: Hashable, now: float) -> None:
        """Take a token, even one not there yet."""
        known = self._full_at
        known[key] = max(known.get(key, now), now) + self._interval
        known.move_to_end(key)
        if len(known) > self._most:
            known.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Fill the key's bucket."""
        self._full_at.pop(key, None)

    @property
    def remembered(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)
