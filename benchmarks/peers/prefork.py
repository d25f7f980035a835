"""The ``scgi`` package's pre-forking server.

python -m benchmarks.peers.prefork SOCKET CHILDREN
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import BinaryIO

from scgi.scgi_server import SCGIServer
from scgi.util import SCGIHandler

from benchmarks.peers.work import Work

WORK = Work()


class Handler(SCGIHandler):  # type: ignore[misc]
    """Serves one request after the other in a child process."""

    def produce(
        self, env: dict[str, str], bodysize: int, input: BinaryIO, output: BinaryIO
    ) -> None:
        """Answer one request."""
        status, text = WORK.take(input.read(bodysize))
        head = (
            f"Status: {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        output.write(head.encode() + text)

    def handle_connection(self, conn: socket.socket) -> None:
        """A client that hangs up ends its request, not the child."""
        with contextlib.suppress(ConnectionError):
            super().handle_connection(conn)


class LongQueue(socket.socket):
    """A socket whose queue holds every connection of the load; the server asks for 40."""

    def listen(self, _: int = 0) -> None:
        """Listen with a long queue."""
        super().listen(4096)


def main() -> None:
    """Serve until killed."""
    listener = LongQueue(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    SCGIServer(Handler, max_children=int(sys.argv[2])).serve_on_socket(listener)


if __name__ == "__main__":
    main()
