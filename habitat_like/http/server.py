"""SCGIApplication: what can be called over SCGI, and the threads that serve it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from habitat_like.config.keys import socket_mode
from habitat_like.http import operator
from habitat_like.http.actions import Action
from habitat_like.http.gateway import Gateway
from habitat_like.http.listening_socket import open_socket
from habitat_like.http.mount import Mount
from habitat_like.http.site import Site
from habitat_like.threads import alive, start_thread

if TYPE_CHECKING:
    from pathlib import Path

    from habitat_like.http.program import ServingProgram
    from habitat_like.message_server import Server

log = logging.getLogger(__name__)


class SCGIApplication(Site):
    """Serves an InsertApplication's whitelisted actions, and the operator's pages, over SCGI.

    ``server`` and ``program`` are as for Site; ``socket_file`` is the UNIX socket's path and
    ``timeout`` the seconds that a request may take to arrive, and its answer to be read.
    Raises ValueError for an action that doesn't exist.
    """

    def __init__(
        self, server: Server, program: ServingProgram, socket_file: str | Path, timeout: float = 1
    ) -> None:
        super().__init__(server, program)
        self.routes |= operator.routes(self)
        self.socket_file = socket_file
        #: WSGI applications, each below its own path.
        self.mounts: list[Mount] = []
        self.timeout = timeout
        # Guards _gateway and _thread: start and shutdown may come from any thread.
        self._lock = threading.Lock()
        self._gateway: Gateway | None = None
        self._thread: threading.Thread | None = None

    def mount(self, mount: Mount) -> None:
        """Serve a WSGI application below its name, from the next ``start`` to ``shutdown``."""
        methods = ("GET", "HEAD", "POST")
        self.routes[mount.name] = Action(
            mount.name, mount.put, methods, "mounted", subpaths=True, host=mount
        )
        self.mounts.append(mount)

    @property
    def beat(self) -> float:
        """Monotonic time of the gateway thread's last turn."""
        return self._gateway.beat if self._gateway else 0.0

    def start(self) -> None:
        """Listen and start the threads. Raises ListenError, ConfigError, and RuntimeError.

        RuntimeError if the machine has no more threads; no socket is left behind.
        """
        config = self.program.config.gateway
        with self._lock:
            listening = open_socket(
                self.socket_file, socket_mode(config.socket_mode), config.socket_group
            )
            try:
                self._gateway = Gateway(self, listening, self.timeout)
                self._gateway.workers.start()
                self._gateway.bulk.start()
                for mount in self.mounts:
                    mount.start()
                self.stopping = False
                self._thread = start_thread("gateway", self._gateway.run)
            except BaseException:
                listening.unlink()
                listening.close()
                raise

    def shutdown(self, timeout: float | None = None) -> list[str]:
        """Answer what was read, close the socket, join every thread.

        ``timeout`` is in seconds; None means the configured ``gateway.shutdown_timeout``. Returns
        the names of threads that could not be joined by then (an action that does not end). May be
        called at any time, even twice or before ``start``.
        """
        with self._lock:
            if self._gateway is None or self._thread is None:
                return []
            self.stopping = True
            if timeout is None:
                timeout = self.program.config.gateway.shutdown_timeout
            deadline = time.monotonic() + timeout
            for mount in self.mounts:
                mount.stop()
            self._gateway.stop(timeout)
            self._thread.join(timeout + 1)
            left = alive([self._thread])
            left += [name for mount in self.mounts for name in mount.join(deadline)]
            left += self._gateway.workers.stop(deadline) + self._gateway.bulk.stop(deadline)
            if not left:
                self._gateway.close()
            self._gateway = self._thread = None
            return left
