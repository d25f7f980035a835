"""Common to the networks of LoRaWAN servers: many devices behind one sender. No I/O."""

from __future__ import annotations

from typing import Any, Literal

from habitat_like.http.response import Response
from habitat_like.networks import lenient
from habitat_like.networks.base import Network, NetworkSettings, Outcome
from habitat_like.networks.keys import authorization
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Request
from habitat_like.networks.values import Readings, number, place, text

#: Gateways to keep per uplink.
MAX_GATEWAYS = 100
_LATITUDES = ("latitude", "lat", "Latitude", "gps_lat", "GPS_lat")
_LONGITUDES = ("longitude", "lon", "lng", "long", "Longitude", "gps_lon", "gps_lng", "GPS_lon")
_ALTITUDES = ("altitude", "alt", "Altitude", "gps_alt", "height")
_PROTOBUF = ("application/octet-stream", "application/x-protobuf", "application/protobuf")


class LoraSettings(NetworkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``callsign``: whether each device is a station, or the application that devices belong to."""

    callsign: Literal["device", "application"] = "device"


class LoraNetwork(Network):
    """A LoRaWAN server's webhook. Subclasses write ``event``."""

    types = ("UPLINK", "EVENT")
    Settings = LoraSettings

    def credential(self, request: Request) -> str | None:
        """The key in the Authorization header, as set by the webhook's owner."""
        return authorization(request)

    def decode(self, request: Request) -> Decoded:
        """One uplink, or another event of a device. Raises BadRequest if it is not JSON."""
        if request.content_type in _PROTOBUF and not request.body.lstrip().startswith(b"{"):
            raise BadRequest(415, "body: protobuf; set the format of the webhook to JSON")
        try:
            tree = lenient.parse(request.body)
        except lenient.NotJson as error:
            raise BadRequest(400, str(error)) from None
        if not isinstance(tree, dict):
            raise BadRequest(400, "body: must be a JSON object")
        observation = self.event(tree, request)
        return Decoded([] if observation is None else [observation])

    def event(self, tree: dict[str, Any], request: Request) -> Observation | None:
        """The observation in ``tree``, None if there is nothing to keep. Raises BadRequest."""
        raise TypeError(f"{type(self).__name__} has no event")

    def station(self, device: str, application: str) -> str:
        """The uploader, by the setting ``callsign``."""
        return application or device if self.settings.callsign == "application" else device

    def success(self, request: Request, outcome: Outcome) -> Response:
        """Any 2xx will do."""
        return Response(200, b"OK")


def child(tree: object, *keys: str) -> dict[str, Any]:
    """The object that these keys lead to, an empty one if there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}


def objects(tree: object) -> list[dict[str, Any]]:
    """The objects in a list, at most MAX_GATEWAYS."""
    found = tree if isinstance(tree, list) else []
    return [one for one in found[:MAX_GATEWAYS] if isinstance(one, dict)]


def gateway(
    identity: object, one: dict[str, Any], location: dict[str, Any], **more: object
) -> dict[str, Any]:
    """A gateway that heard an uplink: ``id``, ``rssi`` in dBm, ``snr`` in dB, its place."""
    found: dict[str, Any] = {"id": text(identity) or None}
    for key, value in (("rssi", one.get("rssi")), ("snr", one.get("snr")), *more.items()):
        found[key] = text(value) if isinstance(value, str) else number(value)
    longitude = location.get("longitude", location.get("long"))
    latitude = location.get("latitude", location.get("lat"))
    where = place(latitude, longitude, location.get("altitude"))
    return {key: value for key, value in {**found, "position": where}.items() if value is not None}


def locate(readings: Readings, decoded: object) -> Any:
    """The place in a codec's output, by the usual names, also one level down."""
    if not isinstance(decoded, dict):
        return None
    for tree in (decoded, *(one for one in decoded.values() if isinstance(one, dict))):
        latitude = next((key for key in _LATITUDES if key in tree), None)
        longitude = next((key for key in _LONGITUDES if key in tree), None)
        if latitude is not None and longitude is not None:
            altitude = next((tree[key] for key in _ALTITUDES if key in tree), None)
            return readings.position(tree[latitude], tree[longitude], altitude)
    return None
