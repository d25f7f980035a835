"""The connections to a CouchDB server: reused, bounded in time, cut on demand.

They replace couchdb-python's own; ``couch_node`` says why.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import couchdb.http
import msgspec

#: A whole request may take this many times the timeout of one socket operation.
WHOLE = 4

#: Bytes read at once from an answer whose size is limited.
_PIECE = 65536

#: ``_index`` answers 500 for whatever keeps it from saving a design document: what that means, by
#: a word of its reason (``mango_error.erl`` of CouchDB 3).
_UNSAVED = {"forbidden": 403, "unauthorized": 403, "conflict": 409}


class CouchRefused(Exception):
    """CouchDB answered with a status other than 2xx.

    ``status`` is the HTTP status, ``error`` CouchDB's word for it ("" when something other than
    CouchDB answered) and ``reason`` one line of text.
    """

    def __init__(self, status: int, error: str, reason: str) -> None:
        """Keep the three parts; the text joins them."""
        super().__init__(": ".join([str(status), *filter(None, (error, reason))]))
        self.status = status
        self.error = error
        self.reason = reason

    @property
    def is_locked(self) -> bool:
        """Whether the node lets the user in no more for a while, after too many wrong passwords."""
        return self.status == 403 and "temporarily locked" in self.reason


class CouchTooSlow(OSError):
    """A request missed its deadline although each piece came in time."""

    def __init__(self, seconds: float) -> None:
        """``seconds`` is the time it had."""
        super().__init__(f"longer than {seconds:g} s")
        self.seconds = seconds


class TooLarge(Exception):
    """An answer has more bytes than the request allowed."""


class _Interrupted(Exception):
    """``interrupt`` was called."""


class Pool(couchdb.http.ConnectionPool):  # type: ignore[misc]  # (the library has no types)
    """The connections to one server, idle and in use."""

    def __init__(self, timeout: float, context: ssl.SSLContext | None) -> None:
        """``timeout`` in seconds; ``context`` is None for plain HTTP."""
        super().__init__(timeout)
        self.timeout: float = timeout
        self.context = context
        #: A whole request may take this many times the timeout.
        self.whole: float = WHOLE
        #: Maximum bytes of the next request's answer, None for no limit.
        self.most: int | None = None
        self.interrupted = False
        self._idle: list[CouchConnection] = []
        self._busy: set[CouchConnection] = set()
        self._guard = threading.Lock()

    def get(self, url: str) -> CouchConnection:
        """A connection that looks alive: an idle one, else a new one."""
        with self._guard:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_usable():
                    break
                connection.close()
            else:
                connection = CouchConnection(self, urlsplit(url).netloc)
            self._busy.add(connection)
        connection.start()
        return connection

    def release(self, url: str, connection: CouchConnection) -> None:
        """Keep the connection for the next request; calling it once is enough."""
        with self._guard:
            if connection in self._busy:
                self._busy.remove(connection)
                if connection.sock is not None and not self.interrupted:
                    self._idle.append(connection)
                else:
                    connection.close()

    def drop(self, *, idle: bool = False) -> None:
        """Close the connections in use, whose request failed; with ``idle``, all others too."""
        with self._guard:
            doomed = [*self._busy, *(self._idle if idle else ())]
            self._busy.clear()
            if idle:
                self._idle.clear()
        for connection in doomed:
            connection.close()

    def interrupt(self) -> None:
        """Make running requests, and all later ones, fail."""
        self.interrupted = True
        with self._guard:
            for connection in self._busy:
                connection.cut()

    def check(self) -> None:
        """Raise _Interrupted after ``interrupt``."""
        if self.interrupted:
            raise _Interrupted

    def __del__(self) -> None:
        """Close the rest; the library's version expects attributes this class lacks."""
        self.drop(idle=True)


class CouchConnection(http.client.HTTPConnection):
    """One connection, http or https, that bounds the time of a request and reads whole answers."""

    def __init__(self, pool: Pool, netloc: str) -> None:
        """``netloc`` is host and port; no I/O."""
        super().__init__(netloc, timeout=pool.timeout)
        self._pool = pool
        self._raw: socket.socket | None = None
        self._deadline = 0.0
        self._unsent: OSError | None = None

    def start(self) -> None:
        """Begin a request: its deadline counts from here."""
        self._deadline = time.monotonic() + self._pool.whole * self._pool.timeout
        self._pool.check()

    def is_usable(self) -> bool:
        """Whether the idle connection is open and silent.

        A server that closes an idle connection makes it readable; so does one that sends
        something unasked, such as a proxy's 408.
        """
        if self._raw is None:
            return False
        try:
            poll = select.poll()
            poll.register(self._raw, select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return False

    def cut(self) -> None:
        """Make another thread's wait on the socket return."""
        raw = self._raw
        if raw is not None:
            # Not SSLSocket's shutdown, which would drop its state while the reader uses it.
            with contextlib.suppress(OSError):  # it may not be connected any more
                socket.socket.shutdown(raw, socket.SHUT_RDWR)

    def connect(self) -> None:
        """Connect, with the socket known to ``cut`` before it can block."""
        self._pool.check()
        problem: OSError = OSError(f"{self.host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        ):
            raw = socket.socket(family, kind, protocol)
            try:
                raw.settimeout(self.remaining())
                self._raw = raw
                self._pool.check()
                raw.connect(address)
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._pool.context is not None:
                    tls = self._pool.context.wrap_socket(
                        raw, server_hostname=self.host, do_handshake_on_connect=False
                    )
                    self._raw = raw = tls
                    tls.do_handshake()
                self._pool.check()
            except OSError as error:
                raw.close()
                self._raw, problem = None, error
                continue
            except BaseException:
                raw.close()
                self._raw = None
                raise
            self.sock = _TimedSocket(raw, self)
            return
        raise problem

    def remaining(self) -> float:
        """Seconds the next socket operation may take."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CouchTooSlow(self._pool.whole * self._pool.timeout)
        return float(min(left, self._pool.timeout))

    @contextlib.contextmanager
    def in_time(self, raw: socket.socket) -> Iterator[None]:
        """Bound one socket operation; tell a late piece from a late whole."""
        raw.settimeout(self.remaining())
        try:
            yield
        except TimeoutError:
            self.remaining()
            raise

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        """Send the request; go on to the answer if the server stops reading half-way.

        A server that finds the body too large answers 413 and closes without reading the rest.
        """
        self._unsent = None
        try:
            super().endheaders(message_body, encode_chunked=encode_chunked)
        except (BrokenPipeError, ConnectionResetError) as error:
            if self.sock is None:
                raise
            self._unsent = error

    def getresponse(self) -> Any:
        """The whole answer, for the library to read. Raises CouchRefused unless it is 2xx.

        Raises TooLarge too, and then stops reading.
        """
        try:
            response = super().getresponse()
            body = _read(response, self._pool.most)
        except (OSError, http.client.HTTPException) as error:
            raise self._unsent or error from None
        if self._unsent is not None or response.will_close:
            self.close()
        if not 200 <= response.status < 300:
            self._pool.release("", self)
            raise _refused(response.status, body)
        if self._unsent is not None:
            raise self._unsent
        return _Answer(response.status, response.msg, body)

    def close(self) -> None:
        """Close the socket."""
        super().close()
        self._raw = None


class _TimedSocket:
    """A socket whose every operation gets what remains of the request's time."""

    def __init__(self, raw: socket.socket, connection: CouchConnection) -> None:
        self._raw = raw
        self._connection = connection

    def sendall(self, data: Any) -> None:
        """Send all of ``data``."""
        view = memoryview(data).cast("B")
        while view:
            with self._connection.in_time(self._raw):
                view = view[self._raw.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """The file that http.client reads the answer from."""
        return io.BufferedReader(_TimedReader(self._raw, self._connection), 65536)

    def close(self) -> None:
        """Close the socket."""
        self._raw.close()


class _TimedReader(io.RawIOBase):
    """The reading half of ``_TimedSocket``."""

    def __init__(self, raw: socket.socket, connection: CouchConnection) -> None:
        super().__init__()
        self._raw = raw
        self._connection = connection

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """One receive, within the remaining time."""
        with self._connection.in_time(self._raw):
            return self._raw.recv_into(buffer)


class _Answer:
    """A whole 2xx answer in the form the library expects from http.client."""

    def __init__(self, status: int, message: Message, body: bytes) -> None:
        self.status = status
        self.msg = message
        self._body = body

    def getheader(self, name: str, default: Any = None) -> Any:
        """A header; the length makes the library take the body whole and not stream it."""
        if name == "content-length":
            return "1" if self._body else "0"
        return self.msg.get(name, default)

    def read(self) -> bytes:
        """The body."""
        return self._body


def _read(response: http.client.HTTPResponse, most: int | None) -> bytes:
    """The body of an answer. Raises TooLarge if it has more than ``most`` bytes."""
    if most is None:
        return response.read()
    if response.length is not None:
        if response.length > most:
            raise TooLarge
        return response.read()  # unlike a sized read, it detects a truncated body
    pieces = []
    while piece := response.read(_PIECE):
        pieces.append(piece)
        most -= len(piece)
        if most < 0:
            raise TooLarge
    return b"".join(pieces)


class _Said(msgspec.Struct):
    """CouchDB's body of an error."""

    error: Any = ""
    reason: Any = ""
    message: Any = ""


def _refused(status: int, body: bytes) -> CouchRefused:
    try:
        said = msgspec.json.decode(body, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return CouchRefused(status, "", one_line(body[:400].decode(errors="replace")))
    error, reason = str(said.error or ""), one_line(str(said.reason or said.message or ""))
    if error == "error_saving_ddoc":
        status = next((_UNSAVED[word] for word in reason.split() if word in _UNSAVED), status)
    return CouchRefused(status, error, reason)


def one_line(text: str) -> str:
    """``text`` in one line of at most 200 characters, without control characters."""
    words = " ".join(text.split())
    return "".join(one if one.isprintable() else "?" for one in words)[:200]
