"""The networks page: what each received, and how to point a device here."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, request

from habitat_like.console.pages import page, this_program

blueprint = Blueprint("networks", __name__)

#: Reasons why nothing of a request was taken, in words.
REASONS = {
    "content": "the upload can't be read",
    "wrong_key": "unknown station, or wrong key",
    "denied": "denied by the access rules",
    "rate": "over the rate limit",
    "overload": "the gateway could not store it at that time",
    "fault": "a bug in the decoder; see the log",
}


@page(blueprint, "/networks", "networks.html")
def networks() -> dict[str, Any]:
    """Every network that is on, in the configuration's order; counts are since the start."""
    program = this_program()
    recipes = program.networks.recipes(request.host)
    return {
        "host": request.host,
        "started": program.started,
        "networks": [
            {
                "name": name,
                "requests": counts.requests,
                "observations": counts.observations,
                "suspicious": counts.suspicious,
                "problems": counts.problems,
                "refused": [
                    {"reason": reason, "text": REASONS.get(reason, reason), "requests": number}
                    for reason, number in counts.refused.items()
                ],
                "last_observation": counts.last_observation,
                "last_problem": counts.last_problem,
                "recipes": [
                    {
                        "title": recipe.title,
                        "lines": [{"label": label, "text": text} for label, text in recipe.lines],
                    }
                    for recipe in recipes.get(name, ())
                ],
            }
            for name, counts in program.networks.status(time.time()).items()
        ],
    }
