"""Site: everything a request can reach, and the gateway's state."""

from __future__ import annotations

from habitat_like.config.keys import GatewayConfig
from habitat_like.http.actions import Action, InsertApplication, PathRouter, find_actions
from habitat_like.http.bodies import Bodies
from habitat_like.http.program import ServingProgram
from habitat_like.http.response import Refused
from habitat_like.message_server import Server
from habitat_like.statistics.metrics import GatewayMetrics


class Site:
    """What handlers and pages know about the gateway that they run in.

    ``server`` is the message server. Raises ValueError for an action that doesn't exist.
    """

    def __init__(self, server: Server, program: ServingProgram) -> None:
        self.server = server
        self.program = program
        self.steering = program.steering
        self.access = program.access
        self.application = InsertApplication(server, program)
        self.actions = find_actions(self.application.actions)
        #: Actions and pages by the first part of their path.
        self.routes: dict[str, Action] = dict(self.actions)
        #: Actions by their whole path, for paths not found there. Replaced as a whole.
        self.router: PathRouter | None = None
        self.metrics = GatewayMetrics()
        #: The limits in force, replaced as a whole by a reload.
        self.limits: GatewayConfig = program.config.gateway
        #: The bodies in the gateway.
        self.bodies = Bodies(self.limits.max_waiting)
        #: How many connections stay open beyond a single turn. Written by the gateway's thread.
        self.connections = 0
        #: Why no message can be made durable now. Written by the gateway's thread.
        self.journal_problem: str | None = None
        self.stopping = True

    def change_limits(self, limits: GatewayConfig) -> None:
        """Put other limits in force. Thread-safe."""
        self.limits = limits
        self.bodies.set_limit(limits.max_waiting)
        self.server.set_max_message(limits.max_message)

    def find(self, method: str, path: str) -> tuple[Action, str]:
        """The action of a request, and the path to call it with.

        Raises Refused: 404 for an unknown path, 405 for another method.
        """
        name, _, rest = path.removeprefix("/").partition("/")
        action = self.routes.get(name)
        known = action is not None and (not rest or action.subpaths)
        if action is not None and known and method in action.methods:
            return action, rest
        other = None if self.router is None else self.router.find(method, path or "/")
        if other is not None:
            return other, path
        if action is None or not known:
            names = ", ".join(f"/{known}" for known in self.actions)
            raise Refused(404, f"no action at this path; the actions are: {names}")
        allow = ", ".join(action.methods)
        raise Refused(405, f"/{name} takes {allow}, not {method[:32]!r}", {"Allow": allow})

    def problem(self) -> str | None:
        """Why a station would get 503 now, None if it would be served."""
        if self.stopping:
            return "the gateway is shutting down"
        if self.steering.closed is not None:
            return self.steering.closed.reason
        return self.journal_problem or self.program.journal.problem or self.server.problem()
