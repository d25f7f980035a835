"""Routes: which network a path belongs to. No I/O."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from habitat_like.http.actions import Action
from habitat_like.http.response import Refused, Response
from habitat_like.networks.base import Route
from habitat_like.networks.observation import Request
from habitat_like.networks.runner import Runner

_PART = re.compile(r"\{(\w+)\}")
_SLASHES = re.compile(r"//+")


class Way:
    """A route of one network, ready to match paths."""

    def __init__(self, runner: Runner, route: Route) -> None:
        self.runner = runner
        self.route = route
        self.methods = tuple(method.strip() for method in route.methods.split(","))
        base, star, _ = route.pattern.partition("*")
        #: The parts of the path that are the same for all.
        self.base = base.partition("{")[0].rstrip("/")
        self.first = self.base.removeprefix("/").partition("/")[0]
        self.has_variables = "{" in route.pattern
        self.is_exact = not self.has_variables and not star
        pattern = _PART.sub(r"(?P<\1>[^/]+)", re.sub(r"[.+()$^|?\[\]]", r"\\\g<0>", base))
        pattern = pattern.rstrip("/")
        self._regex = re.compile(pattern + ("(?:/.*)?" if star else "/?"), re.DOTALL)
        self.probe: Callable[[Request], Response] | None = None
        if route.probe is not None:
            self.probe = getattr(runner.network, route.probe)
        name = runner.network.name
        self.action = Action(
            name.rpartition(".")[2],
            functools.partial(runner.run, self),
            self.methods,
            route.lane,
            subpaths=True,
            answers=runner,
            upload=route.probe is None,
        )

    def matches(self, path: str) -> bool:
        """Whether the path is one of this route."""
        if self._regex.fullmatch(path) is not None:
            return True
        # A query that its sender put behind the path without a question mark.
        return self.route.glued and "=" in path and self.base != "" and path.startswith(self.base)

    def variables(self, path: str) -> dict[str, str]:
        """The values of the route's variables in a path that it matches."""
        match = self._regex.fullmatch(path)
        return {} if match is None else match.groupdict()


class Router(NamedTuple):
    """All routes of all networks that are on. Immutable."""

    exact: dict[tuple[str, str], Way]
    ways: tuple[Way, ...]

    def find(self, method: str, path: str) -> Action | None:
        """The action of a request, None where no network has this path.

        Raises Refused (405) where one has, but not with this ``method``.
        """
        way = self.exact.get((method, path))
        if way is not None:
            return way.action
        if "//" in path:
            path = _SLASHES.sub("/", path)
        allowed: list[str] = []
        for way in self.ways:
            if way.matches(path):
                if method in way.methods:
                    return way.action
                allowed += way.methods
        if not allowed:
            return None
        allow = ", ".join(dict.fromkeys(allowed))
        raise Refused(405, f"this path takes {allow}, not {method[:32]!r}", {"Allow": allow})

    @property
    def paths(self) -> list[str]:
        """A line for each: methods and path."""
        return [f"{' '.join(way.methods)} {way.route.pattern}" for way in self.ways]


def make_router(runners: Iterable[Runner]) -> Router:
    """The routes of ``runners``; the more exact of two comes first. Raises ValueError."""
    ways = [Way(runner, route) for runner in runners for route in runner.network.routes]
    exact: dict[tuple[str, str], Way] = {}
    for way in ways:
        if not way.is_exact:
            continue
        for method in way.methods:
            pattern = way.route.pattern
            for path in {pattern, pattern.rstrip("/") or "/"}:
                other = exact.setdefault((method, path), way)
                if other.runner is not way.runner:
                    names = f"{other.runner.network.name} and {way.runner.network.name}"
                    raise ValueError(f"{names} have the same path {path}")
    ways.sort(key=lambda way: (way.route.pattern.endswith("*"), way.has_variables, -len(way.base)))
    return Router(exact, tuple(ways))
