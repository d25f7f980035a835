"""Many stations at once: threads that upload over keep-alive connections, and retry."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support.gateway import Habitat
from tests.support.reply import Reply
from tests.support.wait import PATIENCE, eventually

Identity = tuple[str, str]

#: How long a station waits before it retries, in seconds.
PAUSE = 0.02


def upload(number: int, callsign: str | None = None, created: int = 1295103598) -> bytes:
    """The body of upload ``number``: each number is another message."""
    packet = base64.b64encode(b"$$packet,%d" % number).decode()
    message = {
        "callsign": callsign or f"LOAD{number % 200}",
        "type": "RECEIVED_TELEM",
        "time_created": created,
        "time_uploaded": created + 5,
        "data": {"string": packet, "frequency": 434075000 + number},
    }
    return json.dumps(message).encode()


def identity(message: dict[str, Any]) -> Identity:
    """What a message and its document have in common: the callsign and the packet."""
    return message["callsign"].upper(), message["data"]["string"]


def post(gateway: Habitat, number: int) -> Reply:
    """Upload ``number`` straight to the gateway's socket."""
    return gateway.scgi("POST", "/message", upload(number))


def sent(bodies: Iterable[bytes]) -> set[Identity]:
    """The identities of uploads."""
    return {identity(json.loads(body)) for body in bodies}


def counted(documents: Iterable[dict[str, Any]]) -> Counter[Identity]:
    """How often each identity is among documents."""
    return Counter(identity(document) for document in documents)


@dataclass
class Outcome:
    """What a load's stations saw. ``answered`` are the bodies that got a 200, as often as that."""

    answered: list[bytes] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    #: Requests that got no answer at all.
    broken: int = 0
    #: Seconds that each 200 took.
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def report(self) -> str:
        """Rate and latencies in one line."""
        taken = sorted(self.latencies) or [0.0]
        p50, p99 = taken[len(taken) // 2], taken[min(len(taken) * 99 // 100, len(taken) - 1)]
        return (
            f"{len(self.answered)} uploads in {self.seconds:.2f} s:"
            f" {len(self.answered) / max(self.seconds, 1e-9):.0f}/s,"
            f" p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms;"
            f" {dict(self.statuses)}, {self.broken} without an answer"
        )


class Load:
    """Uploads ``bodies`` to ``POST path`` at ``address`` over ``connections`` connections at once.

    What gets no 200 is sent again after a pause, until ``limit`` seconds have passed; with
    ``retry`` off it is sent once, and ``outcome`` tells.
    """

    def __init__(
        self,
        address: tuple[str, int],
        bodies: Iterable[bytes],
        *,
        connections: int = 64,
        path: str = "/message",
        retry: bool = True,
        limit: float = 2 * PATIENCE,
    ) -> None:
        self.outcome = Outcome()
        self._address = address
        self._path = path
        self._retry = retry
        self._left = deque(bodies)
        self._in_flight = 0
        self._lock = threading.Lock()
        self._limit = limit
        self._end = 0.0
        self._given_up = threading.Event()
        self._threads = [
            threading.Thread(target=self._station, name=f"station {number}")
            for number in range(connections)
        ]

    def start(self) -> Load:
        """Start the stations."""
        begin = time.monotonic()
        self._end = begin + self._limit
        self.outcome.seconds = -begin
        for thread in self._threads:
            thread.start()
        return self

    def answered(self) -> int:
        """How many uploads got their 200 so far."""
        return len(self.outcome.answered)

    def wait_for(self, answered: int) -> None:
        """Wait until so many uploads got their 200."""
        eventually(lambda: self.answered() >= answered, "the load runs")

    def give_up(self) -> None:
        """Let the stations stop after the request that each has under way."""
        self._given_up.set()

    def join(self) -> Outcome:
        """Wait until all is uploaded, or given up; what the stations saw."""
        for thread in self._threads:
            thread.join()
        self.outcome.seconds += time.monotonic()
        return self.outcome

    def __enter__(self) -> Load:
        """Start."""
        return self.start()

    def __exit__(self, *error: object) -> None:
        """Stop, early if the test has failed."""
        if error[0] is not None:
            self.give_up()
        for thread in self._threads:
            thread.join()

    def _station(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
        try:
            while (body := self._next()) is not None:
                status = self._send(connection, body)
                with self._lock:
                    self._in_flight -= 1
                    if status != 200 and self._retry:
                        self._left.append(body)
                if status != 200:
                    self._given_up.wait(PAUSE)
        finally:
            connection.close()

    def _next(self) -> bytes | None:
        """The next body; None when there is none left, also none that may come back."""
        while time.monotonic() < self._end and not self._given_up.is_set():
            with self._lock:
                if self._left:
                    self._in_flight += 1
                    return self._left.popleft()
                if not self._in_flight:
                    return None
            self._given_up.wait(PAUSE)
        return None

    def _send(self, connection: http.client.HTTPConnection, body: bytes) -> int | None:
        """One upload; its status, None without a whole answer."""
        begin = time.monotonic()
        try:
            connection.request("POST", self._path, body)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            with self._lock:
                self.outcome.broken += 1
            return None
        with self._lock:
            self.outcome.statuses[response.status] += 1
            if response.status == 200:
                self.outcome.answered.append(body)
                self.outcome.latencies.append(time.monotonic() - begin)
        return response.status
