"""Three stand-in nodes of a CouchDB cluster: proxies in front of one CouchDB-protocol server."""

from __future__ import annotations

from collections.abc import Iterable

from tests.support.couch import CouchServer
from tests.support.proxy import Proxy, Rule


class Cluster:
    """Nodes that agree, since one server is behind them all; each can fail by itself."""

    def __init__(self, couch: CouchServer, size: int = 3) -> None:
        self.nodes = [Proxy(couch) for _ in range(size)]

    def uri(self, database: str, user: str | None = None) -> str:
        """The ``archive.uri`` of a database on all nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"couchdb://{user + '@' if user else ''}{hosts}/{database}"

    def rule(self, rule: Rule | None, nodes: Iterable[int] | None = None) -> None:
        """Have the nodes with these numbers (all of them) follow the rule."""
        for number in range(len(self.nodes)) if nodes is None else nodes:
            self.nodes[number].rule = rule

    def count(self, method: str = "*", path: str = "") -> int:
        """The requests so far, of all nodes."""
        return sum(node.count(method, path) for node in self.nodes)

    def heal(self) -> None:
        """Have all nodes work again."""
        self.rule(None)
        for node in self.nodes:
            node.release()
            node.start()

    def close(self) -> None:
        """Stop for good."""
        for node in self.nodes:
            node.close()
