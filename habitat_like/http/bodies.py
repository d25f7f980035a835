"""Bodies: how many bytes of request bodies are in the gateway, and how many may be. No I/O."""

from __future__ import annotations

import threading


class Bodies:
    """Counts the bytes of all bodies that are in the gateway at once, as decoded. Thread-safe.

    ``limit`` is in bytes. Whoever keeps bytes of a body beyond a call takes room for them first,
    and gives it back when they are gone.
    """

    def __init__(self, limit: int) -> None:
        # Guards all below; ``room`` and ``waiting`` are read without it.
        self._lock = threading.Lock()
        self._limit = limit
        #: Bytes that are in the gateway.
        self.waiting = 0
        #: Bytes that may still come.
        self.room = limit

    def set_limit(self, limit: int) -> None:
        """Change the limit; what is in already stays."""
        with self._lock:
            self._limit = limit
            self.room = max(limit - self.waiting, 0)

    def take(self, size: int) -> bool:
        """Take room for ``size`` more bytes; False, and nothing is taken, where there is none."""
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
