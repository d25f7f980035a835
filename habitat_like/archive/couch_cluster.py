"""CouchCluster: the nodes of one CouchDB cluster, and which of them gets the next request.

Requests stick to one node for as long as it works. What fails there goes to the next node at once:
every request is harmless to repeat, since documents carry their own ids. A node that failed is
left alone for a while that grows with each failure; only when no other is left is it asked earlier.
All archives of a process share what they know about a node.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any

from habitat_like.archive.base import ArchiveUnavailable, Node
from habitat_like.archive.couch_connection import (
    CouchRefused,
    CouchTooSlow,
    TooLarge,
    one_line,
)
from habitat_like.archive.couch_node import CouchNode, Method
from habitat_like.archive.couch_uri import CouchUri
from habitat_like.threads import backoff

#: The most seconds that all nodes but one may take to fail together.
STILL = 8.0
#: Among several nodes, a whole request may take this many times the patience for one step.
WHOLE_AMONG = 1.5
#: Seconds that a node is left alone after its first failure, and after many.
SHORTEST, LONGEST = 1.0, 60.0


class NodeStill(ArchiveUnavailable):
    """One of several nodes gave no answer in time, and no other was asked."""


class Health:
    """What is known about one node. Thread-safe."""

    def __init__(self, base: str) -> None:
        self.base = base
        # Guards all below.
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._since: float | None = None
        self._tries = 0
        self._retry_at = 0.0
        self._asked = False

    def is_well(self) -> None:
        """It answered as it should."""
        with self._lock:
            self._problem = self._since = None
            self._tries = 0
            self._asked = True

    def is_ill(self, problem: str) -> None:
        """It failed: leave it alone for a while."""
        with self._lock:
            self._problem = problem
            self._since = self._since or time.time()
            self._tries += 1
            self._retry_at = time.monotonic() + backoff(self._tries, SHORTEST, LONGEST)
            self._asked = True

    def is_due(self) -> None:
        """Ask it now, whenever it failed."""
        with self._lock:
            self._retry_at = 0.0

    def wait(self) -> float:
        """Seconds until it should be asked again; 0 or less for one that is well, or due."""
        with self._lock:
            return 0.0 if self._problem is None else self._retry_at - time.monotonic()

    def state(self) -> Node:
        """For display."""
        with self._lock:
            if self._problem is not None:
                return Node(self.base, "left", self._problem, self._since)
            return Node(self.base, "ok" if self._asked else "not asked yet")


# Guards the dictionary, which has an entry for each host that a configuration names.
_lock = threading.Lock()
_known: dict[str, Health] = {}


def health_of(base: str) -> Health:
    """What this process knows about the node at ``base``."""
    with _lock:
        return _known.setdefault(base, Health(base))


class CouchCluster:
    """The hosts of ``uri``.

    ``timeout`` is in seconds, for each step of a request: see ``CouchNode``. With several hosts
    a step gets less, so that all but one can fail within ``STILL`` seconds; it gets more when
    every one of them turns out to be slow. One thread at a time, except ``interrupt`` and
    ``states``.
    """

    def __init__(self, uri: CouchUri, timeout: float) -> None:
        """Remember where the nodes are; no I/O."""
        self.user = uri.user
        self._uri = uri
        self._timeout = timeout
        self._nodes = [CouchNode(uri, host, timeout) for host in uri.hosts]
        self._health = [health_of(node.base) for node in self._nodes]
        self._current = 0
        #: Seconds for one step of a request, among several nodes.
        self._patience = min(timeout, STILL / (WHOLE_AMONG * max(len(uri.hosts) - 1, 1)))

    @property
    def base(self) -> str:
        """The address of the node that was asked last."""
        return self._nodes[self._current].base

    @property
    def is_several(self) -> bool:
        """Whether there is more than one node."""
        return len(self._nodes) > 1

    def name_of(self, database: str) -> str:
        """A database's URI with the user but not the password."""
        who = f"{self.user}@" if self.user else ""
        return f"{self._uri.scheme}://{who}{self._uri.netloc}/{database}"

    def request(
        self,
        method: Method,
        *path: str,
        body: bytes | None = None,
        most: int | None = None,
        once: bool = False,
        **parameters: Any,
    ) -> tuple[int, bytes]:
        """Send one request to a node that works; see ``CouchNode.send``.

        Raises CouchRefused and ArchiveUnavailable when no node gives a better answer; with
        ``once`` NodeStill when a node is too slow.
        """
        more = {**parameters, "body": body, "most": most}
        if not self.is_several:
            return self._ask(method, *path, **more)
        begun = time.monotonic()
        while True:
            is_slow = False
            problem: Exception | None = None
            for index in self._in_turn():
                self._current = index
                more |= {"patience": self._patience, "whole": WHOLE_AMONG}
                try:
                    return self._ask(method, *path, **more)
                except CouchRefused as refused:
                    if not _is_nodes_fault(refused):
                        raise
                    problem = refused
                except ArchiveUnavailable as error:
                    if self._nodes[index].interrupted:
                        raise
                    if isinstance(error.__cause__, TimeoutError | CouchTooSlow):
                        if once:
                            raise NodeStill(str(error)) from error
                        is_slow = True
                    problem = error
            assert problem is not None  # noqa: S101 (there are several nodes)
            if not is_slow or time.monotonic() - begun >= self._timeout:
                raise problem
            self._patience = min(2 * self._patience, self._timeout)

    def leave(self, problem: str) -> None:
        """Leave the node that answered last, for what it answered."""
        self._health[self._current].is_ill(problem)

    def turn_from(self, tried: Collection[int]) -> bool:
        """Have a node that is not among ``tried`` get the next request; False if all are."""
        others = [number for number in self._in_turn() if number not in tried]
        if not others:
            return False
        self._current = others[0]
        self._health[self._current].is_due()
        return True

    def due(self) -> list[int]:
        """The numbers of the nodes that failed and should be asked again."""
        known = list(enumerate(self._health))
        return [at for at, one in known if one.state().problem is not None and one.wait() <= 0]

    def ask_one(
        self, number: int, method: Method, *path: str, patience: float | None = None, **more: Any
    ) -> tuple[int, bytes]:
        """As ``request``, but of the node with this number, counted from 0."""
        self._current = number
        if self.is_several:
            more |= {"patience": patience or self._patience, "whole": WHOLE_AMONG}
        return self._ask(method, *path, **more)

    @property
    def current(self) -> int:
        """The number of the node that was asked last; it gets the next request."""
        return self._current

    @current.setter
    def current(self, number: int) -> None:
        self._current = number

    def states(self) -> list[Node]:
        """What is known about each node. Thread-safe."""
        return [health.state() for health in self._health]

    def interrupt(self) -> None:
        """Cut the connections and make every later request fail. Thread-safe."""
        for node in self._nodes:
            node.interrupt()

    def close(self) -> None:
        """Close the connections. The next request reopens one."""
        for node in self._nodes:
            node.close()

    def _ask(self, method: Method, *path: str, **more: Any) -> tuple[int, bytes]:
        """Ask the current node, and remember how it went."""
        node, health = self._nodes[self._current], self._health[self._current]
        try:
            answer = node.send(method, *path, **more)
        except TooLarge:
            health.is_well()
            raise
        except CouchRefused as refused:
            if _is_nodes_fault(refused):
                health.is_ill(one_line(f"answers {refused}"))
            else:
                health.is_well()
            raise
        except ArchiveUnavailable as error:
            if not node.interrupted:
                health.is_ill(str(error).removeprefix(f"CouchDB at {node.base} "))
            raise
        health.is_well()
        return answer

    def _in_turn(self) -> list[int]:
        """The nodes in the order in which to ask: those that work first, from the current on."""
        count = len(self._nodes)
        turn = [(self._current + step) % count for step in range(count)]
        return sorted(turn, key=lambda index: max(self._health[index].wait(), 0.0))


def _is_nodes_fault(refused: CouchRefused) -> bool:
    """Whether another node may answer better. Admins' passwords are in each node's own files."""
    if refused.status == 401:  # else it is about the account's rights
        return "password" in refused.reason.lower()
    if refused.error == "nodedown" or refused.is_locked:
        return True
    return refused.status >= 500 or 300 <= refused.status < 400 or refused.status == 429
