"""habitat: what dl-fldigi and the Python uploader ask of its CouchDB. No I/O.

They know five requests and a picture's packet. Nothing is kept at their end: what is not taken is
lost, and 401 and 403 are the end of a document.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from habitat_like.http.response import JSON, TEXT, Response
from habitat_like.message.types import is_base64
from habitat_like.networks import forms, lenient, moments, rockblock
from habitat_like.networks.base import Network, Outcome, Recipe, Route, json_response
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Request
from habitat_like.networks.sondehub import listener_telemetry
from habitat_like.networks.values import Readings, number, place, text, to_base64, unbase64, unhex

MAX_UUIDS = 1000
#: Who sent a form that tells no name, as upstream has it.
ANYBODY = "HTTP POST"
_DESIGN = "/habitat/_design/payload_telemetry/_update"
_INFORMATION = ("name", "location", "radio", "antenna")
_ENTRY = {"time_created", "time_uploaded", "rig_info"}


class Habitat(Network):
    """The part of habitat's database that listeners write to."""

    name = "habitat"
    types = ("RECEIVED_TELEM", "LISTENER_INFO", "LISTENER_TELEM")
    routes = (
        Route("GET", "/_uuids", probe="uuids"),
        Route("GET", "/habitat/_design/{design}/_view/{view}", probe="view"),
        Route("PUT", f"{_DESIGN}/add_listener/{{hash}}"),
        Route("POST", f"{_DESIGN}/http_post"),
        Route("POST", "/ssdv/*"),
        Route("PUT", "/habitat/{id}"),
        Route("POST", "/habitat"),
    )
    plain_http = True

    def decode(self, request: Request) -> Decoded:
        """One document. Raises BadRequest for one that can't be taken."""
        if _is_picture(request):
            return Decoded(_picture(request))
        if _is_form(request):
            found = rockblock.delivery(request)
            for one in found:
                one.uploader = one.uploader or ANYBODY
            return Decoded(found)
        try:
            tree = lenient.parse(request.body)
        except lenient.NotJson as error:
            raise BadRequest(403, str(error)) from None
        if not isinstance(tree, dict) or not isinstance(tree.get("data"), dict):
            raise BadRequest(403, "data: required field is missing")
        if "hash" in request.variables:
            return Decoded([_received(tree, request.variables["hash"])])
        return Decoded([_listener(tree, request.now)])

    def success(self, request: Request, outcome: Outcome) -> Response:
        """What CouchDB and its update functions answer; the id is the one in the path."""
        if _is_picture(request):
            return Response(200, b"OK", TEXT)
        if "/_update/" in request.path:
            return Response(201, b"OK", TEXT)
        revision = hashlib.blake2b(request.body, digest_size=16).hexdigest()
        identity = request.variables.get("id") or _id_in(request.body) or revision
        return json_response(201, {"ok": True, "id": identity, "rev": f"1-{revision}"})

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """403, which is final; but RockBLOCK redelivers what is refused."""
        if _is_form(request):
            return self.success(request, outcome)
        return json_response(403 if status == 400 else status, _forbidden(text))

    def wrong_key(self, request: Request) -> Response:
        """As a refusal."""
        return json_response(403, _forbidden("unknown station or wrong key"))

    def denied(self, text: str) -> Response:
        """As a refusal."""
        return json_response(403, _forbidden(text))

    def uuids(self, request: Request) -> Response:
        """Ids for future documents, 100 or 1000 at once."""
        asked = number(request.fields.get("count", "1"))
        count = min(max(int(asked or 1), 1), MAX_UUIDS)
        return json_response(200, {"uuids": [secrets.token_hex(16) for _ in range(count)]})

    def view(self, request: Request) -> Response:
        """Flights and payloads: there are none; listeners set the modem by hand."""
        return Response(200, b'{"total_rows":0,"offset":0,"rows":[]}', JSON)

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For dl-fldigi's dialog, and the Python uploader."""
        return (
            Recipe(
                'dl-fldigi: "Configure", "DL Client", "Enable"',
                (
                    ("Habitat URI", f"http://{host}"),
                    ("Habitat DB", "habitat"),
                    ("SSDV packet URL", f"http://{host}/ssdv/data.php"),
                ),
            ),
            Recipe(
                "habitat.uploader (Python)",
                (("couch_uri", f"https://{host}"), ("couch_db", "habitat")),
            ),
        )


def _forbidden(reason: str) -> dict[str, str]:
    return {"error": "forbidden", "reason": reason}


def _id_in(body: bytes) -> str:
    try:
        tree = lenient.parse(body)
    except lenient.NotJson:
        return ""
    return text(tree.get("_id")) if isinstance(tree, dict) else ""


def _listener(tree: dict[str, Any], now: float) -> Observation:
    """LISTENER_INFO or LISTENER_TELEM, by the document's type. Raises BadRequest."""
    data = tree["data"]
    callsign = text(data.get("callsign"))
    if not callsign:
        raise BadRequest(403, "data.callsign: required field is missing")
    created, uploaded = moments.moment(tree.get("time_created")), tree.get("time_uploaded")
    kind = tree.get("type")
    content: dict[str, Any]
    if kind == "listener_information":
        content = {key: data[key] for key in _INFORMATION if isinstance(data.get(key), str)}
    elif kind == "listener_telemetry":
        where = place(data.get("latitude"), data.get("longitude"), data.get("altitude"))
        if where is None:
            raise BadRequest(403, "data.latitude, data.longitude: must be a place")
        when = now if created is None else max(created, 0.0)
        content = listener_telemetry(where.latitude, where.longitude, where.altitude, when)
    else:
        raise BadRequest(403, "type: must be listener_information or listener_telemetry")
    return Observation(
        type="LISTENER_INFO" if kind == "listener_information" else "LISTENER_TELEM",
        uploader=callsign,
        time=created,
        sent=moments.moment(uploaded),
        rule="gateway" if created is None else "corrected",
        data=content,
    )


def _received(tree: dict[str, Any], identity: str) -> Observation:
    """RECEIVED_TELEM from an add_listener document. Raises BadRequest."""
    string = tree["data"].get("_raw")
    if not isinstance(string, str) or not is_base64(string):
        raise BadRequest(403, "data._raw: must be base64")
    if hashlib.sha256(string.encode()).hexdigest() != identity.lower():
        raise BadRequest(403, "the document's id is not the SHA-256 of data._raw")
    receivers = tree.get("receivers")
    if not isinstance(receivers, dict) or len(receivers) != 1:
        raise BadRequest(403, "receivers: must be exactly one")
    ((callsign, entry),) = receivers.items()
    if not callsign.strip() or not isinstance(entry, dict):
        raise BadRequest(403, "receivers: must be a callsign and an object")
    readings = Readings()
    rig = entry.get("rig_info")
    readings.add_all(rig if isinstance(rig, dict) else {})
    readings.add_all(entry, _ENTRY)
    frequency = readings.values.pop("frequency", None)
    received = {**readings.values, "string": string}
    if isinstance(frequency, int | float) and not isinstance(frequency, bool) and frequency >= 0:
        received["frequency"] = frequency
    created = moments.moment(entry.get("time_created"))
    return Observation(
        type="RECEIVED_TELEM",
        uploader=callsign.strip(),
        time=created,
        sent=moments.moment(entry.get("time_uploaded")),
        rule="gateway" if created is None else "corrected",
        marks=readings.marks,
        data=received,
    )


def _is_picture(request: Request) -> bool:
    """Whether a picture's packet was sent; whatever follows ``/ssdv`` is the owner's."""
    return f"{request.path}/".startswith("/ssdv/")


def _is_form(request: Request) -> bool:
    """Whether it is for ``http_post``."""
    return request.path.rstrip("/").endswith("/http_post")


def _picture(request: Request) -> list[Observation]:
    """RECEIVED_TELEM from a form with an SSDV packet."""
    kind = request.headers.get("content-type")
    multipart = "multipart/" in kind.lower()
    fields = forms.multipart(request.body, kind) if multipart else request.fields
    packet = fields.get("packet", "").strip()
    if not packet:
        raise BadRequest(403, "packet: required field is missing")
    is_hex = fields.get("encoding", "hex").strip().lower() != "base64"
    data = unhex(packet) if is_hex else unbase64(packet)
    readings = Readings()
    readings.add_all(fields, {"callsign", "encoding", "packet", "string", "frequency"})
    if data is None:
        readings.mark("packet: not " + ("hexadecimal" if is_hex else "base64"))
        data = packet.encode("utf-8", "replace")
    return [
        Observation(
            type="RECEIVED_TELEM",
            uploader=fields.get("callsign", "").strip(),
            rule="gateway",
            marks=readings.marks,
            data={**readings.values, "string": to_base64(data)},
        )
    ]
