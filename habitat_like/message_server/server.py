"""Server: where messages are pushed, and where the sinks are loaded, run and taken down."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from habitat_like.journal import Journal, JournalError, Row
from habitat_like.message import Message, import_path
from habitat_like.message_server.sinks import JournalSink, Sink

if TYPE_CHECKING:
    from habitat_like.config import Config

log = logging.getLogger(__name__)


class BacklogFull(Exception):
    """There are ``journal.max_backlog`` messages which the sinks have not taken yet."""


class SinkError(Exception):
    """A sink can't be loaded or unloaded; one line that says why."""


class Server:
    """The message server.

    ``program`` has the attributes ``config`` (Config) and ``journal`` (Journal); sinks find the
    configuration there. Every method is thread-safe.
    """

    def __init__(self, program: Any) -> None:
        self.program = program
        self.journal: Journal = program.journal
        config: Config = program.config
        self._machine_code = msgspec.json.encode(config.gateway.machine_code).decode("utf-8")
        self._max_backlog = config.journal.max_backlog
        # The rows that the running thread's transaction collects, and how many it may.
        self._local = threading.local()
        # Guards _sinks and _started; held while a sink is started or stopped.
        self._lock = threading.RLock()
        self._sinks: dict[str, Sink] = {}
        self._started = False

    @property
    def sinks(self) -> dict[str, Sink]:
        """The loaded sinks by their dotted paths."""
        with self._lock:
            return dict(self._sinks)

    def set_max_backlog(self, messages: int) -> None:
        """Refuse messages once the sinks are this far behind."""
        self._max_backlog = messages

    @property
    def room(self) -> int:
        """How many more messages there is room for; 0 or less when the backlog is full."""
        return self._max_backlog - self.journal.backlog

    def push_message(self, message: Message) -> None:
        """Take ``message`` in.

        Inside a ``transaction`` of this thread (the gateway's batch, a sink's batch) it is
        committed with that transaction; elsewhere it is durable when this returns. Raises
        BacklogFull, and JournalError when it could not be committed here.
        """
        rows = getattr(self._local, "rows", None)
        if rows is None:
            with self.transaction() as rows:
                self.push_message(message)
            self.journal.write(rows)
            return
        if len(rows) >= self._local.room:
            raise BacklogFull(f"{self._max_backlog} messages wait for the archive")
        rows.append(Row(*message.document(self._machine_code)))

    def push_rows(self, rows: Iterable[Row]) -> None:
        """Put rows that another thread's transaction collected into this thread's transaction."""
        self._local.rows.extend(rows)

    @contextlib.contextmanager
    def transaction(self, *, bounded: bool = True) -> Iterator[list[Row]]:
        """Collect what this thread pushes; the caller commits the list that it is given.

        Not ``bounded``: a sink's own pushes, which are not refused when the backlog is full, since
        refusing them would stop the sink that makes the backlog shrink.
        """
        rows: list[Row] = []
        self._local.rows = rows
        self._local.room = self.room if bounded else sys.maxsize
        try:
            yield rows
        finally:
            self._local.rows = None

    def start(self) -> None:
        """Start the threads of the loaded sinks, and from now on of each that is loaded."""
        with self._lock:
            self._started = True
            for sink in self._sinks.values():
                self._run(sink)

    def load(self, path: str) -> Sink:
        """Import the sink class at the dotted ``path``, make it and, once started, run it.

        Raises SinkError when the sink can't be had, JournalError and OSError when it can't now.
        """
        with self._lock:
            if path in self._sinks:
                raise SinkError(f"sinks: {path} is loaded already")
            try:
                factory = import_path(path)
                if not (isinstance(factory, type) and issubclass(factory, Sink)):
                    raise SinkError(f"sinks: {path} is not a Sink class")
                sink = factory(self)
                sink.name = path
                sink.setup()
                if isinstance(sink, JournalSink):
                    sink.register()
            except (SinkError, JournalError, OSError):
                raise  # not a mistake in the configuration: another start may go well
            except Exception as error:
                # A sink is an operator's own code: whatever it raises belongs in one line.
                reason = str(error) or type(error).__name__
                raise SinkError(f"sinks: {path}: {reason}") from error
            self._sinks[path] = sink
            if self._started:
                self._run(sink)
            log.info("sink loaded", extra={"sink": path})
            return sink

    def unload(self, path: str, timeout: float = 10) -> None:
        """Stop a sink at a batch boundary and forget it; its cursor stays in the journal.

        Raises SinkError if it isn't loaded or has not stopped after ``timeout`` seconds.
        """
        with self._lock:
            sink = self._sinks.get(path)
            if sink is None:
                raise SinkError(f"sinks: {path} is not loaded")
            sink.stop()
            if not sink.join(timeout):
                raise SinkError(f"sinks: {path} did not stop within {timeout:g} s")
            sink.shutdown()
            if isinstance(sink, JournalSink):
                self.journal.unregister(path)
            del self._sinks[path]
            log.info("sink unloaded", extra={"sink": path})

    def reload(self, path: str) -> Sink:
        """Unload a sink, import its module's present text, and load it. Raises SinkError."""
        self.unload(path)
        module = sys.modules.get(path.rpartition(".")[0])
        if module is not None and not hasattr(module, "__path__"):
            try:
                importlib.reload(module)
            except Exception as error:
                raise SinkError(f"sinks: {path}: {error}") from error
        return self.load(path)

    def shutdown(self, timeout: float) -> list[str]:
        """Stop every sink at a batch boundary, within ``timeout`` seconds.

        Halfway there, calls that hang (an archive that does not answer) are interrupted. Returns
        the names of the sinks that did not stop.
        """
        with self._lock:
            self._started = False
            sinks = list(self._sinks.values())
            deadline = time.monotonic() + timeout
            for sink in sinks:
                sink.stop()
            for sink in sinks:
                sink.join(deadline - timeout / 2 - time.monotonic())
            for sink in sinks:
                if sink.alive:
                    sink.interrupt()
            left = [s.name for s in sinks if not s.join(deadline - time.monotonic())]
            for sink in sinks:
                if sink.name not in left:
                    sink.shutdown()
            self._sinks.clear()
            return left

    @staticmethod
    def _run(sink: Sink) -> None:
        if isinstance(sink, JournalSink):
            sink.start()
