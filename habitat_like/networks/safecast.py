"""Safecast: radiation measurements, as bGeigieZen and SafecastPy upload them. No I/O."""

from __future__ import annotations

import hashlib
from typing import Any

from habitat_like.http.response import Response
from habitat_like.networks import lenient, moments
from habitat_like.networks.base import Network, Outcome, Recipe, Route, json_response
from habitat_like.networks.keys import authorization
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Problem, Request
from habitat_like.networks.values import Readings, number, text

_ELSEWHERE = {"captured_at", "device_id", "latitude", "longitude", "height", "utf8", "commit"}


class Safecast(Network):
    """Safecast's ``/measurements.json``."""

    name = "safecast"
    types = ("SENSOR",)
    routes = (Route("POST", "/measurements.json"),)
    secret_query = True
    plain_http = True

    def credential(self, request: Request) -> str | None:
        """The API key."""
        return _api_key(request) or authorization(request)

    def decode(self, request: Request) -> Decoded:
        """One measurement. Raises BadRequest for anything else."""
        item = _measurement(request)
        if number(item.get("value")) is None:
            return Decoded([], [Problem(0, "value: must be a number")])
        readings = Readings()
        readings.add_all(item, _ELSEWHERE)
        sent = item.get("captured_at")
        observed = moments.moment(sent)
        if sent not in (None, "") and observed is None:
            readings.mark("captured_at")
            readings.add("captured_at", sent)
        height = item.get("height")
        position = None
        if "latitude" in item or "longitude" in item:
            if height is not None and height == item.get("latitude"):
                # A bug in bGeigieZen: it sends the latitude twice.
                readings.add("height", None)
                height = None
            position = readings.position(item.get("latitude"), item.get("longitude"), height)
        device = text(item.get("device_id"))
        observation = Observation(
            type="SENSOR",
            uploader=device or _api_key(request),
            secret=not device,
            time=observed,
            rule="gateway" if observed is None else "station",
            values=readings.values,
            position=position,
            missing=readings.missing,
            marks=readings.marks,
        )
        return Decoded([observation])

    def success(self, request: Request, outcome: Outcome) -> Response:
        """As upstream: 201 and a number; also for a repeat, where upstream has 422."""
        digest = hashlib.blake2b(request.body, digest_size=4).digest()
        return json_response(201, {"id": int.from_bytes(digest, "big") >> 1})

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """As upstream: 422 in JSON."""
        return json_response(422 if status == 400 else status, {"errors": {"base": [text]}})

    def wrong_key(self, request: Request) -> Response:
        """As upstream: 401 in JSON."""
        return json_response(401, {"error": "wrong api_key"})

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For those who build the firmware or use the Python package."""
        return (
            Recipe("bGeigieZen: constant of the firmware", (("API host", host),)),
            Recipe("SafecastPy", (("api_url", f"https://{host}"),)),
        )


def _api_key(request: Request) -> str:
    """The key of the query, or else of the body, after ``_measurement``; "" if none was sent."""
    return request.fields.get("api_key", "").strip() or request.found or ""


def _measurement(request: Request) -> dict[str, Any]:
    """The measurement, wrapped or not, in JSON or a form. Raises BadRequest.

    A key in it is kept in ``request.found``.
    """
    if request.is_form:
        return {
            key.removeprefix("measurement[").removesuffix("]"): value
            for key, value in request.fields.items()
        }
    try:
        tree = lenient.parse(request.body)
    except lenient.NotJson as error:
        raise BadRequest(422, str(error)) from None
    item = tree.get("measurement", tree) if isinstance(tree, dict) else None
    if not isinstance(item, dict):
        raise BadRequest(422, "body: must be a JSON object")
    request.found = text(tree.get("api_key", item.get("api_key")))
    return item
