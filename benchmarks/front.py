"""The nginx in front of every server that is measured: one process, a port for each of them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.place import LOGS, BenchError, program
from benchmarks.process import Child
from habitat_like.cli.nginx import location_block
from habitat_like.config.keys import Config

#: nginx's own answer, without anything behind it: the limit of nginx and wrk alone.
RETURN_200 = "location / { return 200 OK; }"


class Front:
    """nginx with one worker process, the same settings for all.

    The location block of each server is what `habitat nginx` prints, with that server's socket. No
    access log: what nginx writes is not what is measured. ``ports`` maps names to ports.
    ``connections`` bounds those of clients and those to servers together.
    """

    def __init__(self, directory: Path, names: Iterable[str], connections: int = 8192) -> None:
        self._prefix = directory
        self._connections = connections
        self.ports = {name: _free_port() for name in names}
        self.ports["nginx"] = _free_port()
        shutil.rmtree(self._prefix / "nginx", ignore_errors=True)
        config = directory / "nginx.conf"
        config.write_text(self._config(), encoding="utf-8")
        LOGS.mkdir(parents=True, exist_ok=True)
        errors = LOGS / "nginx-errors.log"
        errors.unlink(missing_ok=True)
        command = [program("nginx"), "-e", str(errors), "-p", f"{directory}/", "-c", str(config)]
        self._child = Child("nginx", command)
        self._wait()

    @property
    def pid(self) -> int:
        """The master process's id."""
        return self._child.pid

    def stop(self) -> None:
        """Stop it."""
        self._child.stop(signal.SIGTERM)

    def _wait(self) -> None:
        deadline = time.monotonic() + 15
        while True:
            self._child.check()
            try:
                socket.create_connection(("127.0.0.1", self.ports["nginx"]), timeout=5).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise BenchError("nginx does not listen after 15 s") from None
                time.sleep(0.02)
            else:
                return

    def _config(self) -> str:
        # As root, nginx would drop to a user who can't reach the sockets; otherwise it refuses.
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        temporary = "\n".join(
            f'    {kind}_temp_path "{self._prefix}/nginx-{kind}";'
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        servers = "\n".join(self._server(name, port) for name, port in self.ports.items())
        return f"""\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid "{self._prefix}/nginx.pid";
events {{ worker_connections {self._connections}; }}
http {{
    access_log off;
    keepalive_requests 100000000;
{temporary}
{servers}
}}
"""

    def _server(self, name: str, port: int) -> str:
        block = (
            RETURN_200
            if name == "nginx"
            else _block(self._prefix / f"{name.replace(' ', '_')}.sock")
        )
        return f"    server {{\n    listen 127.0.0.1:{port} backlog=4096;\n{block}\n    }}"


def _block(path: Path) -> str:
    config = Config()
    gateway = msgspec.structs.replace(config.gateway, socket=str(path))
    return location_block(msgspec.structs.replace(config, gateway=gateway))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
