"""What each network received, for ``/status``, ``/metrics`` and the console. No I/O."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from habitat_like.message.message import Listener, Message
from habitat_like.statistics.status import LastObservation, LastProblem, NetworkStatus


class Counts:
    """Counts of one network since the gateway's start. Thread-safe."""

    def __init__(self) -> None:
        # Guards all below.
        self._lock = threading.Lock()
        self._requests = 0
        self._observations: Counter[str] = Counter()
        self._suspicious = 0
        self._problems = 0
        self._refused: Counter[str] = Counter()
        # Time in UNIX seconds, station, and type of the last message.
        self._last: tuple[float, Listener, str] | None = None
        # Time in UNIX seconds, station, and problem.
        self._last_problem: tuple[float, str | None, str] | None = None

    def taken(self, messages: Sequence[Message], now: float, problems: int = 0) -> None:
        """Count a request of which these ``messages``, at least one, were taken."""
        with self._lock:
            self._requests += 1
            self._problems += problems
            for message in messages:
                self._observations[message.type] += 1
                if message.suspicious is not None:
                    self._suspicious += 1
            self._last = now, message.listener, message.type

    def request(self) -> None:
        """Count a request with nothing to take: a probe, an empty body."""
        with self._lock:
            self._requests += 1

    def problem(self, now: float, station: str | None, text: str) -> None:
        """Keep the last problem; it is counted elsewhere."""
        with self._lock:
            self._last_problem = now, station, text

    def refused(self, reason: str, problems: int = 0) -> None:
        """Count a request from which nothing was taken, by ``reason``: one of a few words."""
        with self._lock:
            self._requests += 1
            self._refused[reason] += 1
            self._problems += problems

    def snapshot(self, own: dict[str, Any]) -> NetworkStatus:
        """All counts, with the network's ``own`` status."""
        with self._lock:
            last = None
            if self._last is not None:
                now, listener, kind = self._last
                last = LastObservation(now, listener.callsign, kind)
            return NetworkStatus(
                self._requests,
                dict(sorted(self._observations.items())),
                self._suspicious,
                self._problems,
                dict(sorted(self._refused.items())),
                last,
                self._last_problem and LastProblem(*self._last_problem),
                own,
            )
