"""How long to wait before another try."""

from __future__ import annotations

import random


def backoff(tries: int, shortest: float, longest: float) -> float:
    """Seconds to wait after ``tries`` failed tries: exponential, with jitter.

    ``shortest`` and ``longest``, in seconds, are those of ``archive.retry_min`` and
    ``archive.retry_max``. Half of the wait is by chance, so that many don't come back together.
    """
    ceiling = min(longest, shortest * 2.0 ** min(tries - 1, 32))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 (jitter needs no secrecy)
