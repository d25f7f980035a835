"""A real gateway process."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from habitat_like.archive import Query
from habitat_like.archive.sqlite import SqliteArchive
from tests.support import scgi
from tests.support.net import ROOT, short_directory
from tests.support.reply import Reply
from tests.support.wait import PATIENCE, eventually

#: What systemd does for a service with a socket: descriptor 3 and two variables, then exec.
_ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


#: The sink that a gateway has by default.
ARCHIVE_SINK = "habitat_like.archive.ArchiveSink"
#: An operator's own module.
OWN = (ROOT / "tests" / "support" / "own.py").read_text(encoding="utf-8")


def own_actions(*names: str, **gateway: Any) -> dict[str, Any]:
    """A configuration with the actions ``names`` of the operator's own module."""
    actions = ["message", "messages", *(f"own.{name}" for name in names)]
    return {"gateway": {"actions": actions, **gateway}}


def merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``top`` laid over it, sections merged, both left as they are."""
    merged = copy.deepcopy(base)
    for key, value in top.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return merged


class Habitat:
    """A gateway in a short temporary directory.

    ``config`` is written as YAML at every start, so a test may change it before ``restart``.
    ``socket_path`` is fixed. ``own`` is the text of a module of the operator's own, ``own``, beside
    the configuration. ``activated`` hands the process a listening socket as systemd does;
    that socket lives on, and queues, while the process is down. ``output`` is a
    descriptor that it writes to in place of its log, ``redirect`` what a shell does before it, such
    as ``2>&-``.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        own: str | None = None,
        activated: bool = False,
    ) -> None:
        self.directory = short_directory()
        self.socket_path = self.directory / "s"
        self.config_path = self.directory / "config.yml"
        self.log_path = self.directory / "log"
        self.journal_path = self.directory / "journal.sqlite"
        self.log_path.touch()
        if own is not None:
            (self.directory / "own.py").write_text(own, encoding="utf-8")
        defaults: dict[str, Any] = {
            # What is no part of a test gives up as late as the test does.
            "gateway": {
                "socket": str(self.socket_path),
                "machine_code": "test",
                "timeout": PATIENCE,
                "shutdown_timeout": PATIENCE,
            },
            "journal": {"path": str(self.journal_path)},
            "archive": {
                "uri": f"sqlite:{self.directory / 'archive.sqlite'}",
                "timeout": PATIENCE,
                "retry_min": 0.05,
                "retry_max": 0.5,
            },
            "log": {"level": "debug", "format": "json"},
        }
        self.config = merge(defaults, config or {})
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HABITAT_", "LISTEN_"))}
        clean.pop("NOTIFY_SOCKET", None)
        #: The environment of every command; a test may change it before ``restart``.
        self.environ = {
            **clean,
            "PYTHONPATH": str(ROOT),
            "PYTHONFAULTHANDLER": "1",
            "HABITAT_CONFIG": str(self.config_path),
            **(environ or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        #: The exit codes of the processes before this one.
        self.exits: list[int] = []
        self.redirect = ""
        self.output: int | None = None
        self._listener: socket.socket | None = None
        if activated:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.socket_path))
            self._listener.listen(4096)

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything that all starts wrote to stdout and stderr."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def write_config(self) -> None:
        """Write ``config`` to the file, for a start or a reload."""
        self.config_path.write_text(yaml.safe_dump(self.config), encoding="utf-8")

    def start(self, *, ready: bool = True) -> Habitat:
        """Start it, and wait until it serves."""
        assert self.process is None or self.process.poll() is not None, "still running"
        if self.process is not None:
            self.exits.append(self.process.returncode)
        self.write_config()
        serve = ["-m", "habitat_like.cli", "serve", "--config", str(self.config_path)]
        inherited: tuple[int, ...] = ()
        if self._listener is not None:
            inherited = (self._listener.fileno(),)
            serve = ["-c", _ACTIVATE, str(inherited[0]), *serve]
        command = [sys.executable, *serve]
        if self.redirect:
            command = ["sh", "-c", f'exec "$@" {self.redirect}', "sh", *command]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log if self.output is None else self.output,
                stderr=log if self.output is None else self.output,
                pass_fds=inherited,
            )
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, timeout: float = PATIENCE) -> None:
        """Wait until GET /readyz answers 200."""

        def is_ready() -> bool:
            return self.process_ended() or self.scgi("GET", "/readyz", timeout=30).status == 200

        eventually(is_ready, "GET /readyz answers 200", timeout=timeout)
        assert not self.process_ended(), f"the gateway ended at its start:\n{self.log}"

    def process_ended(self) -> bool:
        """Whether the process is gone."""
        assert self.process is not None, "not started"
        return self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process is not None, "not started"
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the process to end; its exit code. A hung one fails the test with its stacks."""
        assert self.process is not None, "not started"
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler writes the threads' stacks
            self.process.wait()
            raise AssertionError(f"did not end within {timeout:g} s:\n{self.log}") from None

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM, and wait; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL: the crash."""
        self.signal(signal.SIGKILL)
        self.wait()

    def restart(self, *, kill: bool = False) -> Habitat:
        """Stop it (or kill it) if it runs, and start it with the configuration as it is now."""
        if not self.process_ended():
            if kill:
                self.kill()
            else:
                code = self.stop()
                assert code == 0, f"exit code {code}:\n{self.log}"
        return self.start()

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        """A new connection to the socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self.socket_path))
        except BaseException:
            connection.close()
            raise
        return connection

    def send_raw(self, data: bytes, *, end: bool = False, timeout: float = PATIENCE) -> bytes:
        """Send bytes (``end``: and no more) and read all of the answer until the gateway closes."""
        with self.connect(timeout) as connection:
            # It may have answered and closed before it had everything.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
                if end:
                    connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def scgi(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        *,
        params: Mapping[str, str | None] | None = None,
        timeout: float = PATIENCE,
    ) -> Reply:
        """One SCGI request on a connection of its own."""
        payload = body.encode() if isinstance(body, str) else body
        request = scgi.encode(method, path, payload, headers, params)
        return scgi.decode(self.send_raw(request, timeout=timeout))

    def status(self) -> dict[str, Any]:
        """What GET /status says."""
        reply = self.scgi("GET", "/status")
        assert reply.status == 200, reply
        answer: dict[str, Any] = reply.json()
        return answer

    def connections(self) -> int:
        """How many connections it has open, but for the one that asks."""
        return int(self.status()["connections"])

    def threads(self) -> list[str]:
        """The names of its threads, once the sinks' have started, which are the last."""

        def found() -> list[str]:
            status = self.status()
            names: list[str] = status["threads"]
            return names if {f"sink {sink}" for sink in status["sinks"]} <= set(names) else []

        return eventually(found, "all threads have started")

    def wait_until_archived(self) -> None:
        """Wait until every sink has taken all that is in the journal."""
        eventually(lambda: self.status()["backlog"] == 0, "all is archived")

    def documents(self, callsign: str | None = None) -> list[dict[str, Any]]:
        """What the embedded archive has (of one callsign), once every sink has taken all."""
        self.wait_until_archived()
        everything = Query(callsign=callsign, suspicious=True)
        with contextlib.closing(SqliteArchive(str(self.directory / "archive.sqlite"))) as archive:
            # Without a single message the backlog is empty before the archive is made.
            return eventually(lambda: [list(archive.query(everything))])[0]

    def cli(
        self, *args: str, stdin: str = "", timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run another habitat command with the same configuration ($HABITAT_CONFIG)."""
        if not self.config_path.exists():
            self.write_config()
        return subprocess.run(
            [sys.executable, "-m", "habitat_like.cli", *args],
            cwd=self.directory,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def close(self) -> None:
        """Take everything away, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._listener is not None:
            self._listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes; a reset after some bytes counts as a close."""
    parts: list[bytes] = []
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)
