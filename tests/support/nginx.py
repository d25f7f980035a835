"""A real nginx in front of a gateway."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.gateway import Habitat
from tests.support.net import LocalServer, end, free_port, short_directory
from tests.support.reply import Reply, http_request
from tests.support.wait import PATIENCE, eventually
from tools.run import nginx_command, nginx_config


class Nginx(LocalServer):
    """An nginx on a port of its own, with the location block that `habitat nginx` prints.

    ``in_server`` and ``in_http`` are further directives for those places; ``block`` replaces the
    printed one. All three are read again by ``reload`` and ``start``.
    """

    def __init__(
        self, habitat: Habitat, *, in_server: str = "", in_http: str = "", block: str | None = None
    ) -> None:
        self.habitat = habitat
        self.in_server = in_server
        self.in_http = in_http
        self.block = block
        self.port = free_port()
        self.directory = short_directory()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def error_log(self) -> str:
        return self._read("error.log")

    @property
    def access_log(self) -> str:
        return self._read("access.log")

    def start(self) -> Nginx:
        """Start it, and wait until it accepts connections."""
        self._write()
        with (self.directory / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                nginx_command(self.directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # its workers are a process group
            )
        process = self.process

        def accepts() -> bool:
            if process.poll() is not None:
                return True
            socket.create_connection(self.address, timeout=30).close()
            return True

        eventually(accepts, "nginx accepts connections")
        assert process.poll() is None, f"nginx ended at its start:\n{self.error_log}"
        return self

    def reload(self) -> None:
        """Have it read its configuration again, and wait for the new workers."""
        assert self.process is not None, "not started"
        before = self.workers()
        self._write()
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.workers() - before, "nginx has new workers")

    def stop(self, timeout: float = PATIENCE) -> int | None:
        """Let it finish what it has (SIGQUIT); the exit code."""
        assert self.process is not None, "not started"
        return end(self.process, signal.SIGQUIT, timeout)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Reply:
        """One HTTP request on a connection of its own."""
        return http_request(self.address, method, path, body, headers, timeout)

    def close(self) -> None:
        """Take everything away, whatever state it is in."""
        if self.process is not None:
            end(self.process, signal.SIGTERM, PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write(self) -> None:
        block = self.block
        if block is None:
            printed = self.habitat.cli("nginx")
            assert printed.returncode == 0, printed.stderr
            block = printed.stdout
        text = nginx_config(
            self.directory, self.port, block, in_server=self.in_server, in_http=self.in_http
        )
        (self.directory / "nginx.conf").write_text(text, encoding="utf-8")

    def workers(self) -> set[int]:
        """The process ids of its workers."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return {int(child) for child in children.split()}

    def _read(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""
