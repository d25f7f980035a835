"""A connection that is waiting: for more of its request, its action, or its client."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from habitat_like.http import scgi

if TYPE_CHECKING:
    from habitat_like.http.response import Refuse


class Connection:
    """One client's connection, owned by the gateway's thread.

    ``fd`` is its non-blocking file descriptor; ``deadline`` is monotonic time. ``parser`` has what
    has arrived of an incomplete request, and ``held`` the bytes of room taken for its body; ``out``
    is what is left of a reply. ``waiting``: its request is in the slow or bulk lane, for the action
    ``action``, from the address ``ip``; if the gateway refuses it, ``refuse`` makes the answer in
    the request's protocol.
    ``abandoned``: it was answered while its action was still running, so the outcome is dropped.
    The gateway's thread sets it and workers read it, only to save work.
    """

    __slots__ = (
        "abandoned",
        "action",
        "deadline",
        "draining",
        "fd",
        "held",
        "ip",
        "out",
        "parser",
        "refuse",
        "started",
        "waiting",
    )

    def __init__(self, fd: int, started: float, deadline: float) -> None:
        self.fd = fd
        self.parser: scgi.RequestParser | None = None
        self.held = 0
        self.started = started
        self.deadline = deadline
        self.out: memoryview | None = None
        self.action = "unknown"
        self.refuse: Refuse | None = None
        self.ip: str | None = None
        self.waiting = False
        self.draining = False
        self.abandoned = False


class Visit(NamedTuple):
    """A request with its connection: ``fd`` belongs to the mount. ``path`` is below the mount.

    The mount calls ``release`` once, when it is done with the request and its body.
    """

    fd: int
    request: scgi.Request
    path: str
    release: Callable[[], None] = lambda: None


class Host(Protocol):
    """Takes over whole requests with their connections; see Mount."""

    def put(self, visit: Visit) -> bool:
        """Take over a request; False, taking nothing, when too many are waiting already."""


def finish_sending(fd: int) -> None:
    """Tell the client that nothing more is coming; it may still be sending."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as connected:
        connected.shutdown(socket.SHUT_WR)


def send(fd: int, data: bytes | memoryview) -> int | None:
    """Write what the socket accepts; returns the number of bytes, None if the client is gone."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
    except OSError:
        return None
