"""Signals, and the exit codes of the program."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

DONE = 0
FAILED = 1
USAGE = 2


class SignalListener:
    """Turns signals into calls on the main thread. Used by the main thread alone.

    SIGTERM and SIGINT call ``stop`` (a second one ends the process at once), SIGHUP ``reload``.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        self._stop = stop
        self._reload = reload
        self._stops = 0
        self._before = {number: signal.getsignal(number) for number in self.SIGNALS}

    def __enter__(self) -> SignalListener:
        """Begin to listen."""
        for number in self.SIGNALS:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload()
            return
        self._stops += 1
        if self._stops > 1:
            # Whatever was answered 200 is on disk; nothing else is worth waiting for.
            os._exit(FAILED)
        self._stop()
