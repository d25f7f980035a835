"""A connection that has to wait: for more of its request, for its action, or for its client."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import NamedTuple, Protocol

from habitat_like.http import scgi


class Connection:
    """One client's connection, owned by the gateway's thread.

    ``fd`` is its file descriptor, non-blocking; ``deadline`` is monotonic time. ``parser`` has what
    came of a request that is not whole; ``out`` is what is left of a reply. ``waiting``: its
    request is in the slow or the bulk lane, for the action ``action``, from the address ``ip``.
    ``abandoned``: it was answered while its action still ran, whose outcome is then dropped. It is
    set by the gateway's thread and read by workers, which only spares them work.
    """

    __slots__ = (
        "abandoned",
        "action",
        "deadline",
        "draining",
        "fd",
        "ip",
        "out",
        "parser",
        "started",
        "waiting",
    )

    def __init__(self, fd: int, started: float, deadline: float) -> None:
        self.fd = fd
        self.parser: scgi.RequestParser | None = None
        self.started = started
        self.deadline = deadline
        self.out: memoryview | None = None
        self.action = "unknown"
        self.ip: str | None = None
        self.waiting = False
        self.draining = False
        self.abandoned = False


class Visit(NamedTuple):
    """A request with its connection: ``fd`` belongs to the mount. ``path`` is below the mount."""

    fd: int
    request: scgi.Request
    path: str


class Host(Protocol):
    """What takes over whole requests with their connections; see Mount."""

    def put(self, visit: Visit) -> bool:
        """Take a request over; False, and nothing is taken, when too many wait already."""


def finish_sending(fd: int) -> None:
    """Tell the client that nothing more comes, while its own sending may go on."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as connected:
        connected.shutdown(socket.SHUT_WR)


def send(fd: int, data: bytes | memoryview) -> int | None:
    """Write what the socket takes; returns the number of bytes, None if the client is gone."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
    except OSError:
        return None
