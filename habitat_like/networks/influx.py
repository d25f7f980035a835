"""InfluxDB, versions 1 and 2: anything that writes line protocol over HTTP. No I/O.

The protocol has no station: a tag identifies it, or the login, or where it writes to.
"""

from __future__ import annotations

from habitat_like.http.response import JSON, TEXT, Response
from habitat_like.networks import line_protocol
from habitat_like.networks.base import (
    CAREFUL,
    Network,
    NetworkSettings,
    Outcome,
    Recipe,
    Route,
    json_response,
)
from habitat_like.networks.forms import text_of
from habitat_like.networks.keys import authorization
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Problem, Request
from habitat_like.networks.values import Readings

#: Lines in one request. A well-behaved client halves its batch on a 413.
MAX_LINES = 5000
#: Time units per second, by precision.
_PRECISIONS = {
    **dict.fromkeys(("", "n", "ns"), 1_000_000_000),
    **dict.fromkeys(("u", "us", "µ", "µs"), 1_000_000),
    "ms": 1000,
    "s": 1,
    "m": 1 / 60,
    "h": 1 / 3600,
}
#: Seconds: anything beyond is not a time in any precision.
_LATEST = 1e12


class InfluxSettings(NetworkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``tags``: the first of these that a point has is its station."""

    tags: tuple[str, ...] = ("host", "node", "station", "topic")


class Influx(Network):
    """The two ways to write, and what clients ask first."""

    name = "influx"
    types = ("SENSOR",)
    family = CAREFUL
    routes = (
        Route("POST", "/write"),
        Route("POST", "/api/v2/write"),
        Route("GET,HEAD", "/ping", probe="ping"),
        Route("GET", "/health", probe="health"),
        Route("GET,POST", "/query", probe="query"),
    )
    Settings = InfluxSettings
    secret_query = True
    plain_http = True

    def credential(self, request: Request) -> str | None:
        """The token of version 2, or the password of version 1."""
        return authorization(request) or request.fields.get("p")

    def decode(self, request: Request) -> Decoded:
        """An observation for each line. Raises BadRequest for an unknown precision."""
        fields = request.fields
        parts = _PRECISIONS.get(fields.get("precision", ""))
        if parts is None:
            raise BadRequest(400, "precision: must be one of n, ns, u, us, ms, s, m, h")
        station, secret = self._sender(request)
        observations: list[Observation] = []
        problems: list[Problem] = []
        for index, point in enumerate(line_protocol.parse(text_of(request.body))):
            if index >= MAX_LINES:
                raise BadRequest(413, f"body: more than {MAX_LINES} lines")
            if isinstance(point, line_protocol.BadLine):
                problems.append(Problem(index, f"line {point.number}: {point.text}"))
            else:
                named = [point.tags[tag] for tag in self.settings.tags if point.tags.get(tag)]
                observation = _observe(point, named[0] if named else station, parts)
                observation.secret = secret and not named
                observations.append(observation)
        return Decoded(observations, problems)

    def _sender(self, request: Request) -> tuple[str, bool]:
        """Who writes, if no tag says so, and whether that is a secret."""
        fields = request.fields
        login = request.login or fields.get("u")
        if login:
            return login, False
        if token := authorization(request):
            return token, True
        return fields.get("bucket") or fields.get("db") or "", False

    def success(self, request: Request, outcome: Outcome) -> Response:
        """No content."""
        return Response(204, b"", TEXT)

    def partial(self, request: Request, outcome: Outcome) -> Response:
        """Version 1 reports it; version 2 would resend what was taken."""
        if _is_v2(request):
            return self.success(request, outcome)
        first = outcome.problems[0].text
        text = f"partial write: {first} dropped={len(outcome.problems)}"
        return json_response(400, {"error": text})

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """In JSON, worded so that a client drops what can't be read."""
        if _is_v2(request):
            code = "request too large" if status == 413 else "invalid"
            return json_response(status, {"code": code, "message": text})
        return json_response(status, {"error": text})

    def wrong_key(self, request: Request) -> Response:
        """As upstream."""
        if _is_v2(request):
            message = {"code": "unauthorized", "message": "unauthorized access"}
            return json_response(401, message)
        return json_response(401, {"error": "authorization failed"})

    def ping(self, request: Request) -> Response:
        """Whether the server is up."""
        return Response(204, b"", TEXT, {"X-Influxdb-Version": "1.8.10"})

    def health(self, request: Request) -> Response:
        """The same, for version 2."""
        body = b'{"name":"influxdb","message":"ready for writes","status":"pass","checks":[]}'
        return Response(200, body, JSON)

    def query(self, request: Request) -> Response:
        """``CREATE DATABASE`` and the like: an empty result."""
        return Response(200, b'{"results":[{"statement_id":0}]}', JSON)

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For Telegraf and for sketches."""
        return (
            Recipe(
                "Telegraf: [[outputs.influxdb_v2]]",
                (
                    ("urls", f'["https://{host}"]'),
                    ("token", "YOUR_KEY"),
                    ("organization, bucket", "any"),
                ),
            ),
            Recipe(
                "Tasmota, airRohr, ESPEasy: InfluxDB 1",
                (("Host", host), ("Port", "80"), ("Database", "the station's name")),
            ),
        )


def _observe(point: line_protocol.Point, uploader: str, parts: float) -> Observation:
    readings = Readings()
    readings.add_all(point.fields)
    extra: dict[str, object] = {"tags": point.tags} if point.tags else {}
    seconds = None if point.time is None else point.time / parts
    if point.time is not None and parts > 1 and point.time % parts:
        # A message's own time is in whole seconds.
        extra["timestamp"] = point.time
    if seconds is not None and not 0 <= seconds < _LATEST:
        seconds = None
        readings.mark("time")
        extra["timestamp"] = point.time
    return Observation(
        type="SENSOR",
        uploader=uploader,
        time=seconds,
        rule="gateway" if seconds is None else "station",
        values=readings.values,
        sensor=point.measurement,
        missing=readings.missing,
        marks=readings.marks,
        extra=extra,
    )


def _is_v2(request: Request) -> bool:
    return request.path.startswith("/api/v2/")
