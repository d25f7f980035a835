"""OwnTracks, in HTTP mode. No I/O.

Phones resend what was not answered with success, before everything else, up to 100,000 times. So
everything they send is answered with success, except a wrong password.
"""

from __future__ import annotations

from typing import Any

from habitat_like.http.response import JSON, Response
from habitat_like.networks import lenient, moments
from habitat_like.networks.base import STUBBORN, Network, Outcome, Recipe, Route
from habitat_like.networks.forms import text_of
from habitat_like.networks.observation import Decoded, Observation, Request
from habitat_like.networks.values import Readings, text, unbase64, unread

#: ``BSSID`` is the MAC address of the access point, ``face`` a picture.
_ELSEWHERE = {"_type", "_id", "lat", "lon", "alt", "tst", "topic", "BSSID", "face", "data"}


class OwnTracks(Network):
    """What the apps post: a location, or another of their objects."""

    name = "owntracks"
    types = ("POSITION", "EVENT")
    family = STUBBORN
    routes = (Route("POST", "/pub"),)

    def decode(self, request: Request) -> Decoded:
        """One observation; none for an empty body."""
        body = request.body.strip()
        if not body:
            return Decoded([])
        try:
            tree = lenient.parse(body)
        except lenient.NotJson as error:
            return Decoded([_unread(request, str(error))])
        if isinstance(tree, dict):
            return Decoded([_observe(tree, request)])
        return Decoded([_unread(request, "body: must be a JSON object")])

    def success(self, request: Request, outcome: Outcome) -> Response:
        """An empty list of objects for the app."""
        return Response(200, b"[]", JSON)

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For the app's settings."""
        return (
            Recipe(
                'OwnTracks: preferences, "Connection"',
                (
                    ("Mode", "HTTP"),
                    ("Host / URL", f"https://{host}/pub"),
                    ("Identification", "user name, device, password"),
                ),
            ),
        )


def _observe(item: dict[str, Any], request: Request) -> Observation:
    user, device = _who(item, request)
    kind = text(item.get("_type")) or "unknown"
    is_location = kind == "location"
    readings = Readings()
    if not is_location:
        readings.add_text("_type", kind)
    readings.add_all(item, _ELSEWHERE)
    sent = item.get("tst")
    observed = moments.moment(sent)
    if sent not in (None, "") and observed is None:
        readings.mark("tst")
        readings.add("tst", sent)
    position = None
    if is_location or "lat" in item:
        position = readings.position(
            item.get("lat"), item.get("lon"), item.get("alt"), is_needed=True
        )
    raw = None
    if kind == "encrypted" and isinstance(item.get("data"), str):
        raw = unbase64(item["data"]) or item["data"].encode("utf-8", "replace")
    return Observation(
        type="POSITION" if is_location else "EVENT",
        uploader=user,
        time=observed,
        rule="gateway" if observed is None else "trusted",
        values=readings.values,
        payload=device or None,
        position=position,
        raw=raw,
        missing=readings.missing,
        marks=readings.marks,
    )


def _unread(request: Request, problem: str) -> Observation:
    user, device = _who({}, request)
    return Observation(
        type="EVENT",
        uploader=user,
        rule="gateway",
        payload=device or None,
        raw=unread(request.body),
        marks=[problem],
    )


def _who(item: dict[str, Any], request: Request) -> tuple[str, str]:
    """User and device: from the headers, the query, the topic, the login, or the two letters."""
    headers = [
        text_of(request.headers.get(name).encode("latin-1", "replace")).strip()
        for name in ("x-limit-u", "x-limit-d")
    ]
    topic = [*text(item.get("topic")).split("/"), "", "", ""][1:3]
    query = request.fields
    user = headers[0] or query.get("u", "").strip() or topic[0] or request.login or ""
    device = headers[1] or query.get("d", "").strip() or topic[1]
    tracker = text(item.get("tid"))
    return user or tracker, device or tracker
