"""RockBLOCK and Cloudloop: messages of Iridium modems. No I/O.

What is not answered with 200 within seconds is redelivered for half a day, so every delivery is
answered with success.
"""

from __future__ import annotations

from typing import Any

from habitat_like.config.addresses import IpNetworks, parse
from habitat_like.http.response import TEXT, Response
from habitat_like.networks import forms, lenient, moments
from habitat_like.networks.base import STUBBORN, Network, NetworkSettings, Outcome, Recipe, Route
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Request
from habitat_like.networks.values import Readings, text, to_base64, unhex, unread

_PLACE = ("iridium_latitude", "iridium_longitude", "iridium_cep")
_TEXTS = ("imei", "device_type", "transmit_time")


class RockBlockSettings(NetworkSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``addresses``: who may deliver, as addresses or networks; empty: anyone."""

    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for anything that is not an address."""
        IpNetworks(self.addresses)


class RockBlock(Network):
    """RockBLOCK's webhook, as a form or as JSON."""

    name = "rockblock"
    types = ("RECEIVED_TELEM",)
    family = STUBBORN
    routes = (Route("POST", "/rockblock"),)
    Settings = RockBlockSettings

    def decode(self, request: Request) -> Decoded:
        """One message. Raises BadRequest for an address that may not deliver."""
        if self.settings.addresses and not _is_among(request.ip, self.settings.addresses):
            raise BadRequest(403, "not one of the addresses in networks.rockblock.addresses")
        return Decoded(delivery(request))

    def success(self, request: Request, outcome: Outcome) -> Response:
        """200 and no more."""
        return Response(200, b"OK", TEXT)

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """Success, except for other people's addresses."""
        if status == 403:
            return self.wrong_key(request)
        return super().refused(request, status, text, outcome)

    def wrong_key(self, request: Request) -> Response:
        """Redelivered in vain until RockBLOCK gives up."""
        return Response(403, b"not allowed\n", TEXT)

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For the owner's account."""
        return (
            Recipe(
                'RockBLOCK: account, "Delivery groups", add "HTTP_POST" (or "HTTP_JSON")',
                (("URL", f"https://{host}/rockblock"),),
            ),
        )


def delivery(request: Request) -> list[Observation]:
    """The delivered message; none for an empty request."""
    fields: dict[str, Any] = dict(request.fields)
    problem = None
    if request.content_type == "multipart/form-data":
        fields.update(forms.multipart(request.body, request.headers.get("content-type")))
    elif request.body.strip() and not request.is_form:
        try:
            tree = lenient.parse(request.body)
            problem = None if isinstance(tree, dict) else "body: must be a JSON object"
            fields.update(tree if isinstance(tree, dict) else {})
        except lenient.NotJson as error:
            problem = str(error)
    if not fields and problem is None:
        return []
    if "imei" not in fields:
        fields = {key.lower(): value for key, value in fields.items()}
        if problem is None and not fields.keys() & {"imei", "data"}:
            problem = "imei, data: required fields are missing"
    imei = text(fields.get("imei"))
    readings = Readings()
    for key in _TEXTS:
        readings.add_text(key, fields.get(key))
    readings.add_all(fields, {*_PLACE, *_TEXTS, "data", "from", "callsign", "string", "frequency"})
    estimate = [fields.get(key) for key in _PLACE]
    if estimate[:2] != [None, None] and readings.position(*estimate[:2]) is not None:
        readings.add_all(dict(zip(_PLACE, estimate, strict=True)))
    sent = text(fields.get("data"))
    data = unhex(sent)
    if problem is not None:
        readings.mark(problem)
        data = unread(request.body)
    elif data is None:
        readings.mark("data: not hexadecimal")
        data = sent.encode("utf-8", "replace")
    moment = fields.get("transmit_time")
    observed = moments.moment(moment)
    if observed is None and moment not in (None, ""):
        readings.mark("transmit_time")
    return [
        Observation(
            type="RECEIVED_TELEM",
            uploader=text(fields.get("from") or fields.get("callsign")) or imei,
            time=observed,
            rule="gateway" if observed is None else "trusted",
            marks=readings.marks,
            data={**readings.values, "string": to_base64(data)},
            unique=None
            if observed is None or not imei
            else (imei, text(fields.get("momsn")), text(moment)),
        )
    ]


def _is_among(text: str | None, allowed: tuple[str, ...]) -> bool:
    address = parse(text)
    return address is not None and address in IpNetworks(allowed)
