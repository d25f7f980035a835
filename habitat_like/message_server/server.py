"""Server: loads, runs and stops the sinks."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from habitat_like.config.imports import import_path
from habitat_like.config.keys import ConfigError, SinkConfig
from habitat_like.config.settings import convert
from habitat_like.journal.file import JournalError
from habitat_like.message_server.intake import Intake, StoringProgram
from habitat_like.message_server.sinks import JournalSink, Sink

log = logging.getLogger(__name__)


class SinkError(Exception):
    """A sink can't be loaded or unloaded; one line saying why."""


def find_sink(wanted: SinkConfig, key: str) -> tuple[type[Sink], msgspec.Struct | None]:
    """The class of a sink and its settings, None for one without settings.

    Raises SinkError if the path leads to no sink, ConfigError for settings that are not its own.
    """
    try:
        factory = import_path(wanted.path)
    except ValueError as error:
        reason = str(error).removeprefix(f"{wanted.path}: ")
        raise SinkError(f"sinks: {wanted.path}: {reason}") from None
    if not (isinstance(factory, type) and issubclass(factory, Sink)):
        raise SinkError(f"sinks: {wanted.path} is not a Sink class")
    if factory.Settings is not None:
        return factory, convert(wanted.settings, factory.Settings, key)
    if wanted.settings:
        raise ConfigError(f"{wanted.path} takes no settings but 'name'", key)
    return factory, None


class Server(Intake):
    """The message server: takes messages in, and feeds the sinks that it runs.

    ``program`` is as for Intake. Every method is thread-safe.
    """

    def __init__(self, program: StoringProgram) -> None:
        super().__init__(program)
        # Held while a sink is loaded, started or stopped, which can take seconds. Readers need no
        # lock: _sinks is replaced, never changed.
        self._lock = threading.RLock()
        self._sinks: dict[str, Sink] = {}
        self._started = False

    @property
    def sinks(self) -> dict[str, Sink]:
        """The loaded sinks by their names."""
        return dict(self._sinks)

    def start(self) -> None:
        """Start the threads of the loaded sinks, and of each one loaded from now on."""
        with self._lock:
            self._started = True
            for sink in self._sinks.values():
                self._run(sink)

    def load(self, wanted: SinkConfig | str, key: str = "sinks") -> Sink:
        """Import a sink's class, create it with its settings and, once started, run it.

        ``wanted`` is the sink as configured, or just the dotted path of one without settings;
        ``key`` says where in the configuration it is. Raises ConfigError for settings that are not
        the sink's, SinkError when the sink can't be loaded, JournalError and OSError when it can't
        be loaded now.
        """
        if isinstance(wanted, str):
            wanted = SinkConfig(wanted, wanted)
        name = wanted.name
        with self._lock:
            if name in self._sinks:
                raise SinkError(f"sinks: {name} is already loaded")
            try:
                factory, settings = find_sink(wanted, key)
                sink = factory(self)
                sink.name = name
                sink.config = wanted
                sink.settings = settings
                _set_up(sink, key)
                if isinstance(sink, JournalSink):
                    sink.register()
            except (ConfigError, SinkError, JournalError, OSError):
                raise  # reported unchanged; not all are configuration mistakes
            except Exception as error:
                # A sink is an operator's own code: whatever it raises belongs in one line.
                reason = str(error).removeprefix(f"{wanted.path}: ") or type(error).__name__
                raise SinkError(f"sinks: {wanted.path}: {reason}") from error
            self._sinks = {**self._sinks, name: sink}
            if self._started:
                self._run(sink)
                log.info("sink loaded", extra={"sink": name})
            return sink

    def unload(self, name: str, timeout: float = 10) -> None:
        """Stop a sink at a batch boundary and forget it; its cursor stays in the journal.

        Halfway to ``timeout`` seconds a hanging call is interrupted. Raises SinkError if the sink
        isn't loaded or hasn't stopped in time; it is then stopping, to be unloaded later.
        """
        with self._lock:
            sink = self._sinks.get(name)
            if sink is None:
                raise SinkError(f"sinks: {name} is not loaded")
            self._call(sink, sink.stop)
            if not sink.join(timeout / 2):
                self._call(sink, sink.interrupt)
            if not sink.join(timeout / 2):
                raise SinkError(f"sinks: {name} did not stop within {timeout:g} s")
            self._call(sink, sink.shutdown)
            if isinstance(sink, JournalSink):
                self.journal.unregister(name)
            self._sinks = {own: one for own, one in self._sinks.items() if own != name}
            log.info("sink unloaded", extra={"sink": name})

    def change(self, wanted: Sequence[SinkConfig]) -> list[str]:
        """Run the ``wanted`` sinks, and no others; returns what went wrong, which is logged."""
        by_name = {sink.name: sink for sink in wanted}
        problems = []
        for name, sink in self.sinks.items():
            # One that took too long to stop at an earlier try is recreated.
            if by_name.get(name) != sink.config or sink.stopping:
                problems += _try(functools.partial(self.unload, name))
        for index, entry in enumerate(wanted):
            if entry.name not in self.sinks:
                problems += _try(functools.partial(self.load, entry, f"sinks[{index}]"))
        return problems

    def reload(self, name: str) -> Sink:
        """Unload a sink, import its module's current source, and load it.

        Raises as ``unload`` and ``load`` do.
        """
        loaded = self._sinks.get(name)
        self.unload(name)
        assert loaded is not None  # noqa: S101 (unload would have raised)
        module = sys.modules.get(loaded.config.path.rpartition(".")[0])
        if module is not None and not hasattr(module, "__path__"):
            try:
                importlib.reload(module)
            except Exception as error:
                raise SinkError(f"sinks: {name}: {error}") from error
        return self.load(loaded.config)

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
        """Call a hook that ends a sink: the sink ends even if the hook fails."""
        try:
            hook()
        except Exception as error:
            log.error("a sink failed to end", extra={"sink": sink.name}, exc_info=error)

    @staticmethod
    def _run(sink: Sink) -> None:
        if isinstance(sink, JournalSink):
            sink.start()


def _try(change: Callable[[], object]) -> list[str]:
    try:
        change()
    except (ConfigError, SinkError, JournalError, OSError) as error:
        log.error(str(error))
        return [str(error)]
    return []


def _set_up(sink: Sink, key: str) -> None:
    """Call its ``setup``. Raises what that does, a ConfigError with ``key``."""
    try:
        sink.setup()
    except ConfigError as error:
        raise ConfigError(str(error), key) from None
