"""Mount: a WSGI application at a path of the gateway, on its own threads.

The gateway's thread hands over a whole request with its connection and is then done with it: a
slow page, or a download that takes hours, delays no upload. The rules are those of PEP 3333.
"""

from __future__ import annotations

import contextlib
import io
import logging
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from habitat_like.config.addresses import plain
from habitat_like.http import scgi
from habitat_like.http.connection import Visit
from habitat_like.http.response import Response, to_reply, unavailable
from habitat_like.threads import alive, start_thread

log = logging.getLogger(__name__)

#: Requests that may wait for a thread; the next ones are answered 503.
MAX_WAITING = 64
#: Pieces that may still follow once the mount is stopping: what was on its way, and the ending that
#: an application which notices the stop adds to an incomplete file.
LAST_PIECES = 2
#: What an address has in codes: a web server passes on a client's bytes as they are.
_ODD = re.compile(r"[^!-~]")


class Mount:
    """Serves the WSGI ``application`` as ``name``, on ``threads`` threads.

    ``timeout`` is the seconds that a client may take over each part of its answer; ``count`` is
    called with the name and status of each answer, on the mount's threads; ``interrupt`` makes
    whatever the application waits for fail, once it has to stop. ``put`` is for the gateway's
    thread; ``start``, ``stop`` and ``join`` are for one thread.
    """

    def __init__(
        self,
        name: str,
        application: Any,
        threads: int,
        timeout: float,
        count: Callable[[str, int], None],
        interrupt: Callable[[], None],
    ) -> None:
        self.name = name
        self._report = count
        self._interrupt = interrupt
        self._application = application
        self._timeout = timeout
        self._count = threads
        self._queue: queue.SimpleQueue[Visit | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Guards what follows: nothing is queued after the end marker, where nobody would answer it,
        # and join can cut off clients that stop reading. The answering threads read _stopping
        # without it.
        self._lock = threading.Lock()
        self._stopping = False
        self._clients: set[socket.socket] = set()

    def start(self) -> None:
        """Start the threads; again after a ``join`` that left none."""
        self._stopping = False
        self._queue = queue.SimpleQueue()  # without the end markers of an earlier run
        self._threads = [start_thread(f"{self.name} {n}", self._run) for n in range(self._count)]

    def put(self, visit: Visit) -> bool:
        """Take over a request; False, taking nothing, when too many are waiting already."""
        with self._lock:
            if self._stopping or self._queue.qsize() >= MAX_WAITING:
                return False
            self._queue.put(visit)
            return True

    def stop(self) -> None:
        """Accept nothing more, and abort answers sent piece by piece; returns at once."""
        with self._lock:
            self._stopping = True
            for _ in self._threads:
                self._queue.put(None)
        self._interrupt()

    def join(self, deadline: float) -> list[str]:
        """Join the threads by ``deadline`` (monotonic); returns the names of those still busy.

        Clients that have not read their answer by half of that time are cut off.
        """
        half = time.monotonic() + (deadline - time.monotonic()) / 2
        for thread in self._threads:
            thread.join(max(half - time.monotonic(), 0))
        with self._lock:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return alive(self._threads)

    def _run(self) -> None:
        while (visit := self._queue.get()) is not None:
            try:
                status = self._visit(visit)
            finally:
                visit.release()
            del visit  # otherwise the body would be kept until the next request
            self._report(self.name, status)

    def _visit(self, visit: Visit) -> int:
        with socket.socket(fileno=visit.fd) as client:
            client.settimeout(self._timeout)
            with self._lock:
                self._clients.add(client)
            try:
                return self._serve(visit, client)
            finally:
                with self._lock:
                    self._clients.discard(client)

    def _serve(self, visit: Visit, client: socket.socket) -> int:
        """Answer one request; returns the status."""
        if self._stopping:
            return self._refuse(client, unavailable("the gateway is shutting down"))
        answer = _Answer(client)
        try:
            pieces: Iterable[bytes] = self._application(self._environ(visit), answer.start)
            try:
                last = 0
                for piece in pieces:
                    last += self._stopping and answer.sent
                    if last > LAST_PIECES:
                        log.warning("a download was broken off", extra={"path": visit.path})
                        break
                    answer.write(piece)
                answer.write(b"")
                answer.end()
            finally:
                if hasattr(pieces, "close"):
                    pieces.close()
        except OSError as error:
            # The client is gone, or has stopped reading.
            log.debug("no answer could be sent", extra={"why": str(error)})
        except Exception as error:
            log.error("a page failed", extra={"path": visit.path}, exc_info=error)
            if not answer.sent:
                failed = Response(500, b"the page failed; the gateway's log says why\n")
                return self._refuse(client, failed)
        return answer.code

    @staticmethod
    def _refuse(client: socket.socket, response: Response) -> int:
        with contextlib.suppress(OSError):
            client.sendall(to_reply(response).data)
        return response.status

    def _environ(self, visit: Visit) -> dict[str, Any]:
        headers = {
            name.decode(scgi.ENCODING): value.decode(scgi.ENCODING)
            for name, value in visit.request.headers.items()
        }
        root = headers.get("SCRIPT_NAME", "").rstrip("/")
        secure = headers.get("HTTPS", "").lower() in ("on", "1")
        headers.pop("HTTP_CONTENT_LENGTH", None)
        # Flask reads a query as UTF-8, and fails on bytes that are not.
        headers["QUERY_STRING"] = _ODD.sub(
            lambda odd: f"%{ord(odd[0]):02X}", headers.get("QUERY_STRING", "")
        )
        if "REMOTE_ADDR" in headers:
            headers["REMOTE_ADDR"] = plain(headers["REMOTE_ADDR"])
        return {
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            **headers,
            "SCRIPT_NAME": f"{root}/{self.name}",
            "PATH_INFO": f"/{visit.path}",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if secure else headers.get("REQUEST_SCHEME", "http"),
            "wsgi.input": io.BytesIO(visit.request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }


class _Answer:
    """The application's answer, on its way to the client."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._head = b""
        self.code = 500
        self.sent = False

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:  # the type that PEP 3333 gives
        """PEP 3333's ``start_response``."""
        if exc_info is not None and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self._head = scgi.encode_head(status, headers)
        self.code = int(status[:3])
        return self.write

    def end(self) -> None:
        """Tell the client that this was all: it need not wait for what is done after the answer."""
        self._client.shutdown(socket.SHUT_WR)

    def write(self, piece: bytes) -> None:
        """Send a piece of the body, preceded by the head if it is the first."""
        if not self.sent:
            piece = self._head + piece
            self.sent = True
        if piece:
            self._client.sendall(piece)
