"""ChirpStack, version 4: its HTTP integration. No I/O."""

from __future__ import annotations

from typing import Any

from habitat_like.networks import moments
from habitat_like.networks.base import Recipe, Route
from habitat_like.networks.observation import BadRequest, Observation, Request
from habitat_like.networks.uplinks import LoraNetwork, child, gateway, locate, objects
from habitat_like.networks.values import Readings, place, text, unbase64

_ELSEWHERE = {
    *("deduplicationId", "time", "deviceInfo", "devAddr", "rxInfo", "txInfo", "data", "object"),
}


class ChirpStack(LoraNetwork):
    """ChirpStack's webhook: any event, named in the query."""

    name = "chirpstack"
    routes = (Route("POST", "/chirpstack"),)

    def event(self, tree: dict[str, Any], request: Request) -> Observation:
        """An uplink, or an EVENT."""
        info = child(tree, "deviceInfo")
        name = text(info.get("deviceName"))
        device = text(info.get("devEui")) or name
        if not device:
            raise BadRequest(400, "deviceInfo.devEui: required field is missing")
        kind = request.fields.get("event") or ("up" if "rxInfo" in tree else "event")
        readings = Readings()
        # Zero values are not sent.
        defaults: dict[str, object] = {"fPort": 0, "fCnt": 0} if kind == "up" else {"event": kind}
        readings.add_all({**defaults, **tree}, _ELSEWHERE)
        readings.add_text("devAddr", tree.get("devAddr"))
        transmission = child(tree, "txInfo")
        if "frequency" in transmission:  # in Hz
            readings.add("frequency", transmission["frequency"])
        for modulation in child(transmission, "modulation").values():
            readings.add_all(modulation if isinstance(modulation, dict) else {})
        decoded = tree.get("object")
        readings.add_all(decoded if isinstance(decoded, dict) else {})
        raw = tree.get("data")
        where = child(tree, "location")
        gateways = [
            gateway(one.get("gatewayId"), one, child(one, "location"))
            for one in objects(tree.get("rxInfo"))
        ]
        extra: dict[str, Any] = {"gateways": gateways} if gateways else {}
        tags = {text(key): text(value) for key, value in child(info, "tags").items()}
        observed = moments.moment(tree.get("time"))
        counter = readings.values.get("fCnt", 0)
        return Observation(
            type="UPLINK" if kind == "up" else "EVENT",
            uploader=self.station(device, text(info.get("applicationName"))),
            time=observed,
            rule="gateway" if observed is None else "trusted",
            values=readings.values,
            payload=name or device,
            position=locate(readings, decoded)
            or place(where.get("latitude"), where.get("longitude"), where.get("altitude")),
            raw=unbase64(raw) if isinstance(raw, str) and kind == "up" else None,
            missing=readings.missing,
            marks=readings.marks,
            extra={**extra, "tags": tags} if tags else extra,
            unique=None if observed is None else (device, kind, counter, str(tree["time"])),
        )

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For ChirpStack's own pages."""
        return (
            Recipe(
                'ChirpStack: application, "Integrations", "HTTP"',
                (
                    ("Payload encoding", "JSON"),
                    ("Event endpoint URL(s)", f"https://{host}/chirpstack"),
                    ("Headers", "Authorization: Bearer YOUR_KEY"),
                ),
            ),
        )
