"""Plots: each is an image at an address of its own, and a table of its numbers beside it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, request, url_for
from markupsafe import Markup

from habitat_like.console.drawing import Plot, draw, moments, number, zone
from habitat_like.console.kept import kept
from habitat_like.console.pages import page_errors
from habitat_like.statistics.tables import MINUTE

#: Seconds after which a minute's messages are counted, and its number is final.
LATE = 5


def plot(blueprint: Blueprint, path: str) -> Callable[[Callable[[], Plot]], Callable[[], Plot]]:
    """Serve the Plot that a view returns as an image at ``path``, which ends in ``.svg``.

    The endpoint is the view's name. ``size=small`` in the query asks for one for a telephone. The
    view may raise PageError, ArchiveError and JournalError.
    """

    def declare(view: Callable[[], Plot]) -> Callable[[], Plot]:
        @functools.wraps(view)
        def as_image() -> Response:
            size = "small" if request.args.get("size") == "small" else "large"
            with page_errors():
                image = kept().get(request.full_path, lambda: draw(view(), size))
            # A page names another address each minute: a browser need not ask again before.
            headers = {"Cache-Control": f"private, max-age={MINUTE}"}
            return Response(image, 200, headers, mimetype="image/svg+xml")

        blueprint.add_url_rule(path, view.__name__, as_image)
        return view

    return declare


def figure(endpoint: str, view: Callable[[], Plot], **arguments: Any) -> dict[str, Any]:
    """A plot as a page and its JSON have it: the numbers, and the image's address in ``src``.

    ``view`` makes it, of which ``endpoint`` and ``arguments`` are the image.
    """
    src = url_for(endpoint, **arguments, at=last_minute())
    return {"src": src, **kept().get(("figure", src), lambda: msgspec.structs.asdict(view()))}


def last_minute() -> int:
    """The end of the last minute whose messages are counted, in UNIX seconds."""
    now = int(time.time()) - LATE
    return now - now % MINUTE


def numbers(figure: dict[str, Any]) -> Markup:
    """The numbers of a ``figure`` as a table in HTML: hundreds of cells, so it is made once."""

    def make() -> Markup:
        macros: Any = current_app.jinja_env.get_template("macros.html").module
        table: Markup = macros.table(rows(figure), numbers=True)
        return table

    return kept().get(("numbers", figure["src"]), make)


def rows(figure: dict[str, Any]) -> list[list[str]]:
    """The numbers of a ``figure`` as a table, the newest first; the first row is its heads."""
    columns = dict(figure["series"])
    if figure["stacked"] and len(columns) > 1:
        columns["total"] = [sum(values) for values in zip(*columns.values(), strict=True)]
    lines = [
        [moment, *(number(values[at]) for values in columns.values())]
        for at, moment in enumerate(moments(figure["times"], figure["step"]))
    ]
    return [[zone(figure["step"]), *columns], *reversed(lines)]
