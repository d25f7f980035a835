"""Site: all that a request can reach, and how the gateway fares."""

from __future__ import annotations

from collections.abc import Iterable

from habitat_like.config.keys import GatewayConfig
from habitat_like.http.actions import Action, InsertApplication, find_actions
from habitat_like.http.program import Program
from habitat_like.message_server import Server
from habitat_like.statistics.metrics import GatewayMetrics


class Site:
    """What handlers and pages know of the gateway that they serve in.

    ``server`` is the message server. Raises ValueError for an action that doesn't exist.
    """

    def __init__(self, server: Server, program: Program) -> None:
        self.server = server
        self.program = program
        self.steering = program.steering
        self.access = program.access
        self.application = InsertApplication(server, program)
        self.actions = find_actions(self.application.actions)
        #: Actions and pages by the first part of their path.
        self.routes: dict[str, Action] = dict(self.actions)
        self.metrics = GatewayMetrics()
        #: The limits in force, replaced as a whole by a reload.
        self.limits: GatewayConfig = program.config.gateway
        #: How many connections are open beyond a single turn. Written by the gateway's thread.
        self.connections = 0
        #: Why no message can be made durable now. Written by the gateway's thread.
        self.journal_problem: str | None = None
        self.stopping = True

    def change_actions(self, names: Iterable[str]) -> None:
        """Replace the whitelist. Thread-safe. Raises ValueError as Site does."""
        actions = find_actions(names)
        before = self.actions
        pages = {name: page for name, page in self.routes.items() if name not in before}
        # Whatever can be reached meanwhile is known as an action, which maintenance can stop.
        self.actions = {**before, **actions}
        self.routes = {**actions, **pages}
        self.actions = actions

    def problem(self) -> str | None:
        """Why a station would be told 503 now, None when it would be served."""
        if self.stopping:
            return "the gateway is shutting down"
        if self.steering.closed is not None:
            return self.steering.closed.reason
        if self.journal_problem is not None:
            return self.journal_problem
        if self.server.room <= 0:
            return "the backlog is full"
        return None
