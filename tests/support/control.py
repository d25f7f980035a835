"""A gateway's control socket, as ``habitat ctl`` uses it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from tests.support.gateway import Habitat
from tests.support.wait import PATIENCE


def control_path(gateway: Habitat) -> Path:
    return gateway.directory / "run" / "control.sock"


def connect(gateway: Habitat) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(control_path(gateway)))
    return connection


def ask(gateway: Habitat, request: dict[str, Any] | bytes) -> dict[str, Any]:
    """The last line of the answer to a request on a connection of its own."""
    data = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
    with connect(gateway) as connection:
        connection.sendall(data)
        return last_line(connection)


def last_line(connection: socket.socket) -> dict[str, Any]:
    """The answer, after any progress."""
    with connection.makefile("rb") as lines:
        found: dict[str, Any] = {"progress": None}
        while "progress" in found:
            found = json.loads(lines.readline())
        return found
