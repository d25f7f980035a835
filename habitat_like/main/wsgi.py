"""A WSGI application with the gateway's actions, for sites that keep uWSGI in front.

``application(environ, start_response, configfile)`` has the signature, and reads the configuration
file, of the HiSPARC datastore's. It either forwards to a running gateway, or is one itself: with a
journal and sinks of its own, but no socket. See docs/hisparc.md.
"""

from __future__ import annotations

import atexit
import configparser
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from habitat_like import config as configuration
from habitat_like import log as logs
from habitat_like.config.keys import ArchiveConfig, Config, ConfigError, JournalConfig, LogConfig
from habitat_like.http import scgi
from habitat_like.http.actions import enabled_actions
from habitat_like.http.batch import Committer
from habitat_like.http.handler import SCGIHandler
from habitat_like.http.listener import exchange
from habitat_like.http.response import Refused, Reply, to_reply, unavailable
from habitat_like.journal.file import JournalError
from habitat_like.main.parts import HOUSEKEEPING, Parts
from habitat_like.message_server import SinkError
from habitat_like.threads import start_thread

log = logging.getLogger(__name__)

#: The action of a path that names none: the datastore has no other.
DEFAULT_ACTION = "upload"
#: Seconds that the sinks have to stop when the process ends.
STOP_TIMEOUT = 5.0

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error"}
#: The levels of the datastore that have another name here.
_LEVELS |= {"critical": "error", "": "info"}

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Settings(NamedTuple):
    """What the INI file says: a gateway's ``socket``, or the configuration of our own.

    ``config_path`` is the file of the configuration, None where the INI file is all there is.
    """

    config: Config
    socket: str | None
    config_path: str | None = None


class Backend(Protocol):
    """What answers requests."""

    config: Config

    def answer(self, request: scgi.Request) -> Reply:
        """The reply to a request whose PATH_INFO names an action."""


def application(
    environ: Mapping[str, Any], start_response: StartResponse, configfile: str
) -> Iterable[bytes]:
    """Answer one request; ``configfile`` is the path of the INI file.

    Everything is set up at a process's first request, so that it may be forked before. Thread-safe.
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


def read_settings(path: str) -> Settings:
    """The settings in an INI file of the HiSPARC datastore. Raises ConfigError."""
    parser = configparser.ConfigParser()
    try:
        with Path(path).open(encoding="utf-8") as file:
            parser.read_file(file)
        general = dict(parser["General"])
        own = dict(parser["Habitat"]) if parser.has_section("Habitat") else {}
        # Of the writer's process, which there is no more: the sinks are woken by what comes in.
        parser.getfloat("Writer", "sleep", fallback=0.0)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except KeyError:
        raise ConfigError(f"{path}: there is no section [General]") from None
    except (configparser.Error, ValueError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if unknown := sorted(own.keys() - {"socket", "config"}):
        raise ConfigError(f"{path}: [Habitat] {unknown[0]}: expected socket or config")
    if len(own) > 1:
        raise ConfigError(f"{path}: [Habitat]: give either socket or config")
    config = configuration.load(own["config"], {}) if "config" in own else _config(path, general)
    if "socket" not in own and not config.hisparc.station_list:
        station_list = _need(path, general, "station_list")
        hisparc = msgspec.structs.replace(config.hisparc, station_list=station_list)
        config = msgspec.structs.replace(config, hisparc=hisparc)
    return Settings(config, own.get("socket"), own.get("config"))


def _config(path: str, general: Mapping[str, str]) -> Config:
    """A configuration with everything below the datastore's ``data_dir``."""
    data = Path(_need(path, general, "data_dir"))
    level = general.get("loglevel", "").lower()
    if level not in _LEVELS:
        raise ConfigError(f"{path}: [General] loglevel: {level!r} is none of {', '.join(_LEVELS)}")
    return Config(
        journal=JournalConfig(path=str(data / "journal.sqlite")),
        archive=ArchiveConfig(uri=f"sqlite:{data / 'archive.sqlite'}"),
        log=msgspec.convert(
            {"level": _LEVELS[level], "file": general.get("log") or None}, LogConfig
        ),
    )


def _need(path: str, general: Mapping[str, str], key: str) -> str:
    if not general.get(key):
        raise ConfigError(f"{path}: [General] {key} is missing")
    return general[key]


# -- one request


def _answer(backend: Backend, environ: Mapping[str, Any]) -> Reply:
    """Make the request that a web server would send over SCGI, and have it answered."""
    limit = backend.config.gateway.max_body
    digits = environ.get("CONTENT_LENGTH") or "0"
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        return _refused(400, "CONTENT_LENGTH is not a number")
    size = int(digits)
    if size > limit:
        # Taken and thrown away, as far as that is bearable: a client that is still sending when the
        # server closes never looks at the answer.
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
    headers[b"PATH_INFO"] = f"/{_action(environ, backend)}".encode()
    headers[b"SCRIPT_NAME"] = b""
    return backend.answer(scgi.Request(headers, body))


def _action(environ: Mapping[str, Any], backend: Backend) -> str:
    """The action that the path's last part names, wherever the application is mounted."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    name = path.rstrip("/").rpartition("/")[2]
    known = [one.rpartition(".")[2] for one in enabled_actions(backend.config)]
    return name if name in known else DEFAULT_ACTION


def _read(source: Any, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := source.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _refused(status: int, text: str) -> Reply:
    return to_reply(Refused(status, text).response())


# -- what answers


class Forwarder:
    """Sends requests on to a running gateway; what that answers is the answer."""

    def __init__(self, settings: Settings) -> None:
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
            log.error("no answer of the gateway", extra={"why": str(error)})
            return to_reply(unavailable("the gateway does not answer"))


class Standalone(Parts):
    """A gateway without a socket: the journal, its sinks, and the actions, in this process.

    One process has the journal at a time. Raises ConfigError, SinkError, JournalError, ValueError,
    OSError.
    """

    def __init__(self, settings: Settings) -> None:
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
        with self.server.transaction() as rows:
            reply = handler.handle() or handler.handle_slow()
        with self._lock:
            return self._committer.answer_one(handler.name, reply, rows)

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

    def _keep_house(self) -> None:
        while not self._stopping.wait(HOUSEKEEPING):
            self.keep_house()
            with self._lock:
                self._committer.probe()


def _keep(fd: int, data: bytes) -> None:
    """There is no connection of ours to send to."""


# Guards the backends; held while one is made, so that there is one for each file and process.
_lock = threading.Lock()
_backends: dict[tuple[int, str], Backend] = {}


def _backend(configfile: str) -> Backend:
    """What answers in this process for this INI file. Raises what Standalone does."""
    key = (os.getpid(), configfile)
    with _lock:
        if key not in _backends:
            settings = read_settings(configfile)
            _backends[key] = Forwarder(settings) if settings.socket else Standalone(settings)
        return _backends[key]
