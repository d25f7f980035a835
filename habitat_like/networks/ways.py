"""Ways: a network's routes, ready to match paths. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable

from habitat_like.http.response import Response
from habitat_like.networks.base import Network, Route
from habitat_like.networks.observation import Request

_PART = re.compile(r"\{(\w+)\}")
_SPECIAL = re.compile(r"[.+()$^|?\[\]]")


class Way:
    """One route of a network."""

    def __init__(self, network: Network, route: Route) -> None:
        self.route = route
        self.methods = tuple(method.strip() for method in route.methods.split(","))
        whole, star, _ = route.pattern.partition("*")
        #: The fixed parts of the path.
        self.base = whole.partition("{")[0].rstrip("/")
        self.first = self.base.removeprefix("/").partition("/")[0]
        self.has_variables = "{" in route.pattern
        self.is_exact = not self.has_variables and not star
        self._below = self.base + "/" if star and not self.has_variables else None
        pattern = _PART.sub(r"(?P<\1>[^/]+)", _SPECIAL.sub(r"\\\g<0>", whole)).rstrip("/")
        self._regex = re.compile(pattern + ("(?:/.*)?" if star else "/?"), re.DOTALL)
        #: What answers instead of the decoder.
        self.probe: Callable[[Request], Response] | None = None
        if route.probe is not None:
            self.probe = getattr(network, route.probe)

    def matches(self, path: str) -> bool:
        """Whether the path belongs to this route."""
        if self._below is not None and path.startswith(self._below):
            return True
        if self._regex.fullmatch(path) is not None:
            return True
        # A query glued to the path without a question mark.
        return self.route.glued and "=" in path and self.base != "" and path.startswith(self.base)

    def variables(self, path: str) -> dict[str, str]:
        """The values of the route's variables in a matching path."""
        match = self._regex.fullmatch(path)
        return {} if match is None else match.groupdict()
