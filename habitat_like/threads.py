"""Threads: how each of the program is started, and how long one waits before another try."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a thread whose every unexpected end reaches ``threading.excepthook``.

    Python ends a thread without a word when its code raises SystemExit, which would leave the
    process half dead. The threads are daemons so that one that can't be stopped doesn't keep the
    process from ending; the program joins all of them.
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
    """The names of the threads that still run."""
    return [thread.name for thread in threads if thread.is_alive()]


def backoff(tries: int, shortest: float, longest: float) -> float:
    """Seconds to wait after ``tries`` failed tries: exponential, with jitter.

    ``shortest`` and ``longest``, in seconds, are those of ``archive.retry_min`` and
    ``archive.retry_max``. Half of the wait is by chance, so that many don't come back together.
    """
    ceiling = min(longest, shortest * 2.0 ** min(tries - 1, 32))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 (jitter needs no secrecy)
