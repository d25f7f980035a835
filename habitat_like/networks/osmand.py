"""OsmAnd's protocol, as Traccar Client, OsmAnd, GPSLogger and many trackers speak it. No I/O.

Traccar Client resends a record that was not answered with 200 every 30 seconds, forever, and the
newer ones wait behind it. So everything is answered with success.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from habitat_like.http.response import TEXT, Response
from habitat_like.networks import lenient, moments
from habitat_like.networks.base import FAST, STUBBORN, Network, Outcome, Recipe, Route
from habitat_like.networks.observation import Decoded, Observation, Problem, Request
from habitat_like.networks.values import (
    MAX_ITEMS,
    MAX_NAME,
    MAX_VALUES,
    Readings,
    is_secret,
    number,
    place,
    plain_numbers,
    scalar,
    text,
    unread,
)

_ELSEWHERE = {"id", "deviceid", "lat", "lon", "location", "altitude", "timestamp"}
#: What a usual record has.
_NEEDED = {"lat", "lon", "timestamp"}
#: A placeholder that the sender has not filled in. ``%BA`` would be a letter.
_UNFILLED = re.compile(r"(?:^|&)([^=&%]+)=%(?:[A-Za-z_]{2,20})?(?=&|$)")
#: -1 means that the phone does not know.
_UNKNOWN_AT_MINUS_ONE = {"speed", "heading", "accuracy", "altitude_accuracy", "speed_accuracy"}


class OsmAnd(Network):
    """Positions by query or form, and the JSON of Traccar Client from version 9 on."""

    name = "osmand"
    secret_query = True
    types = ("POSITION",)
    family = STUBBORN
    routes = (
        Route("GET,POST", "/osmand", lane=FAST),
        # Traccar Client's default path.
        Route("POST", "/", lane=FAST),
    )
    plain_http = True

    def credential(self, request: Request) -> str | None:
        """Basic authentication, if the sender supports it; else the id is the secret."""
        return super().credential(request)

    def decode(self, request: Request) -> Decoded:
        """One position, or those of a JSON body."""
        if request.body.lstrip()[:1] in (b"{", b"["):
            return _decode_json(request)
        fields = request.fields
        if not fields:
            return Decoded([])
        if "=%" in request.query:
            unfilled = dict.fromkeys(_UNFILLED.findall(request.query), "")
            fields = {**fields, **unfilled} if unfilled else fields
        if "id" not in fields or "lat" not in fields:
            fields = {_usual_name(key): value for key, value in fields.items()}
        uploader = (fields.get("id") or fields.get("deviceid") or "").strip()
        usual = _usual(uploader, fields) if request.is_short else None
        if usual is not None:
            return Decoded([usual])
        latitude: object = fields.get("lat")
        longitude: object = fields.get("lon")
        if "location" in fields and latitude is None:
            latitude, _, longitude = fields["location"].partition(",")
        readings = Readings()
        readings.add_all(fields, _ELSEWHERE)
        position = readings.position(latitude, longitude, fields.get("altitude"), is_needed=True)
        unknown = position is None or position.altitude is None
        if unknown and "altitude" in fields and number(fields["altitude"]) is None:
            readings.add("altitude", None)
        return Decoded([_observation(uploader, readings, position, fields.get("timestamp"))])

    def success(self, request: Request, outcome: Outcome) -> Response:
        """Nothing but 200."""
        return _SUCCESS

    def wrong_key(self, request: Request) -> Response:
        """Only if the operator refuses unknown ids: their senders get stuck at the first record."""
        return Response(403, b"", TEXT)

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For apps."""
        return (
            Recipe("Traccar Client: settings", (("Server URL", f"https://{host}/osmand"),)),
            Recipe(
                'OsmAnd: plugin "Trip recording", "Online tracking web address"',
                (
                    (
                        "Web address",
                        f"https://{host}/osmand?id=YOUR_ID&lat={{0}}&lon={{1}}&timestamp={{2}}"
                        "&hdop={3}&altitude={4}&speed={5}",
                    ),
                ),
            ),
            Recipe(
                'GPSLogger: "Log to custom URL"',
                (
                    (
                        "URL",
                        f"https://{host}/osmand?id=YOUR_ID&lat=%LAT&lon=%LON&timestamp=%TIMESTAMP"
                        "&altitude=%ALT&accuracy=%ACC&batt=%BATT",
                    ),
                ),
            ),
        )


_SUCCESS = Response(200, b"", TEXT)


def _usual_name(key: str) -> str:
    """The protocol's own names in lower case."""
    return key.lower() if key.lower() in _ELSEWHERE else key


@functools.lru_cache(maxsize=1024)
def _readings(names: tuple[str, ...]) -> tuple[str, ...]:
    """The readings among these names, () if place and time are not, or they need a closer look."""
    if not _NEEDED.issubset(names) or len(names) > MAX_VALUES:
        return ()
    found = tuple(sorted(name for name in names if name not in ("id", "deviceid", "location")))
    return () if any(len(name) > MAX_NAME or is_secret(name) for name in found) else found


def _usual(uploader: str, fields: dict[str, str]) -> Observation | None:
    """What a tracker that is well sends, read in half the time; None for anything else."""
    names = _readings(tuple(fields))
    if not names:
        return None
    texts = tuple([fields[name] for name in names])
    found: list[Any] = plain_numbers(texts) or list(map(scalar, texts))
    values: dict[str, Any] = dict(zip(names, found, strict=True))
    if None in values.values():
        return None
    altitude = values.pop("altitude", None)
    position = place(values.pop("lat"), values.pop("lon"), altitude)
    observed = moments.unix(values.pop("timestamp"))
    if position is None or observed is None or isinstance(altitude, str):
        return None
    return Observation(
        type="POSITION",
        uploader=uploader,
        time=observed,
        rule="trusted",
        values=values,
        position=position,
    )


def _observation(
    uploader: str, readings: Readings, position: Any, timestamp: object
) -> Observation:
    observed = moments.moment(timestamp)
    if observed is None and timestamp not in (None, ""):
        readings.mark("timestamp")
        readings.add("timestamp", timestamp)
    return Observation(
        type="POSITION",
        uploader=uploader,
        time=observed,
        rule="gateway" if observed is None else "trusted",
        values=readings.values,
        position=position,
        missing=readings.missing,
        marks=readings.marks,
    )


def _decode_json(request: Request) -> Decoded:
    """Traccar Client's JSON: one place, or a list; in the phone's units (m/s)."""
    try:
        tree = lenient.parse(request.body)
    except lenient.NotJson as error:
        return Decoded([_unread(request, str(error))])
    uploader = request.fields.get("id", "").strip()
    if isinstance(tree, dict):
        uploader = text(tree.get("device_id", tree.get("id"))) or uploader
    locations = tree.get("location", tree) if isinstance(tree, dict) else tree
    items = locations if isinstance(locations, list) else [locations]
    found: list[Observation] = []
    problems: list[Problem] = []
    for index, one in enumerate(items[: MAX_ITEMS + 1]):
        if not isinstance(one, dict) or index == MAX_ITEMS:
            problems.append(Problem(index, "location: must be an object, and not too many"))
            continue
        coords = one.get("coords")
        coords = coords if isinstance(coords, dict) else {}
        readings = Readings()
        readings.add_all(one, {"coords", "timestamp", "uuid", "device_id"})
        for key, value in coords.items():
            if key not in ("latitude", "longitude", "altitude"):
                unknown = key in _UNKNOWN_AT_MINUS_ONE and number(value) == -1
                readings.add(f"coords.{key}", None if unknown else value)
        position = readings.position(
            coords.get("latitude"), coords.get("longitude"), coords.get("altitude"), is_needed=True
        )
        device = uploader or text(one.get("device_id"))
        found.append(_observation(device, readings, position, one.get("timestamp")))
    return Decoded(found, problems)


def _unread(request: Request, problem: str) -> Observation:
    return Observation(
        type="POSITION",
        uploader=request.fields.get("id", "").strip(),
        rule="gateway",
        raw=unread(request.body),
        marks=[problem],
    )
