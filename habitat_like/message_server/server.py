"""Server: where the sinks are loaded, run and taken down."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable

from habitat_like.config.imports import import_path
from habitat_like.journal.file import JournalError
from habitat_like.message_server.intake import Intake, Program
from habitat_like.message_server.sinks import JournalSink, Sink

log = logging.getLogger(__name__)


class SinkError(Exception):
    """A sink can't be loaded or unloaded; one line that says why."""


class Server(Intake):
    """The message server: takes messages in, and feeds the sinks that it runs.

    ``program`` is as for Intake. Every method is thread-safe.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        # Held while a sink is loaded, started or stopped, which can take seconds. Whoever only
        # looks needs no lock: _sinks is never changed but replaced.
        self._lock = threading.RLock()
        self._sinks: dict[str, Sink] = {}
        self._started = False

    @property
    def sinks(self) -> dict[str, Sink]:
        """The loaded sinks by their dotted paths."""
        return dict(self._sinks)

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
                reason = str(error).removeprefix(f"{path}: ") or type(error).__name__
                raise SinkError(f"sinks: {path}: {reason}") from error
            self._sinks = {**self._sinks, path: sink}
            if self._started:
                self._run(sink)
                log.info("sink loaded", extra={"sink": path})
            return sink

    def unload(self, path: str, timeout: float = 10) -> None:
        """Stop a sink at a batch boundary and forget it; its cursor stays in the journal.

        Halfway to ``timeout`` seconds a call that hangs is interrupted. Raises SinkError if the
        sink isn't loaded or has not stopped by then; it is then stopping, to be unloaded later.
        """
        with self._lock:
            sink = self._sinks.get(path)
            if sink is None:
                raise SinkError(f"sinks: {path} is not loaded")
            self._call(sink, sink.stop)
            if not sink.join(timeout / 2):
                self._call(sink, sink.interrupt)
            if not sink.join(timeout / 2):
                raise SinkError(f"sinks: {path} did not stop within {timeout:g} s")
            self._call(sink, sink.shutdown)
            if isinstance(sink, JournalSink):
                self.journal.unregister(path)
            self._sinks = {name: one for name, one in self._sinks.items() if name != path}
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
                self._call(sink, sink.stop)
            for sink in sinks:
                sink.join(deadline - timeout / 2 - time.monotonic())
            for sink in sinks:
                if sink.alive:
                    self._call(sink, sink.interrupt)
            left = [s.name for s in sinks if not s.join(deadline - time.monotonic())]
            for sink in sinks:
                if sink.name not in left:
                    self._call(sink, sink.shutdown)
            self._sinks = {}
            return left

    @staticmethod
    def _call(sink: Sink, hook: Callable[[], None]) -> None:
        """Call a hook by which a sink ends: it ends even if its own code fails at it."""
        try:
            hook()
        except Exception as error:
            log.error("a sink failed to end", extra={"sink": sink.name}, exc_info=error)

    @staticmethod
    def _run(sink: Sink) -> None:
        if isinstance(sink, JournalSink):
            sink.start()
