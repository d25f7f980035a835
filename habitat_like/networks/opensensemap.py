"""openSenseMap: senseBoxes and anything else that sends to a box. No I/O.

Upstream refuses a whole batch for one bad value; here the good ones are taken. The measurements of
one box at one time are one observation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from habitat_like.http.response import Response
from habitat_like.message.facts import Position
from habitat_like.networks import airrohr, lenient, moments
from habitat_like.networks.base import Network, Outcome, Recipe, Route, json_response
from habitat_like.networks.forms import text_of
from habitat_like.networks.keys import authorization
from habitat_like.networks.observation import (
    BadRequest,
    Decoded,
    Observation,
    Problem,
    Request,
)
from habitat_like.networks.values import Readings, text

#: Measurements in one request.
MAX_MEASUREMENTS = 2500


class OpenSenseMap(Network):
    """The measurements posted to a box."""

    name = "opensensemap"
    types = ("SENSOR",)
    routes = (Route("POST", "/boxes/{box}/data"), Route("POST", "/boxes/{box}/{sensor}"))
    plain_http = True

    def credential(self, request: Request) -> str | None:
        """The box's access token."""
        return authorization(request)

    def decode(self, request: Request) -> Decoded:
        """An observation for each time. Raises BadRequest if no measurement can be read."""
        box = request.variables["box"]
        try:
            found = _measurements(request)
        except lenient.NotJson as error:
            raise BadRequest(422, str(error)) from None
        if isinstance(found, dict):
            observation = airrohr.observe(found, box)
            return Decoded([observation])
        groups: dict[str, list[_Group]] = {}
        problems: list[Problem] = []
        count = -1
        for count, one in enumerate(found):
            if count >= MAX_MEASUREMENTS:
                raise BadRequest(422, f"body: more than {MAX_MEASUREMENTS} measurements")
            if isinstance(one, str):
                problems.append(Problem(count, one))
            else:
                _group(groups, one).take(one)
        if count < 0:
            raise BadRequest(422, "body: no measurements")
        groups_in_order = [group for same in groups.values() for group in same]
        return Decoded([group.observation(box) for group in groups_in_order], problems)

    def success(self, request: Request, outcome: Outcome) -> Response:
        """As upstream."""
        many = "sensor" not in request.variables
        return Response(201, b"Measurements saved in box" if many else b"Measurement saved in box")

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """As upstream: 422 in JSON."""
        if status == 400:
            status = 422
        return json_response(status, {"code": "UnprocessableEntity", "message": text})

    def wrong_key(self, request: Request) -> Response:
        """As upstream: 401 in JSON."""
        message = "Box access token not valid!"
        return json_response(401, {"code": "Unauthorized", "message": message})

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For sketches."""
        return (
            Recipe(
                "senseBox: constants of the sketch",
                (("server", host), ("path", "/boxes/SENSEBOX_ID/data"), ("port", "80 or 443")),
            ),
        )


class _Measurement(NamedTuple):
    """``created`` is the time as sent, ``place`` the place as sent; None for none."""

    sensor: str
    value: object
    created: object = None
    place: object = None


class _Group:
    """The measurements of one time at one place."""

    def __init__(self, created: object) -> None:
        self.created = created
        self.time = moments.moment(created)
        self.position: Position | None = None
        self.readings = Readings()
        self.sensors: set[str] = set()
        if created is not None and self.time is None:
            self.readings.mark("createdAt")
            self.readings.add("createdAt", created)

    def fits(self, one: _Measurement) -> bool:
        """Whether ``one`` fits in: each sensor once, all at one place."""
        if one.sensor in self.sensors:
            return False
        if one.place is None or self.position is None:
            return True
        return _place(Readings(), one) == self.position

    def take(self, one: _Measurement) -> None:
        self.sensors.add(one.sensor)
        self.readings.add(one.sensor, one.value)
        if one.place is not None and self.position is None:
            self.position = _place(self.readings, one)

    def observation(self, box: str) -> Observation:
        return Observation(
            type="SENSOR",
            uploader=box,
            time=self.time,
            rule="gateway" if self.time is None else "station",
            values=self.readings.values,
            sensor=next(iter(self.sensors)) if len(self.sensors) == 1 else None,
            position=self.position,
            missing=self.readings.missing,
            marks=self.readings.marks,
        )


def _group(groups: dict[str, list[_Group]], one: _Measurement) -> _Group:
    """The group that ``one`` belongs to; the last of its time, or a new one."""
    moment = moments.moment(one.created)
    same = groups.setdefault(str(one.created if moment is None else moment), [])
    if not same or not same[-1].fits(one):
        same.append(_Group(one.created))
    return same[-1]


def _place(readings: Readings, one: _Measurement) -> Position | None:
    """The place of a measurement: longitude first, as in GeoJSON, or by names."""
    place = one.place
    if isinstance(place, dict):
        longitude = place.get("lng", place.get("lon", place.get("longitude")))
        latitude = place.get("lat", place.get("latitude"))
        return readings.position(latitude, longitude, place.get("height"))
    cells = place if isinstance(place, list) else []
    longitude, latitude, height = [*cells, None, None, None][:3]
    return readings.position(latitude, longitude, height)


def _measurements(request: Request) -> Iterator[_Measurement | str] | dict[str, Any]:
    """The measurements in a body, or airRohr's object; a text says why one can't be read.

    Raises NotJson.
    """
    kind, body = request.content_type, request.body
    if kind.startswith("application/sbx-bytes"):
        return _binary(body, "<12sfI" if kind.endswith("-ts") else "<12sf")
    start = body.lstrip()[:1]
    if start not in (b"{", b"[") and "sensor" not in request.variables:
        return _lines(text_of(body))
    tree = lenient.parse(body)
    if isinstance(tree, dict) and "sensordatavalues" in tree:
        return tree
    if "sensor" in request.variables:
        return _single(request.variables["sensor"], tree)
    if isinstance(tree, dict) and isinstance(tree.get("reading"), dict):  # hackAIR
        return _object(tree["reading"])
    return _object(tree) if isinstance(tree, dict) else _array(tree)


def _single(sensor: str, tree: object) -> Iterator[_Measurement | str]:
    if isinstance(tree, dict) and "value" in tree:
        yield _Measurement(sensor, tree["value"], tree.get("createdAt"), tree.get("location"))
    elif isinstance(tree, dict | list):
        yield "value: required field is missing"
    else:
        yield _Measurement(sensor, tree)


def _array(tree: list[Any]) -> Iterator[_Measurement | str]:
    for number, item in enumerate(tree if isinstance(tree, list) else [None]):
        sensor = text(item.get("sensor", item.get("sensor_id"))) if isinstance(item, dict) else ""
        if sensor and "value" in item:
            yield _Measurement(sensor, item["value"], item.get("createdAt"), item.get("location"))
        else:
            yield f"measurement {number}: must be an object with sensor and value"


def _object(tree: dict[str, Any]) -> Iterator[_Measurement | str]:
    for sensor, value in tree.items():
        if isinstance(value, list):
            yield _Measurement(sensor, *[*value, None, None, None][:3])
        else:
            yield _Measurement(sensor, value)


def _lines(csv: str) -> Iterator[_Measurement | str]:
    for number, line in enumerate(csv.splitlines(), 1):
        if not line.strip(" \t\0,"):
            continue
        cells: list[str | None] = [cell.strip() or None for cell in line.split(",", 6)]
        sensor, value, created, *place = [*cells, None, None][: max(len(cells), 3)]
        if sensor and len(cells) >= 2:
            yield _Measurement(sensor, value, created, place if any(place) else None)
        else:
            yield f"line {number}: must be sensor,value[,time[,lng,lat[,height]]]"


def _binary(body: bytes, layout: str) -> Iterator[_Measurement | str]:
    size = struct.calcsize(layout)
    whole = len(body) // size * size
    for fields in struct.iter_unpack(layout, body[:whole]):
        yield _Measurement(fields[0].hex(), _short(fields[1]), *fields[2:])
    if whole != len(body):
        yield f"body: {len(body) - whole} bytes behind the last measurement"


def _short(value: float) -> float:
    """A 32-bit float with only its significant digits."""
    return float(f"{value:.7g}")
