"""Helium: the old Console's JSON, and ChirpStack's, which Helium uses now. No I/O."""

from __future__ import annotations

from typing import Any

from habitat_like.networks import moments
from habitat_like.networks.base import Recipe, Route
from habitat_like.networks.chirpstack import ChirpStack
from habitat_like.networks.observation import BadRequest, Observation, Request
from habitat_like.networks.uplinks import child, gateway, locate, objects
from habitat_like.networks.values import Readings, text, unbase64


class Helium(ChirpStack):
    """The HTTP integration of Helium's Console; its fields distinguish it from ChirpStack's."""

    name = "helium"
    routes = (Route("POST", "/helium"),)

    def event(self, tree: dict[str, Any], request: Request) -> Observation:
        """An uplink, or an EVENT."""
        if "deviceInfo" in tree:
            return super().event(tree, request)
        name = text(tree.get("name"))
        device = text(tree.get("dev_eui")) or name
        if not device:
            raise BadRequest(400, "dev_eui: required field is missing")
        kind = text(tree.get("type")) or "uplink"
        readings = Readings()
        if kind != "uplink":
            readings.add("event", kind)
        readings.add("port", tree.get("port", 0))
        readings.add("fcnt", tree.get("fcnt", 0))
        decoded = child(tree, "decoded").get("payload")
        readings.add_all(decoded if isinstance(decoded, dict) else {})
        gateways = []
        for one in objects(tree.get("hotspots")):
            heard = gateway(one.get("id"), one, one, name=one.get("name"))
            gateways.append({**heard, "frequency": one["frequency"]} if _is_mhz(one) else heard)
        observed = moments.unix(tree.get("reported_at"))
        raw = tree.get("payload")
        counter = readings.values.get("fcnt", 0)
        reported = str(tree.get("reported_at"))
        return Observation(
            type="UPLINK" if kind == "uplink" else "EVENT",
            uploader=self.station(device, text(tree.get("app_eui"))),
            time=observed,
            rule="gateway" if observed is None else "trusted",
            values=readings.values,
            payload=name or device,
            position=locate(readings, decoded),
            raw=unbase64(raw) if isinstance(raw, str) else None,
            missing=readings.missing,
            marks=readings.marks,
            extra={"gateways": gateways} if gateways else {},
            unique=None if observed is None else (device, kind, counter, reported),
        )

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For anyone who still has a Console."""
        return (
            Recipe(
                'Helium Console: "Integrations", "HTTP"',
                (
                    ("Endpoint URL", f"https://{host}/helium"),
                    ("HTTP headers", "Authorization: Bearer YOUR_KEY"),
                ),
            ),
        )


def _is_mhz(hotspot: dict[str, Any]) -> bool:
    return isinstance(hotspot.get("frequency"), int | float)
