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
from habitat_like.networks.columns import Columns, Read
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Request
from habitat_like.networks.values import SECRETS, Readings

#: A station's clock is trusted from 2020 on, unless it is more than a day ahead.
_EARLIEST = 1577836800.0
_AHEAD = 86400.0
#: Fields kept elsewhere in the observation, or part of the protocol.
_ELSEWHERE = SECRETS | {"id", "siteid", "mac", "dateutc", "action", "pass", "key", "stationkey"}
#: The keys that identify the sender.
_IDENTITIES = ("passkey", "siteid", "id", "mac")

#: Sets of names to remember; one takes some 20 KB.
MAX_LAYOUTS = 256
#: Characters of a path of which the last layout is remembered.
MAX_PATH = 64

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
        usual = _decode_usual(request)
        if usual is not None:
            return Decoded([usual])
        fields = _fields(request)
        layout = (_layout if request.is_short else _lay_out)(tuple(fields))
        request.found = layout.protocol
        found = layout.readings.read(fields) if layout.is_usual else None
        usual = None if found is None else _observe(found, layout, request.now)
        if usual is not None:
            _remember(request, layout)
            return Decoded([usual])
        uploader = fields.get(layout.identity, "").strip()
        secret = layout.is_secret
        if not uploader:
            identity = _identity(fields)
            if identity is None:
                raise BadRequest(400, "none of ID, PASSKEY and siteid was sent: whose is it?")
            uploader, secret = identity
        sent = fields.get(layout.date, "")
        observed = moments.iso(sent)
        if observed is None:
            observed = moments.unix(sent)
        readings = Readings()
        for name in layout.readings.names:
            readings.add(name, fields[name])
        values = readings.values
        if observed is None:
            if not values and not readings.missing and not sent:
                return Decoded([])
            if sent and sent.strip().lower() != "now":
                values["dateutc"] = sent
                readings.mark("dateutc")
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
    about the identity. ``is_usual``: both are there, and what is not ``readings`` is of no use.
    """

    protocol: str
    identity: str
    is_secret: bool
    date: str
    is_usual: bool
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
    identity = found.get(key, "")
    date = "dateutc" if "dateutc" in names else found.get("dateutc", "")
    elsewhere = [name for name in names if name.lower() in _ELSEWHERE]
    # What is told apart first: whose it is, and when.
    apart = sorted(elsewhere, key=lambda name: (name != identity, name != date))
    readings = Columns(set(names).difference(elsewhere), apart=apart)
    # AcuRite's field mt says which sensor it is.
    is_usual = bool(identity) and bool(date) and "mt" not in names
    return _Layout(kind, identity, secret, date, is_usual, readings)


_layout = functools.lru_cache(MAX_LAYOUTS)(_lay_out)


def _decode_usual(request: Request) -> Observation | None:
    """What a console that is well sends, in half the time; None for anything else."""
    layout = _last.get((request.ip, request.path))
    text = None if layout is None else request.plain_form
    if layout is None or text is None:
        return None
    found = layout.readings.read_json(text)
    if found is None:
        return None
    request.found = layout.protocol
    return _observe(found, layout, request.now)


def _observe(found: Read, layout: _Layout, now: float) -> Observation | None:
    """The observation of a console that knows who it is and what time it is, else None."""
    uploader, sent = found.apart[0].strip(), found.apart[1]
    observed = moments.iso(sent)
    if not uploader:
        return None
    if not (sent == "now" if observed is None else _EARLIEST <= observed <= now + _AHEAD):
        return None
    return Observation(
        type="WEATHER",
        uploader=uploader,
        secret=layout.is_secret,
        time=observed,
        rule="gateway" if observed is None else "station",
        columns=found.columns,
        missing=found.missing,
    )


#: The layouts of the last uploads by address and path: a guess, as names are compared when read.
_last: dict[tuple[str | None, str], _Layout] = {}
MAX_LAST = 16384


def _remember(request: Request, layout: _Layout) -> None:
    """Try this layout first at the next upload from the same place."""
    if len(_last) >= MAX_LAST:
        _last.clear()
    if len(request.path) <= MAX_PATH:
        _last[request.ip, request.path] = layout


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
