"""What pages may load: nothing of another host, but map tiles where ``console.tiles`` names one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import msgspec
from flask import Response, after_this_request

from habitat_like.config.tiles import host_of
from habitat_like.console.pages import this_program

#: No script or style but our own files, nothing from or to another host, in nobody's frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

P = ParamSpec("P")
T = TypeVar("T")


class Tiles(msgspec.Struct, frozen=True):
    """A tile server: the template of its addresses, the host in it, and whose work tiles are."""

    template: str
    origin: str
    attribution: str


def this_tiles() -> Tiles | None:
    """The tile server of the configuration, None without one."""
    config = this_program().config.console
    if config.tiles is None:
        return None
    origin = host_of(config.tiles)
    return Tiles(config.tiles, origin, config.tiles_attribution or origin.partition("//")[2])


def with_tiles(view: Callable[P, T]) -> Callable[P, T]:
    """Let the page with a map that a view makes show tiles."""

    @functools.wraps(view)
    def permitting(*args: P.args, **kwargs: P.kwargs) -> T:
        tiles = this_tiles()
        if tiles is not None:

            @after_this_request
            def permit(response: Response) -> Response:
                policy = POLICY.replace("img-src 'self'", f"img-src 'self' {tiles.origin}")
                response.headers["Content-Security-Policy"] = policy
                return response

        return view(*args, **kwargs)

    return permitting
