"""The ledger: what stations sent, and what they were told of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

SENT, ACKNOWLEDGED, REFUSED, BAD = 1, 2, 4, 8


class Ledger:
    """One byte of flags a message: SENT, ACKNOWLEDGED (200), REFUSED (4xx), BAD (sent as such).

    Thread-safe. ``attempts`` counts requests, ``statuses`` their answers (0: none).
    """

    def __init__(self) -> None:
        self._flags = bytearray()
        # Guards all of it.
        self._lock = threading.Lock()
        self.attempts = 0
        self.statuses: Counter[int] = Counter()
        self.acknowledged = 0

    def __len__(self) -> int:
        """One more than the largest number in it."""
        return len(self._flags)

    def __getitem__(self, number: int) -> int:
        """The flags of a message; 0 for one that was never sent."""
        return self._flags[number] if 0 <= number < len(self._flags) else 0

    def sending(self, numbers: Iterable[int], bad: Iterable[int] = ()) -> None:
        """These are about to be sent; ``bad`` as messages that must be refused."""
        with self._lock:
            self.attempts += 1
            for number in numbers:
                self._put(number, SENT)
            for number in bad:
                self._put(number, SENT | BAD)

    def answered(
        self, status: int, acknowledged: Iterable[int] = (), refused: Iterable[int] = ()
    ) -> None:
        """An answer came, and said this of these messages."""
        with self._lock:
            self.statuses[status] += 1
            for number in acknowledged:
                if not self[number] & ACKNOWLEDGED:
                    self.acknowledged += 1
                self._put(number, ACKNOWLEDGED)
            for number in refused:
                self._put(number, REFUSED)

    def forget(self, numbers: Iterable[int]) -> None:
        """Nobody promised anything about these any more."""
        with self._lock:
            for number in numbers:
                self._flags[number] = 0

    def numbers(self, wanted: int, unwanted: int = 0) -> list[int]:
        """The messages that have all flags of ``wanted`` and none of ``unwanted``."""
        flags = self._flags
        return [n for n in range(len(flags)) if flags[n] & (wanted | unwanted) == wanted]

    def count(self, wanted: int, unwanted: int = 0) -> int:
        """How many those are."""
        flags = bytes(self._flags)
        both = wanted | unwanted
        return sum(flags.count(value) for value in range(16) if value & both == wanted)

    def save(self, path: Path) -> None:
        """Keep it, to look at after a failure: byte n is message n."""
        path.write_bytes(self._flags)

    def _put(self, number: int, flags: int) -> None:
        if number >= len(self._flags):
            self._flags.extend(bytes(number + 1 - len(self._flags)))
        self._flags[number] |= flags
