"""The classic: a new thread for each connection, with the standard library's socketserver.

python -m benchmarks.peers.classic SOCKET
"""

from __future__ import annotations

import socketserver
import sys

from scgi.util import read_env

from benchmarks.peers.work import Work


class Server(socketserver.ThreadingUnixStreamServer):
    """With a queue that is long enough for every connection of the load."""

    request_queue_size = 4096
    daemon_threads = True
    block_on_close = False

    work = Work()


class Handler(socketserver.StreamRequestHandler):
    """One request."""

    def handle(self) -> None:
        """Read it whole, answer it."""
        environ = read_env(self.rfile)
        status, text = Server.work.take(self.rfile.read(int(environ["CONTENT_LENGTH"])))
        head = (
            f"Status: {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        self.wfile.write(head.encode() + text)


if __name__ == "__main__":
    Server(sys.argv[1], Handler).serve_forever()
