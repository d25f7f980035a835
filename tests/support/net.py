"""Ports, directories and processes."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class LocalServer:
    """What listens on ``port`` of 127.0.0.1."""

    port: int

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """A port of 127.0.0.1 that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def short_directory() -> Path:
    """A new directory whose path is short enough for UNIX sockets (107 bytes) inside it."""
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="hab-", dir=base if len(base) < 60 else "/tmp")).resolve()


def program(name: str) -> str:
    """The path of a program that `make test` installs; the test is skipped where it can't be."""
    own = Path(sys.executable).parent  # promtool is there
    path = shutil.which(name) or shutil.which(name, path=f"/usr/sbin:/sbin:{own}")
    if path is None:
        pytest.skip(f"{name} is not installed; `make test` installs it where it can")
    return path


def end(process: subprocess.Popen[bytes], how: signal.Signals, timeout: float) -> int | None:
    """Send a signal and wait for the end: the exit code, or None if it had to be killed."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
