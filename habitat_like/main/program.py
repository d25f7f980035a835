"""Program: builds the parts, runs them, shuts them down in order."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import queue
import sys
import threading
import time
from concurrent.futures import Future

from habitat_like import __version__, archive, log
from habitat_like.config.file import load, origin
from habitat_like.config.keys import Config, ConfigError
from habitat_like.http import SCGIApplication
from habitat_like.http.listening_socket import ListenError
from habitat_like.journal.file import JournalError
from habitat_like.main.control import ControlServer
from habitat_like.main.parts import BUSY_HOUSEKEEPING, HOUSEKEEPING, Parts
from habitat_like.main.signals import DONE, FAILED, USAGE, SignalListener
from habitat_like.main.systemd import SPARE_FILES, notify, raise_file_limit
from habitat_like.message.types import Registry, load_types
from habitat_like.message_server import SinkError
from habitat_like.steering.drain import Drain
from habitat_like.steering.reload import (
    RELOADABLE,
    Reloaded,
    ReloadQueue,
    differences,
    put_in_force,
)

logger = logging.getLogger(__name__)

#: Seconds between two rounds of housekeeping while it drains: it ends soon after the backlog is
#: empty.
DRAIN_HOUSEKEEPING = 0.1
#: A gateway thread without a turn for this many seconds is stuck: the watchdog is not fed.
STUCK = 30.0

#: Seconds for which a computing thread may hold the interpreter's lock. The gateway's thread gives
#: it up with each system call, and with Python's default would wait 5 ms after each while the bulk
#: thread reads a large body.
SWITCH_INTERVAL = 0.0002

#: The shares of ``gateway.shutdown_timeout`` by which these must have ended: the gateway; the wait
#: for what a drain still has to archive; the sinks. The statistics get what is left.
GATEWAY_SHARE = 0.7
DRAIN_SHARE = 0.8
SINKS_SHARE = 0.95


class Program(Parts):
    """The gateway as a process.

    ``config`` is the configuration in force and ``config_path`` where a reload reads it again.
    ``main`` runs everything on the calling thread until a signal, ``shutdown`` or an uncaught
    exception in any thread.
    """

    def __init__(self, config: Config, config_path: str | None = None) -> None:
        super().__init__(config, config_path)
        self.gateway: SCGIApplication
        self._stopped = threading.Event()
        # The main thread waits on it. Unlike an Event's set, its put is safe in a signal handler.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stop_asked = False
        self._reload_asked = False
        self._reloads = ReloadQueue()
        self._control: ControlServer | None = None
        # Guards _drain, which is set once.
        self._lock = threading.Lock()
        self._drain: Drain | None = None
        self._failed = False

    def main(self) -> int:
        """Run until told to stop; returns the exit code: 0 done, 1 failed, 2 configuration."""
        before = threading.excepthook, sys.getswitchinterval()
        threading.excepthook = self._thread_failed
        log.capture()
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            # Handlers first: a signal that comes while the parts are built must not be lost.
            with SignalListener(self._ask_stop, self._ask_reload):
                try:
                    self._start()
                except ConfigError as error:
                    where = origin(error.key, self.config_path)
                    return self._give_up(str(error.at(where)), USAGE)
                except (SinkError, ValueError) as error:
                    return self._give_up(str(error), USAGE)
                except (JournalError, ListenError, OSError, RuntimeError) as error:
                    return self._give_up(str(error), FAILED)
                notify("READY=1")
                try:
                    self._run()
                except (Exception, SystemExit) as error:
                    self._fail("main", error)
                left = self._take_down()
        finally:
            threading.excepthook = before[0]
            sys.setswitchinterval(before[1])
            self._stopped.set()
        if left:
            # These threads can't be stopped, and the interpreter would wait for them.
            logger.error("threads did not stop in time", extra={"threads": ", ".join(left)})
            log.close()
            os._exit(FAILED)
        log.close()
        return FAILED if self._failed else DONE

    def _run(self) -> None:
        # Slow to import, and the gateway's thread must not wait for it.
        importlib.import_module("prometheus_client")
        more = False
        while not self._stop_asked:
            pause = DRAIN_HOUSEKEEPING if self._drain else HOUSEKEEPING
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=BUSY_HOUSEKEEPING if more else pause)
                while True:
                    self._wake.get_nowait()
            if self._reload_asked:
                self._reload_asked = False
                self._reloads.run(self.reload)
            more = self._keep_all()
            if self._drain is not None and self._drain.is_over():
                break

    def ask_reload(self, by: str) -> Future[Reloaded]:
        """Have the main thread reload; ``by`` says who asks. Thread-safe.

        The outcome is cancelled if the program ends before it gets to that.
        """
        outcome = self._reloads.ask(by)
        self._ask_reload()
        return outcome

    def drain(self, timeout: float | None, by: str) -> Drain:
        """Accept no more uploads, and end once the sinks have processed everything. Thread-safe.

        After ``timeout`` seconds (None: however long it takes) it ends anyway, with exit code 1.
        A second call returns the first drain. ``by`` says who asks.
        """
        with self._lock:
            if self._drain is None:
                self.steering.set_draining(by)
                self._drain = Drain(lambda: self.journal.backlog, timeout)
        self._wake.put(None)
        return self._drain

    def reload(self, by: str = "SIGHUP") -> Reloaded:
        """Reread the configuration and apply what can be applied; report what can't.

        ``by`` says who asked. On the main thread; others use ``ask_reload``.
        """
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = load(self.config_path)
            archive.check(config.archive)
            networks = self.networks.prepare(config)
            registry = Registry(load_types(config.types), networks.types)
            log.configure(config.log)
        except Exception as error:
            # An operator's own types and networks may raise anything: stations are served all the
            # same.
            why = str(error) or type(error).__name__
            extra = {"why": why, "by": by}
            logger.error("reload refused, the old configuration stays", extra=extra)
            notify("READY=1")
            return Reloaded(refused=why)
        changed = list(differences(self.config, config))
        restart = [key for key in changed if key not in RELOADABLE]
        changed = [key for key in changed if key in RELOADABLE]
        self.registry = registry
        self.gateway.change_limits(config.gateway)
        self.access.configure(config.access)
        self.server.set_max_backlog(config.journal.max_backlog)
        self.server.set_max_bytes(config.journal.max_bytes)
        self.networks.apply(networks)
        self.gateway.router = self.networks.router
        self.config = put_in_force(self.config, config)
        problems = self.server.change(self.config.sinks)
        logger.info(
            "configuration reloaded",
            extra={"changed": ", ".join(changed) or "nothing", "by": by},
        )
        if restart:
            logger.warning(
                "some changes need a restart of the gateway", extra={"keys": ", ".join(restart)}
            )
        notify("READY=1")
        return Reloaded(tuple(changed), tuple(restart), tuple(problems))

    def shutdown(self, timeout: float | None = None) -> bool:
        """Stop ``main`` in order; returns whether it has ended after ``timeout`` seconds.

        Thread-safe. On the main thread itself use a ``timeout`` of 0.
        """
        self._ask_stop()
        return self._stopped.wait(timeout)

    def make_site(self) -> SCGIApplication:
        """What requests can reach, over SCGI on ``gateway.socket``."""
        config = self.config.gateway
        self.gateway = SCGIApplication(self.server, self, config.socket, config.timeout)
        return self.gateway

    def _start(self) -> None:
        """Build everything and start every thread, or leave nothing behind."""
        config = self.config
        raise_file_limit(2 * config.gateway.max_connections + SPARE_FILES)
        with contextlib.ExitStack() as undo:
            self.build(undo)
            if config.console.is_on:
                self._mount_console()
            self._start_control()
            undo.callback(self._stop_control)
            if self.statistics is not None:
                self.statistics.start()
            self.gateway.start()
            undo.callback(self.gateway.shutdown, 0)
            self.server.start()
            undo.pop_all()
        logger.info(
            "habitat_like started",
            extra={
                "version": __version__,
                "instance": config.gateway.machine_code,
                "socket": config.gateway.socket,
                "workers": config.gateway.workers,
                "max_batch": config.gateway.max_batch,
                "max_connections": config.gateway.max_connections,
                "max_body": config.gateway.max_body,
                "actions": ", ".join(self.gateway.actions),
                "networks": ", ".join(self.networks.runners) or "none",
                "journal": config.journal.path,
                "sync": config.journal.sync,
                "backlog": self.journal.backlog,
                "archive": archive.mask(config.archive.uri),
                "sinks": ", ".join(config.sink_names),
            },
        )
        for name in sorted(self.journal.stored_cursors().keys() - set(config.sink_names)):
            logger.warning(
                "a sink that is no longer configured holds back pruning; configure it, or "
                "forget it with: habitat journal drop --sink",
                extra={"sink": name},
            )

    def _mount_console(self) -> None:
        """Serve the console; stations are served even without it."""
        try:
            from habitat_like.console import app  # noqa: PLC0415 (slow, and off by default)

            console = app.mount(self)
        except Exception as error:
            logger.error("there is no console", extra={"why": str(error)}, exc_info=error)
            return
        self.gateway.mount(console)

    def _start_control(self) -> None:
        """Listen on the control socket; stations are served even without it."""
        try:
            self._control = ControlServer(self, self.config.control)
        except ListenError as error:
            logger.error("habitat ctl can't reach this gateway", extra={"why": str(error)})

    def _stop_control(self) -> list[str]:
        return [] if self._control is None else self._control.shutdown()

    def _take_down(self) -> list[str]:
        """Stop gateway, sinks, statistics, journal, control; returns the threads that are left."""
        notify("STOPPING=1")
        self._reloads.close()  # a page that waits for one would hold up the end
        if self._control is not None:
            self._control.close()
        begin = time.monotonic()
        timeout = self.config.gateway.shutdown_timeout
        logger.info("stopping")
        left = self.gateway.shutdown(timeout * GATEWAY_SHARE)
        if self._drain is not None:
            # What the slow lane still had has just come in.
            self._wait_for_sinks(self._drain, begin + timeout * DRAIN_SHARE)
        left += self.stop_sinks(begin + timeout * SINKS_SHARE)
        left += self.stop_statistics(begin + timeout)
        if not left:
            self.journal.close()
        logger.info(
            "stopped",
            extra={
                "seconds": round(time.monotonic() - begin, 3),
                "backlog": self.journal.backlog,
            },
        )
        if self._drain is not None:
            undone = self.journal.backlog
            # Whoever stopped it midway got what they asked for.
            self._failed |= undone > 0 and not self._stop_asked
            self._drain.outcome.set_result(undone)
        return left + self._stop_control()

    def _wait_for_sinks(self, drain: Drain, until: float) -> None:
        while not (drain.is_over() or self._stop_asked) and time.monotonic() < until:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=DRAIN_HOUSEKEEPING)

    def _keep_all(self) -> bool:
        """A round of housekeeping; returns whether the next one should come soon."""
        more = self.keep_house()
        if any(sink.stopping and not sink.alive for sink in self.server.sinks.values()):
            self.server.change(self.config.sinks)
        self.beat()
        return more

    def beat(self) -> None:
        """Feed the watchdog, unless the gateway's thread is stuck."""
        if time.monotonic() - self.gateway.beat < STUCK:
            notify("WATCHDOG=1")

    def _ask_stop(self) -> None:
        self._stop_asked = True
        self._wake.put(None)

    def _ask_reload(self) -> None:
        self._reload_asked = True
        self._wake.put(None)

    def _thread_failed(self, args: threading.ExceptHookArgs) -> None:
        """No half-dead process: an unexpected end of any thread ends the program in order."""
        name = args.thread.name if args.thread else "unknown"
        try:
            self._fail(name, args.exc_value or args.exc_type())
        finally:
            self._ask_stop()

    def _fail(self, thread: str, error: BaseException) -> None:
        self._failed = True
        logger.critical("a thread failed, stopping", extra={"failed": thread}, exc_info=error)

    def _give_up(self, reason: str, code: int) -> int:
        log.close()
        log.say(f"habitat: {' '.join(reason.split())}")
        return code
