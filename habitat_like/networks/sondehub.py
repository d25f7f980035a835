"""SondeHub: amateur balloons, radiosondes, and the listeners who hear them. No I/O.

Its Python clients give up a batch on any answer but 200 and 500, so overload is 500, and whatever
can be taken of a batch is taken.
"""

from __future__ import annotations

from typing import Any

import msgspec

from habitat_like.http.response import Response
from habitat_like.message.facts import Position
from habitat_like.networks import lenient, moments
from habitat_like.networks.base import Network, Outcome, Recipe, Route, json_response
from habitat_like.networks.observation import (
    BadRequest,
    Decoded,
    Observation,
    Problem,
    Request,
)
from habitat_like.networks.values import MAX_ITEMS, Readings, number, place, text, unhex

#: Errors to report, and bytes of an item to send back with its error.
MAX_ERRORS = 100
MAX_ITEM = 2000

#: Seconds that a payload's clock may be ahead (GPS time is 18 s), and off if not "historical".
_AHEAD = 60.0
_OFF = {"AMATEUR_TELEM": 86400.0, "SONDE_TELEM": 172800.0}
#: 2020; a station's clock that shows an earlier time has not been set.
_CLOCK_IS_SET = 1577836800.0
#: Fields that may be an identity, a version or digits, and are text whatever they look like.
_TEXTS = {
    *("software_name", "software_version", "manufacturer", "type", "subtype", "modulation"),
    *("xdata", "uploader_antenna", "uploader_radio"),
    *("rs41_mainboard", "rs41_mainboard_fw", "rs41_subframe"),
}
_ELSEWHERE = {
    *("lat", "lon", "alt", "raw", "uploader_callsign", "uploader_position", "payload_callsign"),
    *("serial", "uploader_contact_email"),
}


class SondeHub(Network):
    """The uploads to SondeHub's API, versions 1 and 2."""

    name = "sondehub"
    types = ("AMATEUR_TELEM", "SONDE_TELEM", "LISTENER_INFO", "LISTENER_TELEM")
    routes = (
        Route("PUT,POST", "/amateur/telemetry"),
        Route("PUT,POST", "/sondes/telemetry"),
        Route("PUT,POST", "/listeners"),
        Route("PUT,POST", "/amateur/listeners"),
    )
    overload_status = 500
    plain_http = True

    def decode(self, request: Request) -> Decoded:
        """A batch of telemetry, or one listener. Raises BadRequest for anything else."""
        try:
            tree = lenient.parse(request.body)
        except lenient.NotJson as error:
            raise BadRequest(400, str(error)) from None
        items = [tree] if isinstance(tree, dict) else tree
        if not isinstance(items, list):
            raise BadRequest(400, "body: expecting a list of payloads")
        observations: list[Observation] = []
        problems: list[Problem] = []
        sonde = request.path.startswith("/sondes/")
        is_listener = _is_listener(request)
        if len(items) > MAX_ITEMS:
            reason = f"body: more than {MAX_ITEMS} payloads; the others were not taken"
            problems.append(Problem(MAX_ITEMS, reason))
        for index, item in enumerate(items[:MAX_ITEMS]):
            try:
                if not isinstance(item, dict):
                    raise _Refused("must be an object")
                if is_listener:
                    observations.extend(_listener(item, request.now))
                else:
                    kind = "SONDE_TELEM" if sonde else "AMATEUR_TELEM"
                    observations.append(_telemetry(kind, item, request))
            except _Refused as error:
                problems.append(Problem(index, str(error), item))
        return Decoded(observations, problems)

    def success(self, request: Request, outcome: Outcome) -> Response:
        """As upstream."""
        return Response(200, b"^v^ telm logged")

    def partial(self, request: Request, outcome: Outcome) -> Response:
        """The errors one by one, as upstream; clients treat it as success."""
        errors = [
            {"error_message": problem.text, "payload": _small(problem.item)}
            for problem in outcome.problems[:MAX_ERRORS]
        ]
        message = "some or all payloads could not be processed"
        return json_response(202, {"message": message, "errors": errors, "warnings": []})

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """A batch with nothing good in it is answered like one that is partly good."""
        is_batch = any(problem.item is not None for problem in outcome.problems)
        if is_batch and not _is_listener(request):
            return self.partial(request, outcome)
        return super().refused(request, status, text, outcome)

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For devices, and for clients whose constants must be changed."""
        return (
            Recipe("rdzTTGOsonde", (("sondehub.host", host), ("sondehub.active", "1"))),
            Recipe(
                "Python (pysondehub, horusdemodlib)",
                (
                    ("Uploader.SONDEHUB_AMATEUR_URL", f"https://{host}/amateur/telemetry"),
                    (
                        "Uploader.SONDEHUB_AMATEUR_STATION_POSITION_URL",
                        f"https://{host}/amateur/listeners",
                    ),
                ),
            ),
            Recipe(
                "radiosonde_auto_rx (autorx/sondehub.py)",
                (
                    ("SONDEHUB_URL", f"https://{host}/sondes/telemetry"),
                    ("SONDEHUB_STATION_POSITION_URL", f"https://{host}/listeners"),
                ),
            ),
        )


def _is_listener(request: Request) -> bool:
    return request.path.rstrip("/").endswith("/listeners")


class _Refused(ValueError):
    """An item that is not taken, and why."""


def _telemetry(kind: str, item: dict[str, Any], request: Request) -> Observation:
    sonde = kind == "SONDE_TELEM"
    _check_fields(item, sonde)
    readings = Readings()
    for key, value in item.items():
        if key in _TEXTS:
            readings.add_text(key, value)
        elif key not in _ELSEWHERE:
            readings.add(key, value)
    sent = moments.http_date(request.headers.get("date"))
    observed, received = moments.moment(item["datetime"]), moments.moment(item.get("time_received"))
    if observed is None:
        readings.mark("datetime")
    else:
        _compare(readings, kind, observed, received, request.now)
    position = readings.position(item["lat"], item["lon"], item["alt"], is_needed=True)
    if sonde:
        _check_sonde(readings, item["alt"])
    if readings.values.get("dev"):
        readings.mark("dev")
    station = _station(item)
    if station is None and "uploader_position" in item:
        readings.add("uploader_position", None)
    payload = text(item["serial"] if sonde else item.get("payload_callsign"))
    if not payload:
        readings.mark("payload")
    return Observation(
        type=kind,
        uploader=text(item["uploader_callsign"]),
        rule="corrected",
        time=observed if received is None else received,
        sent=sent,
        values=readings.values,
        payload=payload or None,
        position=position,
        raw=_raw(item.get("raw")),
        missing=readings.missing,
        marks=readings.marks,
        extra={} if station is None else {"uploader_position": station},
    )


def _check_fields(item: dict[str, Any], sonde: bool) -> None:
    """Raise _Refused for anything upstream refuses."""
    for key in ("uploader_callsign", "datetime", "lat", "lon", "alt", *(["serial"] * sonde)):
        if key not in item:
            raise _Refused(f"{key}: required field is missing")
    for key in ("lat", "lon", "alt"):
        if isinstance(item[key], str | bool | list | dict):
            raise _Refused(f"{key}: must be a number")
    if not text(item["uploader_callsign"]):
        raise _Refused("uploader_callsign: must be a text")


def _station(item: dict[str, Any]) -> Position | None:
    """Where the listener is; None if it does not say."""
    own = item.get("uploader_position")
    return place(*[*own, None, None, None][:3]) if isinstance(own, list) else None


def _compare(
    readings: Readings, kind: str, observed: float, received: float | None, now: float
) -> None:
    """Mark a payload's clock that is off from the station's, or from ours if that is not set."""
    if received is None or received < _CLOCK_IS_SET:
        received = now
    ahead = observed - received
    off = -ahead > _OFF[kind] and not readings.values.get("historical")
    if ahead > _AHEAD or off:
        readings.mark("datetime")


def _check_sonde(readings: Readings, altitude: object) -> None:
    """SondeHub's own rules for radiosondes; here they only add marks."""
    metres = number(altitude)
    if metres is None or metres == 0 or metres > 50000:
        readings.mark("altitude")
    for key, lowest, highest in (
        ("humidity", 0, None),
        ("pressure", 0, None),
        ("sats", 4, None),
        ("heading", None, 360),
    ):
        value = readings.values.get(key)
        if isinstance(value, int | float) and (
            (lowest is not None and value < lowest) or (highest is not None and value > highest)
        ):
            readings.mark(key)


def _raw(sent: object) -> bytes | None:
    """What was received: a packet in hexadecimal, or a sentence."""
    if not isinstance(sent, str) or not sent:
        return None
    packet = unhex(sent) if len(sent) >= 8 else None
    return sent.encode("utf-8", "replace") if packet is None else packet


def _listener(item: dict[str, Any], now: float) -> list[Observation]:
    uploader = text(item.get("uploader_callsign"))
    if not uploader:
        raise _Refused("uploader_callsign: required field is missing")
    info = {
        name: item[key]
        for name, key in (("radio", "uploader_radio"), ("antenna", "uploader_antenna"))
        if isinstance(item.get(key), str) and item[key]
    }
    found = [Observation(type="LISTENER_INFO", uploader=uploader, rule="gateway", data=info)]
    station = _station(item)
    if station is not None:
        data = listener_telemetry(station.latitude, station.longitude, station.altitude, now)
        found.append(
            Observation(type="LISTENER_TELEM", uploader=uploader, rule="gateway", data=data)
        )
    return found


def listener_telemetry(
    latitude: float, longitude: float, altitude: float | None, when: float
) -> dict[str, Any]:
    """The data of a LISTENER_TELEM; ``when`` is in UNIX seconds.

    An altitude that was not sent is 0, and named in ``missing``.
    """
    minutes, second = divmod(int(when) % 86400, 60)
    hour, minute = divmod(minutes, 60)
    data = {
        "latitude": latitude,
        "longitude": longitude,
        "altitude": 0.0 if altitude is None else altitude,
        "time": {"hour": hour, "minute": minute, "second": second},
    }
    return data if altitude is not None else {**data, "missing": ["altitude"]}


def _small(item: object) -> object:
    """``item`` to send back; nothing for a large one."""
    return item if len(msgspec.json.encode(item)) <= MAX_ITEM else None
