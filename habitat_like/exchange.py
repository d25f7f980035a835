"""One request to a gateway over its socket, as a web server makes it."""

from __future__ import annotations

import contextlib
import socket


def exchange(path: str, request: bytes, timeout: float) -> bytes:
    """The whole reply to an SCGI ``request`` on the UNIX socket at ``path``.

    ``timeout`` is in seconds, for each step. Raises OSError, as TimeoutError, FileNotFoundError
    and ConnectionRefusedError.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(request)
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
        if not pieces:
            raise ConnectionAbortedError("it closed the connection")
        return b"".join(pieces)
