"""A WSGI application with the gateway's actions, for sites that keep uWSGI in front.

``application(environ, start_response, configfile)`` has the signature, and reads the configuration
file, of the datastore that it replaces. It either forwards to a running gateway, or is one itself,
with its own journal and sinks but no socket. See docs/hisparc.md.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from habitat_like import log as logs
from habitat_like.config.keys import Config, ConfigError
from habitat_like.http import scgi
from habitat_like.http.batch import Committer
from habitat_like.http.handler import SCGIHandler
from habitat_like.http.listening_socket import exchange
from habitat_like.http.response import Refused, Reply, crowded, to_reply, unavailable
from habitat_like.journal.file import JournalError
from habitat_like.main.parts import BUSY_HOUSEKEEPING, HOUSEKEEPING, Parts
from habitat_like.message_server import SinkError
from habitat_like.networks import catalogue, datastore
from habitat_like.threads import start_thread

log = logging.getLogger(__name__)

#: Seconds that the sinks have to stop when the process ends.
STOP_TIMEOUT = 5.0

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Backend(Protocol):
    """What answers requests."""

    config: Config

    def answer(self, request: scgi.Request) -> Reply:
        """The reply to a request whose PATH_INFO names an action."""


def application(
    environ: Mapping[str, Any], start_response: StartResponse, configfile: str
) -> Iterable[bytes]:
    """Answer one request; ``configfile`` is the path of the INI file.

    Everything is set up on a process's first request, so it may be forked before. Thread-safe.
    """
    try:
        backend = _backend(configfile)
    except (ConfigError, SinkError, JournalError, ValueError, OSError) as error:
        print(f"habitat: error: {' '.join(str(error).split())}", file=environ["wsgi.errors"])
        reply = to_reply(unavailable("the gateway could not start"))
    else:
        reply = _answer(backend, environ)
    status, headers, body = scgi.decode_response(reply.data)
    named = [(name.title(), value) for name, value in headers.items() if name != "status"]
    start_response(f"{status} {HTTPStatus(status).phrase}", named)
    return [body]


# -- one request


def _answer(backend: Backend, environ: Mapping[str, Any]) -> Reply:
    """Build the request that a web server would send over SCGI, and have it answered."""
    limit = backend.config.gateway.max_body
    digits = environ.get("CONTENT_LENGTH") or "0"
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        return _refused(400, "CONTENT_LENGTH is not a number")
    size = int(digits)
    if size > limit:
        # Read and discarded, within reason: a client that is still sending when the server closes
        # never reads the answer.
        _read(environ["wsgi.input"], min(size, 2 * limit))
        return _refused(413, f"body: {size} bytes, over the limit of {limit} bytes")
    body = _read(environ["wsgi.input"], size)
    if len(body) < size:
        return _refused(400, "body: cut off")
    headers = {
        name.encode(scgi.ENCODING): value.encode(scgi.ENCODING, "replace")
        for name, value in environ.items()
        if isinstance(value, str) and (name.isupper() and not name.startswith("UWSGI"))
    }
    headers[b"PATH_INFO"] = _path(environ, backend).encode(scgi.ENCODING, "replace")
    headers[b"SCRIPT_NAME"] = b""
    return backend.answer(scgi.Request(headers, body))


def _path(environ: Mapping[str, Any], backend: Backend) -> str:
    """The path requested from us, wherever the application is mounted."""
    below = str(environ.get("PATH_INFO", ""))
    known = {one.rpartition(".")[2] for one in backend.config.gateway.actions}
    for network in catalogue.classes(backend.config.networks).values():
        known |= {route.pattern.split("/")[1] for route in network.routes}
    if below.strip("/").partition("/")[0] in known:
        return below
    name = f"{environ.get('SCRIPT_NAME', '')}{below}".rstrip("/").rpartition("/")[2]
    return f"/{name}" if name in known else datastore.DEFAULT_PATH


def _read(source: Any, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := source.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _refused(status: int, text: str) -> Reply:
    return to_reply(Refused(status, text).response())


def _slowly(handler: SCGIHandler) -> Reply:
    """The reply to a request that a gateway would give to its slow lane."""
    return handler.handle_slow() if handler.hold() else to_reply(crowded().response())


# -- what answers


class Forwarder:
    """Forwards requests to a running gateway and returns its answers."""

    def __init__(self, settings: datastore.Settings) -> None:
        self.config = settings.config
        self._socket = settings.socket or ""
        logs.configure(self.config.log)

    def answer(self, request: scgi.Request) -> Reply:
        """The gateway's reply; 503 where there is none."""
        headers = {
            name.decode(scgi.ENCODING): value.decode(scgi.ENCODING)
            for name, value in request.headers.items()
            if name not in (b"CONTENT_LENGTH", b"SCGI")
        }
        gateway = self.config.gateway
        try:
            # Longer than the gateway allows itself, also across its restart.
            patience = gateway.timeout + gateway.shutdown_timeout
            data = exchange(self._socket, scgi.encode_request(headers, request.body), patience)
            return Reply(scgi.decode_response(data)[0], data)
        except (OSError, scgi.ScgiError) as error:
            log.error("no response from the gateway", extra={"why": str(error)})
            return to_reply(unavailable("the gateway does not answer"))


class Standalone(Parts):
    """A gateway without a socket: the journal, its sinks, and the actions, in this process.

    Only one process can have the journal. Raises ConfigError, SinkError, JournalError, ValueError,
    OSError.
    """

    def __init__(self, settings: datastore.Settings) -> None:
        super().__init__(settings.config, settings.config_path)
        self._stopping = threading.Event()
        # Held while a batch is committed and counted: uWSGI may run several threads.
        self._lock = threading.Lock()
        with contextlib.ExitStack() as undo:
            self.build(undo)
            self._committer = Committer(self.site, _keep)
            self.server.start()
            if self.statistics is not None:
                self.statistics.start()
            self._keeper = start_thread("housekeeping", self._keep_house)
            undo.pop_all()
        self.site.stopping = False
        atexit.register(self.close)

    def answer(self, request: scgi.Request) -> Reply:
        """Run the action, commit what it pushed, and only then give its reply."""
        handler = SCGIHandler(request, None, self.site)
        try:
            with self.server.transaction() as rows:
                reply = handler.handle() or _slowly(handler)
            with self._lock:
                return self._committer.answer_one(handler.name, reply, rows, handler.own_refuse)
        finally:
            handler.release()

    def close(self) -> None:
        """Stop the sinks at a batch boundary, join every thread, close the journal."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self.site.stopping = True
        until = time.monotonic() + STOP_TIMEOUT
        self._keeper.join(STOP_TIMEOUT)
        left = self.stop_sinks(until) + self.stop_statistics(until)
        if not left and not self._keeper.is_alive():
            self.journal.close()
        logs.close()

    def _keep_house(self) -> None:
        more = False
        while not self._stopping.wait(BUSY_HOUSEKEEPING if more else HOUSEKEEPING):
            more = self.keep_house()
            with self._lock:
                self._committer.probe()


def _keep(fd: int, data: bytes) -> None:
    """We have no connection to send to."""


# Guards the backends; held while making one, so that there is one per file and process.
_lock = threading.Lock()
_backends: dict[tuple[int, str], Backend] = {}


def _backend(configfile: str) -> Backend:
    """What answers in this process for this INI file. Raises what Standalone does."""
    key = (os.getpid(), configfile)
    with _lock:
        if key not in _backends:
            settings = datastore.read(configfile)
            _backends[key] = Forwarder(settings) if settings.socket else Standalone(settings)
        return _backends[key]
