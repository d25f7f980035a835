"""Bodies: how many bytes of request bodies the gateway holds, and how many it may. No I/O."""

from __future__ import annotations

import threading


class Bodies:
    """Counts the decoded bytes of all bodies in the gateway at once. Thread-safe.

    ``limit`` is in bytes. Code that keeps bytes of a body after a call returns takes room for them
    first, and gives it back when they are gone.
    """

    def __init__(self, limit: int) -> None:
        # Guards all below; ``room`` and ``waiting`` are read without it.
        self._lock = threading.Lock()
        self._limit = limit
        #: Bytes in the gateway.
        self.waiting = 0
        #: Bytes that may still arrive.
        self.room = limit

    def set_limit(self, limit: int) -> None:
        """Change the limit; bodies already in stay."""
        with self._lock:
            self._limit = limit
            self.room = max(limit - self.waiting, 0)

    def take(self, size: int) -> bool:
        """Take room for ``size`` more bytes; False, taking nothing, if there is none."""
        with self._lock:
            if size > self.room:
                return False
            self.waiting += size
            self.room -= size
            return True

    def give(self, size: int) -> None:
        """Give ``size`` bytes of room back."""
        with self._lock:
            self.waiting -= size
            self.room = max(self._limit - self.waiting, 0)
