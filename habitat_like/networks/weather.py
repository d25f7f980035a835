"""Weather stations: Weather Underground, Ecowitt, Ambient, WOW and AcuRite. No I/O.

All send one flat list of readings, in a query or a form; their fields tell them apart. Readings
are archived with the names and units sent.
"""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

from habitat_like.http.response import TEXT, Response
from habitat_like.networks import moments
from habitat_like.networks.base import FAST, Network, Outcome, Recipe, Route, json_response
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Request
from habitat_like.networks.values import SECRETS, SHORT, Readings, scalar, short_reading

#: A station's clock is trusted from 2020 on, unless it is more than a day ahead.
_EARLIEST = 1577836800.0
_AHEAD = 86400.0
#: Fields kept elsewhere in the observation, or part of the protocol.
_ELSEWHERE = SECRETS | {"id", "siteid", "mac", "dateutc", "action", "pass", "key", "stationkey"}
#: Characters of a name that is taken as is.
MAX_LENGTH = 64
#: The keys that identify the sender.
_IDENTITIES = ("passkey", "siteid", "id", "mac")

ECOWITT, WOW, UNDERGROUND, ACURITE = "Ecowitt", "WOW", "Weather Underground", "AcuRite"


class Weather(Network):
    """Consoles and programs that upload as to Weather Underground, Ecowitt or WOW."""

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
        """One observation. Raises BadRequest if nothing identifies the sender."""
        fields = _fields(request)
        layout = _layout(tuple(fields))
        request.found = layout.protocol
        uploader = fields.get(layout.identity, "").strip()
        secret = layout.is_secret
        if not uploader:
            identity = _identity(fields)
            if identity is None:
                raise BadRequest(400, "none of ID, PASSKEY and siteid was sent: whose is it?")
            uploader, secret = identity
        readings = Readings()
        values = readings.values
        for key in layout.readings:
            text = fields[key]
            value = short_reading(text) if len(text) <= SHORT else scalar(text)
            if value is not None:
                values[key] = value
            else:
                readings.add(key, None)
        for key in layout.odd:
            readings.add(key, scalar(fields[key]))
        sent = fields.get(layout.date, "")
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
        """The protocol's word for success, in few bytes: consoles read no more."""
        kind = request.found or protocol(_fields(request))
        if kind == UNDERGROUND:
            return _SUCCESS
        if kind == ACURITE:
            clock = time.strftime("%H:%M:%S", time.localtime(request.now))
            return json_response(200, {"localtime": clock})
        return _OK

    def wrong_key(self, request: Request) -> Response:
        """In each protocol's own way."""
        kind = protocol(_fields(request))
        if kind == UNDERGROUND:
            # In capitals: weewx drops a record on "invalid", and waits an hour after "ERROR".
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


_SUCCESS = Response(200, b"success\n", TEXT)
_OK = Response(200, b"OK", TEXT)


class _Layout(NamedTuple):
    """What a request's field names reveal: a console sends the same ones every time.

    ``identity`` and ``date`` are the fields that hold these, "" if none does; ``is_secret`` is
    about the identity. ``odd`` has the readings whose names are too long as they are.
    """

    protocol: str
    identity: str
    is_secret: bool
    date: str
    readings: tuple[str, ...]
    odd: tuple[str, ...]


@functools.lru_cache(maxsize=1024)
def _layout(names: tuple[str, ...]) -> _Layout:
    found = {name.lower(): name for name in names}
    if "passkey" in found or "mac" in found:
        kind = ECOWITT
    elif "siteid" in found:
        kind = WOW
    else:
        kind = ACURITE if "mt" in found and "password" not in found else UNDERGROUND
    key = next((key for key in ("passkey", "id", "siteid", "mac") if key in found), "")
    # AcuRite's id is the hub's MAC address.
    secret = key in ("passkey", "mac") or (found.get(key) == "id" and "mt" in found)
    readings = [name for name in names if name.lower() not in _ELSEWHERE]
    date = "dateutc" if "dateutc" in names else found.get("dateutc", "")
    return _Layout(
        kind,
        found.get(key, ""),
        secret,
        date,
        tuple(name for name in readings if len(name) <= MAX_LENGTH),
        tuple(name for name in readings if len(name) > MAX_LENGTH),
    )


def protocol(fields: dict[str, str]) -> str:
    """Which protocol it is, by the fields that name the sender."""
    return _layout(tuple(fields)).protocol


def _identity(fields: dict[str, str]) -> tuple[str, bool] | None:
    """The sender, and whether that is a secret; None if nothing identifies it."""
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

    A name glued to the end of the path is cut out: ``/updateweatherstationID=…``.
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
    """The fields by lower-case name, as firmwares differ."""
    return {key.lower(): value for key, value in fields.items()}
