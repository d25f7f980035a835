"""The overview: what is wrong, in words, and how messages flow."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from habitat_like.console.pages import page, this_program
from habitat_like.http.operator import status

blueprint = Blueprint("overview", __name__)


@page(blueprint, "/overview", "overview.html")
def overview() -> dict[str, Any]:
    """The gateway's state now."""
    return {"status": status(this_program().gateway)}
