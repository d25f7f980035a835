"""Kept: things made once for all users, and kept for some seconds."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app

#: Seconds that something is kept, where nothing else is said.
FRESH = 10.0
#: How much is kept at most, and bytes (or characters) of all images and tables together.
MAX_KEPT = 256
MAX_BYTES = 4_000_000

T = TypeVar("T")


class Kept:
    """What is made once for all users: images, tables, numbers that take a while. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Guards all below.
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, tuple[float, Any]] = OrderedDict()
        self._bytes = 0
        # By key: held while it is made, so that it is made only once.
        self._making: dict[Any, threading.Lock] = {}

    def __len__(self) -> int:
        """How many things are kept."""
        with self._lock:
            return len(self._kept)

    def get(self, key: Any, make: Callable[[], T], fresh: float = FRESH) -> T:
        """What is kept under ``key``, at most ``fresh`` seconds old; else what ``make`` returns."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                found = self._kept.get(key)
                if found is not None and found[0] > self._clock():
                    self._kept.move_to_end(key)
                    self._making.pop(key, None)
                    value: T = found[1]
                    return value
            try:
                made = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                now = self._clock()
                for old in [name for name, (until, _) in self._kept.items() if until <= now]:
                    self._drop(old)
                self._drop(key)
                self._kept[key] = (now + fresh, made)
                self._bytes += _weight(made)
                while len(self._kept) > MAX_KEPT or self._bytes > MAX_BYTES:
                    self._drop(next(iter(self._kept)))
            return made

    def _drop(self, key: Any) -> None:
        if (found := self._kept.pop(key, None)) is not None:
            self._bytes -= _weight(found[1])


def kept() -> Kept:
    """The application's one."""
    found: Kept = current_app.extensions["kept"]
    return found


def _weight(made: Any) -> int:
    return len(made) if isinstance(made, (bytes, str)) else 0
