"""Routes: which network a path belongs to. No I/O."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

from habitat_like.http.actions import Action
from habitat_like.http.response import Refused
from habitat_like.networks.runner import Runner
from habitat_like.networks.ways import Way

_SLASHES = re.compile(r"//+")
#: Paths that are found at once the next time: no more, and no longer ones than a station's own.
MAX_KNOWN = 1024
MAX_KNOWN_PATH = 64


class Router(NamedTuple):
    """All routes of all networks that are on.

    ``known`` has the actions of paths by method and path: of those without variables, and of those
    that were asked for. ``by_first`` has the routes by the first part of the path, ``glued`` those
    that a query may follow without a question mark: then the path's first part may be more than
    the route's.
    """

    known: dict[tuple[str, str], Action]
    ways: tuple[tuple[Way, Action], ...]
    by_first: dict[str, tuple[tuple[Way, Action], ...]]
    glued: tuple[tuple[Way, Action], ...]

    def find(self, method: str, path: str) -> Action | None:
        """The action of a request, None if no network has this path.

        Raises Refused (405) if one has it, but not with this ``method``.
        """
        action = self.known.get((method, path))
        return self._search(method, path) if action is None else action

    def _search(self, method: str, path: str) -> Action | None:
        asked = path
        if "//" in path:
            path = _SLASHES.sub("/", path)
        first = path.removeprefix("/").partition("/")[0]
        allowed: list[str] = []
        for way, action in self.by_first.get(first, self.glued):
            if way.matches(path):
                if method in way.methods:
                    is_query = "=" in asked or len(asked) > MAX_KNOWN_PATH
                    if not is_query and len(self.known) < MAX_KNOWN:
                        self.known[method, asked] = action
                    return action
                allowed += way.methods
        if not allowed:
            return None
        allow = ", ".join(dict.fromkeys(allowed))
        raise Refused(405, f"this path takes {allow}, not {method[:32]!r}", {"Allow": allow})

    @property
    def paths(self) -> list[str]:
        """A line for each: methods and path."""
        return [f"{' '.join(way.methods)} {way.route.pattern}" for way, _ in self.ways]


def make_router(runners: Iterable[Runner]) -> Router:
    """The routes of ``runners``, the more specific first. Raises ValueError."""
    exact: dict[tuple[str, str], Action] = {}
    ways = []
    for runner in runners:
        for route in runner.network.routes:
            way = Way(runner.network, route)
            action = _action(runner, way)
            ways.append((way, action))
            if not way.is_exact:
                continue
            for method in way.methods:
                for path in {route.pattern, route.pattern.rstrip("/") or "/"}:
                    other = exact.setdefault((method, path), action)
                    if other.name != action.name:
                        text = f"{other.name} and {action.name} have the same path {path}"
                        raise ValueError(text)
    ways.sort(key=_order)
    by_first: dict[str, tuple[tuple[Way, Action], ...]] = {}
    for way, action in ways:
        by_first[way.first] = (*by_first.get(way.first, ()), (way, action))
    glued = tuple(entry for entry in ways if entry[0].route.glued)
    return Router(exact, tuple(ways), by_first, glued)


def _order(entry: tuple[Way, Action]) -> tuple[bool, bool, int]:
    way = entry[0]
    return way.route.pattern.endswith("*"), way.has_variables, -len(way.base)


def _action(runner: Runner, way: Way) -> Action:
    return Action(
        runner.network.name,
        functools.partial(runner.run, way),
        way.methods,
        way.route.lane,
        subpaths=True,
        answers=runner,
        upload=way.probe is None,
    )
