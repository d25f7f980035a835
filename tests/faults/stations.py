"""Stations: many clients that upload numbered messages, and retry whatever got no 200."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tests.faults.ledger import Ledger
from tests.faults.messages import Messages
from tests.support import scgi
from tests.support.wait import PATIENCE

#: How long a station waits before it retries, in seconds.
PAUSE = 0.02
#: Uploads that wait to be sent again, for each station, over which it sends nothing new.
WAITING = 4
#: Answers after which nothing is retried: they say that the request itself is wrong.
FINAL = {400, 404, 405, 413, 415, 431}


class Client(Protocol):
    """One station's way to the gateway."""

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """One upload; status and body of the answer. Raises OSError when there is no whole one."""

    def close(self) -> None:
        """Hang up."""


class HttpClient:
    """Over HTTP, keeping its connection."""

    def __init__(self, address: tuple[str, int], timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._socket: socket.socket | None = None

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            return self._post(path, body, headers)
        except (OSError, ValueError) as error:
            self.close()
            raise OSError(f"no whole answer: {error}") from error

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered
            self._socket.sendall(head.encode() + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        top, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        while len(rest) < int(fields["content-length"]):
            rest += self._receive()
        if fields.get("connection") == "close":
            self.close()
        return int(first.split()[1]), rest

    def _receive(self) -> bytes:
        assert self._socket is not None
        part = self._socket.recv(65536)
        if not part:
            raise OSError("closed")
        return part


class ScgiClient:
    """Straight to the gateway's socket, as a web server."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self._timeout)
            connection.connect(self._path)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(scgi.encode("POST", path, body, headers))
            data = b""
            while part := connection.recv(65536):
                data += part
        try:
            reply = scgi.decode(data)
        except AssertionError as error:
            raise OSError(str(error)) from error
        return reply.status, reply.body

    def close(self) -> None:
        """Nothing is kept."""


@dataclass
class Upload:
    """One request that a station makes, and makes again: ``numbers``, of which some are bad."""

    path: str
    body: bytes
    numbers: list[int]
    bad: set[int] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    repeat: bool = False

    def judge(self, status: int, body: bytes) -> tuple[list[int], list[int], bool]:
        """Which messages got a 200 and which a 4xx, and whether it must be sent again."""
        if self.path == "/message":
            if status == 200:
                return self.numbers, [], False
            return [], self.numbers if status in FINAL else [], status not in FINAL
        if status not in (200, 207, 400):
            return [], self.numbers if status in FINAL else [], status not in FINAL
        try:
            results = json.loads(body)["results"]
        except (ValueError, KeyError):
            return [], self.numbers, False
        taken = [n for n, result in zip(self.numbers, results, strict=True) if "id" in result]
        return taken, [n for n in self.numbers if n not in set(taken)], False


@dataclass(frozen=True)
class Mix:
    """What stations send: shares of bulk uploads (``size`` messages), bad ones and repeats."""

    bulk: float = 0.1
    size: int = 20
    bad: float = 0.03
    repeat: float = 0.05
    twice: bool = False


class Stations:
    """``threads`` stations that upload messages of ever new numbers until ``finish``.

    Then each goes on until what it sent has its 200, at most ``limit`` seconds in all. ``clients``
    makes a station's client. What is sent depends on ``rng`` alone; when, on the machine.
    """

    def __init__(
        self,
        clients: list[Client],
        messages: Messages,
        ledger: Ledger,
        rng: random.Random,
        *,
        mix: Mix,
        count: int,
        limit: float,
    ) -> None:
        self._messages = messages
        self._ledger = ledger
        self._rng = rng
        self._mix = mix
        self._next = len(ledger)
        self._end = self._next + count
        self._deadline = time.monotonic() + limit
        self._again: deque[Upload] = deque()
        # Guards the generator of uploads and the count of those under way.
        self._lock = threading.Lock()
        self._under_way = 0
        self._progress = threading.Condition(self._lock)
        self._finishing = False
        self._given_up = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(client,), name=f"station {number}")
            for number, client in enumerate(clients)
        ]

    def __enter__(self) -> Stations:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._given_up.set()
        self.finish()

    def finish(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Send nothing new; wait until everything sent has its answer.

        ``meanwhile`` is called now and then: a supervisor's part.
        """
        self._finishing = True
        for thread in self._threads:
            while thread.is_alive():
                meanwhile()
                thread.join(0.2)

    def wait_for(self, more: int, timeout: float = PATIENCE) -> bool:
        """Wait until so many more messages have their 200; whether they have in that time."""
        goal = self._ledger.acknowledged + more
        with self._progress:
            return self._progress.wait_for(
                lambda: self._ledger.acknowledged >= goal or not self.running(), timeout
            )

    def running(self) -> bool:
        """Whether any station still is at work."""
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, client: Client) -> None:
        while (upload := self._take()) is not None:
            again = self._send(client, upload)
            with self._progress:
                self._under_way -= 1
                if again:
                    self._again.append(upload)
                self._progress.notify_all()
            if again:
                self._given_up.wait(PAUSE)
        client.close()

    def _take(self) -> Upload | None:
        """The next upload; None when none is left and none can come back."""
        while not self._given_up.is_set() and time.monotonic() < self._deadline:
            with self._lock:
                upload = self._choose()
                if upload is not None:
                    self._under_way += 1
                    return upload
                if not self._under_way:
                    return None
            self._given_up.wait(PAUSE)
        return None

    def _choose(self) -> Upload | None:
        # A station that can't get rid of what it has makes no more of it.
        waiting = len(self._again)
        old = (waiting > 0 and self._rng.random() < 0.5) or waiting > WAITING * len(self._threads)
        if not old and not self._finishing and self._next < self._end:
            return self._make()
        return self._again.popleft() if self._again else None

    def _make(self) -> Upload:
        rng, mix, first = self._rng, self._mix, self._next
        if rng.random() >= mix.bulk:
            self._next += 1
            bad = {first} if rng.random() < mix.bad else set()
            body = self._messages.bad(first) if bad else self._messages.body(first)
            upload = Upload("/message", body, [first], bad)
        else:
            size = min(rng.randint(1, 2 * mix.size), self._end - first)
            self._next += size
            numbers = list(range(first, first + size))
            bad = {n for n in numbers if rng.random() < mix.bad / 4}
            make = self._messages
            parts = [make.bad(n) if n in bad else make.body(n).strip() for n in numbers]
            upload = Upload("/messages", b"\n".join(parts), numbers, bad)
            if rng.random() < 0.3:
                upload.body = gzip.compress(upload.body, 1)
                upload.headers = {"Content-Encoding": "gzip"}
        upload.repeat = rng.random() < mix.repeat
        if mix.twice:
            self._again.append(upload)
        return upload

    def _send(self, client: Client, upload: Upload) -> bool:
        """One try; whether another is due."""
        good = [number for number in upload.numbers if number not in upload.bad]
        self._ledger.sending(good, upload.bad)
        try:
            status, body = client.post(upload.path, upload.body, upload.headers)
        except OSError:
            self._ledger.answered(0)
            return True
        taken, refused, again = upload.judge(status, body)
        self._ledger.answered(status, taken, refused)
        if not again and upload.repeat:
            upload.repeat = False
            return True
        return again
