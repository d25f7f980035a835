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
from habitat_like.networks.columns import Columns
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Request, Scalar
from habitat_like.networks.values import SECRETS, Readings

#: A station's clock is trusted from 2020 on, unless it is more than a day ahead.
_EARLIEST = 1577836800.0
_AHEAD = 86400.0
#: Fields kept elsewhere in the observation, or part of the protocol.
_ELSEWHERE = SECRETS | {"id", "siteid", "mac", "dateutc", "action", "pass", "key", "stationkey"}
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
        layout = (_layout if request.is_short else _lay_out)(tuple(fields))
        request.found = layout.protocol
        uploader = fields.get(layout.identity, "").strip()
        secret = layout.is_secret
        if not uploader:
            identity = _identity(fields)
            if identity is None:
                raise BadRequest(400, "none of ID, PASSKEY and siteid was sent: whose is it?")
            uploader, secret = identity
        values, missing, marks = _read(layout.readings, fields)
        sent = fields.get(layout.date, "")
        observed = moments.iso(sent)
        if observed is None:
            observed = moments.unix(sent)
        if observed is None:
            if not values and not missing and not sent:
                return Decoded([])
            if sent and sent.strip().lower() != "now":
                values["dateutc"] = sent
                marks = [*marks, "dateutc"]
        elif not _EARLIEST <= observed <= request.now + _AHEAD:
            values["dateutc"] = sent
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
                    missing=missing,
                    marks=marks,
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
    about the identity.
    """

    protocol: str
    identity: str
    is_secret: bool
    date: str
    readings: Columns


def _lay_out(names: tuple[str, ...]) -> _Layout:
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
    readings = Columns(name for name in names if name.lower() not in _ELSEWHERE)
    date = "dateutc" if "dateutc" in names else found.get("dateutc", "")
    return _Layout(kind, found.get(key, ""), secret, date, readings)


_layout = functools.lru_cache(maxsize=1024)(_lay_out)


def _read(
    columns: Columns, fields: dict[str, str]
) -> tuple[dict[str, Scalar], list[str], list[str]]:
    """The readings by name, the names without one, and the reasons to doubt them."""
    found = columns.read(fields)
    if found is not None:
        return *found, []
    readings = Readings()
    for name in columns.names:
        readings.add(name, fields[name])
    return readings.values, readings.missing, readings.marks


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
