"""The Things Stack, version 3: webhooks of The Things Network and commercial ones. No I/O."""

from __future__ import annotations

from typing import Any

from habitat_like.networks import moments
from habitat_like.networks.base import Recipe, Route
from habitat_like.networks.observation import BadRequest, Observation, Request
from habitat_like.networks.uplinks import LoraNetwork, child, gateway, locate, objects
from habitat_like.networks.values import Readings, place, text, unbase64

#: The kinds of events, as keys of the body; any other key with an object is one too.
_ENVELOPE = {"end_device_ids", "correlation_ids", "received_at", "simulated"}


class TheThingsStack(LoraNetwork):
    """The webhooks of The Things Stack v3; any path below ``/ttn`` for any event."""

    name = "ttn"
    routes = (Route("POST", "/ttn/*"),)

    def event(self, tree: dict[str, Any], request: Request) -> Observation | None:
        """An uplink, or an EVENT."""
        ids = child(tree, "end_device_ids")
        # The owner may have masked the ids, and put one into the path: /ttn/up/{devID}.
        parts = request.path.strip("/").split("/")
        in_path = parts[-1] if len(parts) > 2 else ""
        name = text(ids.get("device_id")) or in_path
        device = text(ids.get("dev_eui")) or name
        kind = next((k for k in tree if k not in _ENVELOPE and isinstance(tree[k], dict)), None)
        if not device:
            if kind is not None and kind != "uplink_message":
                return None
            raise BadRequest(400, "end_device_ids: no device; unmask it, or use /ttn/up/{devID}")
        uploader = self.station(device, text(child(ids, "application_ids").get("application_id")))
        received = tree.get("received_at")
        if kind == "uplink_message":
            observation = _uplink(tree["uplink_message"])
            received = received or tree["uplink_message"].get("received_at")
            counter = observation.values.get("f_cnt", 0)
        else:
            readings = Readings()
            readings.add("event", kind or "unknown")
            readings.add_all(child(tree, kind or ""))
            solved = child(tree, kind or "", "location")
            where = place(solved.get("latitude"), solved.get("longitude"), solved.get("altitude"))
            observation = _observation("EVENT", readings, position=where)
            counter = kind or ""
        observation.uploader = uploader
        observation.payload = name or device
        observation.time = moments.moment(received)
        observation.rule = "gateway" if observation.time is None else "trusted"
        if tree.get("simulated") is True:
            observation.marks.append("simulated")
        if observation.time is not None:
            observation.unique = (device, counter, str(received))
        return observation

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For the console of The Things Stack."""
        return (
            Recipe(
                'The Things Stack: console, application, "Webhooks", "Custom webhook"',
                (
                    ("Webhook format", "JSON"),
                    ("Base URL", f"https://{host}/ttn"),
                    ("Additional headers", "Authorization: Bearer YOUR_KEY"),
                    ("Uplink message", "/up"),
                ),
            ),
        )


def _observation(kind: str, readings: Readings, **more: Any) -> Observation:
    return Observation(
        type=kind, values=readings.values, missing=readings.missing, marks=readings.marks, **more
    )


def _uplink(message: dict[str, Any]) -> Observation:
    readings = Readings()
    # Zero, empty and false values are not sent.
    readings.add("f_port", message.get("f_port", 0))
    readings.add("f_cnt", message.get("f_cnt", 0))
    settings = child(message, "settings")
    if "frequency" in settings:  # in Hz, as text
        readings.add("frequency", settings["frequency"])
    for modulation in ("lora", "fsk", "lrfhss"):
        readings.add_all(child(settings, "data_rate", modulation))
    airtime = message.get("consumed_airtime")
    if isinstance(airtime, str):  # seconds, as protobuf writes a duration
        readings.add("consumed_airtime", airtime.removesuffix("s"))
    decoded = message.get("decoded_payload")
    readings.add_all(decoded if isinstance(decoded, dict) else {})
    user = child(message, "locations", "user")
    where = place(user.get("latitude"), user.get("longitude"), user.get("altitude"))
    gateways = []
    for one in objects(message.get("rx_metadata")):
        broker = child(one, "packet_broker")
        ids = child(one, "gateway_ids")
        identity = broker.get("forwarder_gateway_id") or ids.get("gateway_id") or ids.get("eui")
        network = {"network": broker["forwarder_net_id"]} if "forwarder_net_id" in broker else {}
        gateways.append(gateway(identity, one, child(one, "location"), **network))
    raw = message.get("frm_payload")
    return _observation(
        "UPLINK",
        readings,
        raw=unbase64(raw) if isinstance(raw, str) else None,
        position=locate(readings, decoded) if where is None else where,
        extra={"gateways": gateways} if gateways else {},
    )
