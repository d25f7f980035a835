"""airRohr: the fine dust sensors of Sensor.Community. No I/O.

A reading is lost unless the answer is a success. The sensors have no clock.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from habitat_like.http.response import OK, Response
from habitat_like.networks import lenient
from habitat_like.networks.base import FAST, Network, Outcome, Recipe, Route
from habitat_like.networks.columns import Columns
from habitat_like.networks.observation import SHORT, BadRequest, Decoded, Observation, Request
from habitat_like.networks.values import Readings, text, unread

_PLACES = ("GPS_", "")
_GPS = {
    f"{prefix}{name}" for prefix in _PLACES for name in ("lat", "lon", "height", "alt", "timestamp")
}
_VERSION = "software_version"
#: Names of values that are no readings.
_SPECIAL = _GPS | {"", _VERSION}
#: The X-PIN of a GPS receiver.
_PIN_OF_GPS = "9"
_CREATED = Response(201, b"OK")


class AirRohr(Network):
    """airRohr's "own API", and its uploads to Sensor.Community itself."""

    name = "airrohr"
    types = ("SENSOR",)
    routes = (
        Route("POST", "/airrohr", lane=FAST),
        Route("POST", "/v1/push-sensor-data/", lane=FAST),
    )
    plain_http = True

    def decode(self, request: Request) -> Decoded:
        """One observation of all sensors. Raises BadRequest if nothing identifies the sender."""
        uploader = request.headers.get("x-sensor").strip()
        pin = request.headers.get("x-pin").strip() or None
        if uploader and len(request.body) <= SHORT:
            usual = _observe_usual(request.body, uploader, pin)
            if usual is not None:
                return Decoded([usual])
        tree: Any
        try:
            tree = lenient.parse(request.body)
            problem = None if isinstance(tree, dict) else "body: must be a JSON object"
        except lenient.NotJson as error:
            tree, problem = None, str(error)
        if problem is not None:
            if not uploader:
                raise BadRequest(400, problem)
            kept = Observation(
                type="SENSOR",
                uploader=uploader,
                rule="gateway",
                raw=unread(request.body),
                marks=[problem],
            )
            return Decoded([kept])
        uploader = uploader or chip(tree)
        if not uploader:
            raise BadRequest(400, "neither X-Sensor nor esp8266id was sent: whose is it?")
        return Decoded([observe(tree, uploader, pin)])

    def success(self, request: Request, outcome: Outcome) -> Response:
        """201 on the path of Sensor.Community, which answers so."""
        return _CREATED if request.path.startswith("/v1/") else OK

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For the sensor's own page."""
        return (
            Recipe(
                'airRohr: configuration, "APIs", "Send data to own API"',
                (("Server", host), ("Path", "/airrohr"), ("Port", "80 (443 with HTTPS)")),
            ),
        )


class _Pair(msgspec.Struct, gc=False):
    value_type: str
    value: str


class _Body(msgspec.Struct, gc=False):
    """What the firmware sends, as long as it is well."""

    sensordatavalues: list[_Pair]
    software_version: str


_read = msgspec.json.Decoder(_Body).decode


def _observe_usual(body: bytes, uploader: str, pin: str | None) -> Observation | None:
    """``observe`` in a third of the time; None for what takes a closer look."""
    try:
        tree = _read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    fields = {pair.value_type: pair.value for pair in tree.sensordatavalues}
    columns = _columns(tuple(fields))
    version = fields[_VERSION] = tree.software_version.strip()
    found = columns.read(fields) if columns is not None and version else None
    if found is None or found.missing:
        return None
    return Observation(
        type="SENSOR", uploader=uploader, rule="gateway", columns=found.columns, sensor=pin
    )


@functools.lru_cache(maxsize=256)
def _columns(names: tuple[str, ...]) -> Columns | None:
    """How to read values with these names, None if some are not just readings."""
    return Columns((*names, _VERSION), texts=(_VERSION,)) if _SPECIAL.isdisjoint(names) else None


def chip(tree: dict[str, Any]) -> str:
    """The sensor's name as in X-Sensor, taken from the body; "" if it is not there."""
    for kind in ("esp8266", "esp32"):
        number = text(tree.get(f"{kind}id"))
        if number:
            return f"{kind}-{number}"
    return ""


def observe(tree: dict[str, Any], uploader: str, pin: str | None = None) -> Observation:
    """The observation in airRohr's JSON; ``pin`` is that of the one sensor it comes from."""
    readings = Readings()
    readings.add_text("software_version", tree.get("software_version"))
    pairs = tree.get("sensordatavalues")
    place: dict[str, object] = {}
    for pair in pairs if isinstance(pairs, list) else ():
        name = pair.get("value_type") if isinstance(pair, dict) else None
        if type(name) is not str:
            name = text(name)
        if not name:
            readings.mark("sensordatavalues")
        elif name in _GPS and (name.startswith("GPS_") or pin == _PIN_OF_GPS):
            place[name.removeprefix("GPS_")] = pair.get("value")
        else:
            readings.add(name, pair.get("value"))
    if not isinstance(pairs, list):
        readings.mark("sensordatavalues")
    position = None
    if "lat" in place or "lon" in place:
        height = place.get("height", place.get("alt"))
        position = readings.position(place.get("lat"), place.get("lon"), height)
    if "timestamp" in place and position is not None:
        readings.add("GPS_timestamp", place["timestamp"])
    return Observation(
        type="SENSOR",
        uploader=uploader,
        rule="gateway",
        values=readings.values,
        sensor=pin,
        position=position,
        missing=readings.missing,
        marks=readings.marks,
    )
