"""Weather stations: Weather Underground, Ecowitt, Ambient, WOW and AcuRite. No I/O.

All send one flat list of readings, in a query or a form, and are told apart by their fields. What
they send is archived with its names and units.
"""

from __future__ import annotations

import time

from habitat_like.http.response import TEXT, Response
from habitat_like.networks import moments
from habitat_like.networks.base import FAST, Network, Outcome, Recipe, Route, json_response
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Request
from habitat_like.networks.values import SECRETS, Readings, scalar

#: A station's clock is believed from 2020 on, and until it is a day ahead.
_EARLIEST = 1577836800.0
_AHEAD = 86400.0
#: What is in the observation's other parts, or a word of the protocol.
_ELSEWHERE = SECRETS | {"id", "siteid", "mac", "dateutc", "action", "pass", "key", "stationkey"}
#: The keys that tell who sends.
_IDENTITIES = ("passkey", "siteid", "id", "mac")

ECOWITT, WOW, UNDERGROUND, ACURITE = "Ecowitt", "WOW", "Weather Underground", "AcuRite"


class Weather(Network):
    """Consoles and programs that upload as they do to Weather Underground, Ecowitt or WOW."""

    name = "weather"
    secret_identity = True
    types = ("WEATHER",)
    routes = (
        Route("GET,POST", "/weatherstation/*", glued=True, lane=FAST),
        Route("GET,POST", "/data/*", glued=True, lane=FAST),
        Route("GET,POST", "/automaticreading/*", glued=True, lane=FAST),
    )
    secret_query = True
    plain_http = True

    def credential(self, request: Request) -> str | None:
        """PASSWORD, siteAuthenticationKey or PASSKEY, whichever was sent."""
        fields = _lower(_fields(request))
        for key in ("password", "siteauthenticationkey", "passkey"):
            if fields.get(key):
                return fields[key]
        return super().credential(request)

    def decode(self, request: Request) -> Decoded:
        """One observation. Raises BadRequest where nothing tells whose it is."""
        fields = _fields(request)
        identity = _identity(fields)
        if identity is None:
            raise BadRequest(400, "none of ID, PASSKEY and siteid was sent: whose is it?")
        uploader, secret = identity
        readings = Readings()
        values = readings.values
        for key, text in fields.items():
            if key.lower() in _ELSEWHERE:
                continue
            value = scalar(text)
            if value is not None and len(key) <= 64:
                values[key] = value
            else:
                readings.add(key, value)
        sent = fields.get("dateutc") or _lower(fields).get("dateutc", "")
        if not values and not readings.missing and not sent:
            return Decoded([])
        observed = None
        if sent and sent.strip().lower() != "now":
            observed = moments.iso(sent)
            if observed is None or not _EARLIEST <= observed <= request.now + _AHEAD:
                values["dateutc"] = sent
            if observed is None:
                readings.mark("dateutc")
        sensor = values.get("sensor") if "mt" in values else None
        return Decoded(
            [
                Observation(
                    type="WEATHER",
                    uploader=uploader,
                    secret=secret,
                    time=observed,
                    rule="gateway" if observed is None else "station",
                    values=values,
                    sensor=None if sensor is None else fields["sensor"],
                    missing=readings.missing,
                    marks=readings.marks,
                )
            ]
        )

    def success(self, request: Request, outcome: Outcome) -> Response:
        """A word that the sender's protocol has for it, and few bytes: consoles read no more."""
        kind = protocol(_fields(request))
        if kind == UNDERGROUND:
            return Response(200, b"success\n", TEXT)
        if kind == ACURITE:
            clock = time.strftime("%H:%M:%S", time.localtime(request.now))
            return json_response(200, {"localtime": clock})
        return Response(200, b"OK", TEXT)

    def wrong_key(self, request: Request) -> Response:
        """As each protocol says it."""
        kind = protocol(_fields(request))
        if kind == UNDERGROUND:
            # In capitals: weewx gives a record up at "invalid", and waits an hour after "ERROR".
            return Response(401, b"INVALIDPASSWORDID\n", TEXT)
        return Response(403 if kind == WOW else 401, b"wrong key\n", TEXT)

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For the menus of consoles, and weewx.conf."""
        return (
            Recipe(
                'Ecowitt, Froggit and others: app, "Customized", protocol "Ecowitt"',
                (("Server", host), ("Path", "/data/report/"), ("Port", "80"), ("Interval", "60")),
            ),
            Recipe(
                'The same, protocol "Wunderground"',
                (
                    ("Server", host),
                    ("Path", "/weatherstation/updateweatherstation.php?"),
                    ("Station ID, key", "not empty"),
                    ("Port", "80"),
                ),
            ),
            Recipe(
                'Ambient Weather: app, "Custom server"',
                (("Server", host), ("Path", "/data/report/?"), ("Port", "80")),
            ),
            Recipe(
                "weewx: [[Wunderground]] in weewx.conf",
                (("server_url", f"https://{host}/weatherstation/updateweatherstation.php"),),
            ),
            Recipe(
                "weewx: [[WOW]] in weewx.conf",
                (("server_url", f"https://{host}/automaticreading"),),
            ),
        )


def protocol(fields: dict[str, str]) -> str:
    """Whose protocol it is, by the fields that name the sender."""
    found = _lower(fields)
    if "passkey" in found or "mac" in found:
        return ECOWITT
    if "siteid" in found:
        return WOW
    return ACURITE if "mt" in found and "password" not in found else UNDERGROUND


def _identity(fields: dict[str, str]) -> tuple[str, bool] | None:
    """Who sends, and whether that is a secret; None where nothing tells."""
    if name := fields.get("PASSKEY", "").strip():
        return name, True
    if name := fields.get("ID", "").strip():
        return name, False
    found = _lower(fields)
    for key in _IDENTITIES:
        if name := found.get(key, "").strip():
            # AcuRite's id is the hub's MAC address.
            return name, key in ("passkey", "mac") or (key == "id" and "mt" in found)
    return None


def _fields(request: Request) -> dict[str, str]:
    """The request's fields.

    A name at the end of the path it is glued to is cut out: ``/updateweatherstationID=…``.
    """
    fields = request.fields
    if "PASSKEY" in fields or "ID" in fields or "siteid" in fields:
        return fields
    first = next(iter(fields), "")
    if any(key.lower() in _IDENTITIES for key in fields) or not first:
        return fields
    for key in _IDENTITIES:
        if first.lower().endswith(key):
            return {key: fields[first], **{k: v for k, v in fields.items() if k != first}}
    return fields


def _lower(fields: dict[str, str]) -> dict[str, str]:
    """The fields by their names in lower case, as firmwares differ."""
    return {key.lower(): value for key, value in fields.items()}
