"""An HTTP proxy in front of the CouchDB-protocol server that shows what a real one may do.

A rule looks at each request and returns an action, or None to pass it on as it is::

    proxy.rule = lambda method, path, body: Answer(413) if len(body) > 1000 else None
    proxy.rule = times(2, on("POST", "/_bulk_docs", Answer(503)))
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from socketserver import ThreadingMixIn
from typing import Any

from tests.support.couch import CouchServer
from tests.support.net import LocalServer
from tests.support.wait import PATIENCE

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass(frozen=True)
class Answer:
    """Answer by ourselves. ``body`` None: CouchDB's ``{"error": …, "reason": …}``."""

    status: int
    body: bytes | None = None
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = "the proxy says so"


@dataclass(frozen=True)
class Rewrite:
    """Pass the request on, change the status or the body of the answer."""

    status: int | None = None
    body: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True)
class CutOff:
    """Pass the request on, send a part of the answer's body, then close (or reset)."""

    fraction: float = 0.5
    reset: bool = False


@dataclass(frozen=True)
class Drop:
    """Close (or reset) without any answer, before or after the request was passed on."""

    forward: bool = False
    reset: bool = False


@dataclass(frozen=True)
class Hang:
    """Never answer, until ``Proxy.release`` (or its end) closes the connection."""

    forward: bool = False


@dataclass(frozen=True)
class Slow:
    """Wait before the request is passed on; ``Proxy.release`` ends the wait."""

    seconds: float


@dataclass(frozen=True)
class Narrow:
    """Pass on the request and its answer at so many bytes a second."""

    rate: float


Action = Answer | Rewrite | CutOff | Drop | Hang | Slow | Narrow
Rule = Callable[[str, str, bytes], Action | None]


def on(method: str, path: str, action: Action) -> Rule:
    """A rule for the requests with this method (or "*") whose path contains ``path``."""

    def rule(its_method: str, its_path: str, _body: bytes) -> Action | None:
        return action if method in ("*", its_method) and path in its_path else None

    return rule


def times(limit: int, rule: Rule) -> Rule:
    """A rule that acts so many times, then no more."""
    used = count(1)
    lock = threading.Lock()

    def limited(method: str, path: str, body: bytes) -> Action | None:
        action = rule(method, path, body)
        if action is None:
            return None
        with lock:
            return action if next(used) <= limit else None

    return limited


@dataclass(frozen=True)
class Seen:
    """A request that came in, with the action that its rule chose."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    action: Action | None

    def json(self) -> Any:
        return json.loads(self.body)


class Proxy(LocalServer):
    """The proxy, on a port that stays the same; set ``rule`` and ``credentials`` at any time.

    ``credentials`` are (user, password) of basic authentication; then every other request gets a
    401, as in CouchDB 3. ``requests`` has all requests in the order in which they came.
    """

    def __init__(self, couch: CouchServer) -> None:
        self.couch = couch
        self.rule: Rule | None = None
        self.credentials: tuple[str, str] | None = None
        self.requests: list[Seen] = []
        self.port = 0
        self.released = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.start()

    def uri(self, database: str, user: str | None = None) -> str:
        """The ``archive.uri`` of a database behind the proxy."""
        return f"couchdb://{user + '@' if user else ''}127.0.0.1:{self.port}/{database}"

    def seen(self, method: str = "*", path: str = "") -> list[Seen]:
        """The requests so far with this method whose path contains ``path``."""
        found = list(self.requests)
        return [one for one in found if method in ("*", one.method) and path in one.path]

    def count(self, method: str = "*", path: str = "") -> int:
        """How many those are."""
        return len(self.seen(method, path))

    def start(self) -> None:
        """Accept connections (again)."""
        if self._server is None:
            self.released = threading.Event()
            self._server = _Server(self, self.port)
            self.port = self._server.server_address[1]
            self._thread = threading.Thread(
                target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="proxy"
            )
            self._thread.start()

    def refuse(self) -> None:
        """Close every connection and refuse new ones, until ``start``."""
        if self._server is not None and self._thread is not None:
            self.released.set()  # for those that hang now and those that would begin to
            self._server.shutdown()
            self._thread.join()
            self._server.disconnect()
            self._server.server_close()
            self._server = self._thread = None

    def release(self) -> None:
        """End all hanging and waiting."""
        self.released.set()
        self.released = threading.Event()

    def close(self) -> None:
        """Stop for good."""
        self.refuse()


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        self.connections: set[socket.socket] = set()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self.connections.discard(request)
        super().shutdown_request(request)

    def disconnect(self) -> None:
        """End every connection, so that the threads end too."""
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_any(self) -> None:
        proxy = self.server.proxy
        released = proxy.released
        body = self._read_body()
        action: Action | None = self._unauthorized()
        if action is None and proxy.rule is not None:
            action = proxy.rule(self.command, self.path, body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        proxy.requests.append(Seen(self.command, self.path, headers, body, action))
        match action:
            case Answer():
                self._answer(action)
            case Hang(forward):
                if forward:
                    self._forward(body)
                released.wait()
                self.close_connection = True
            case Drop(forward, reset):
                if forward:
                    self._forward(body)
                self._hang_up(reset)
            case Slow(seconds):
                released.wait(seconds)
                self._relay(body, Rewrite())
            case Narrow(rate):
                released.wait(len(body) / rate)
                self._relay(body, action)
            case CutOff() | Rewrite():
                self._relay(body, action)
            case None:
                self._relay(body, Rewrite())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_COPY = do_OPTIONS = handle_any  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _unauthorized(self) -> Answer | None:
        credentials = self.server.proxy.credentials
        if credentials is None:
            return None
        token = base64.b64encode(":".join(credentials).encode()).decode()
        given = self.headers.get("Authorization")
        if given == f"Basic {token}":
            return None
        reason = "Name or password is incorrect." if given else "You are not a server admin."
        return Answer(401, reason=reason, headers={"WWW-Authenticate": 'Basic realm="server"'})

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        skipped = {"host", "connection", "transfer-encoding", "content-length", "authorization"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
        connection = http.client.HTTPConnection(*self.server.proxy.couch.address, timeout=PATIENCE)
        try:
            payload = body if body or self.command in ("POST", "PUT") else None
            connection.request(self.command, self.path, body=payload, headers=headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def _relay(self, body: bytes, action: Rewrite | CutOff | Narrow) -> None:
        try:
            response, answer = self._forward(body)
        except (OSError, http.client.HTTPException) as error:
            self._answer(Answer(502, reason=f"no CouchDB-protocol server: {error}"))
            return
        status = response.status
        if isinstance(action, Rewrite):
            status = action.status or status
            answer = action.body(answer) if action.body else answer
        length = response.headers.get("Content-Length", "0")
        chunked = response.headers.get("Transfer-Encoding") == "chunked"
        self.send_response(status)
        for name, value in response.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header(
                "Content-Length", length if self.command == "HEAD" else str(len(answer))
            )
        self.end_headers()
        if self.command == "HEAD":
            return
        whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer), answer) if chunked and answer else answer
        if chunked and not answer:
            whole = b"0\r\n\r\n"
        if isinstance(action, CutOff):
            self.wfile.write(whole[: int(len(whole) * action.fraction)])
            self._hang_up(action.reset)
        elif isinstance(action, Narrow):
            for at in range(0, len(whole), 64):
                self.wfile.write(whole[at : at + 64])
                self.server.proxy.released.wait(64 / action.rate)
        else:
            self.wfile.write(whole)

    def _answer(self, answer: Answer) -> None:
        body = answer.body
        if body is None:
            error = http.client.responses.get(answer.status, "error").lower().replace(" ", "_")
            body = json.dumps({"error": error, "reason": answer.reason}).encode()
        self.send_response(answer.status)
        if answer.content_type is not None:
            self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self, reset: bool) -> None:
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)  # close() then sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.wfile.flush()
            with self.server.lock:
                self.server.connections.discard(self.connection)
            self.connection.close()
