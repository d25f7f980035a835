"""CloudEvents over HTTP: binary, structured and batch mode. No I/O."""

from __future__ import annotations

from typing import Any

from habitat_like.http.response import TEXT, Response
from habitat_like.networks import lenient, moments
from habitat_like.networks.base import CAREFUL, Network, Outcome, Recipe, Route
from habitat_like.networks.forms import text_of, undo
from habitat_like.networks.keys import authorization
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Problem, Request
from habitat_like.networks.values import MAX_ITEMS, Readings, text, unbase64, unread

_NEEDED = ("specversion", "id", "source", "type")
_ELSEWHERE = {*_NEEDED, "time", "data", "data_base64", "datacontenttype"}
_STRUCTURED = "application/cloudevents"


class CloudEvents(Network):
    """Events of any kind; their content is the sender's business."""

    name = "cloudevents"
    types = ("EVENT",)
    family = CAREFUL
    routes = (Route("POST", "/events"), Route("OPTIONS", "/events", probe="consent"))

    def credential(self, request: Request) -> str | None:
        """The key in the Authorization header, or the query's access_token."""
        return authorization(request) or request.fields.get("access_token")

    def decode(self, request: Request) -> Decoded:
        """An event or a batch of them. Raises BadRequest for what is neither."""
        kind = request.content_type
        if "ce-id" in (found := request.headers.starting("ce-")) or "ce-specversion" in found:
            event = {name[3:]: undo(value.replace("+", "%2B")) for name, value in found.items()}
            event.setdefault("datacontenttype", kind)
            return _take([event], request.body)
        if not kind.startswith(_STRUCTURED) and not request.body.lstrip().startswith((b"{", b"[")):
            raise BadRequest(415, "Content-Type: no CloudEvents in JSON, and no ce- headers")
        try:
            tree = lenient.parse(request.body)
        except lenient.NotJson as error:
            raise BadRequest(400, str(error)) from None
        return _take(tree if isinstance(tree, list) else [tree], None)

    def success(self, request: Request, outcome: Outcome) -> Response:
        """No content."""
        return Response(204, b"", TEXT)

    def consent(self, request: Request) -> Response:
        """The webhook's abuse protection: yes, anyone who asks may send."""
        headers = {"Allow": "OPTIONS, POST"}
        origin = request.headers.get("webhook-request-origin").strip()
        if origin and origin.isascii() and origin.isprintable() and len(origin) <= 255:
            headers |= {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"}
        return Response(200, b"", TEXT, headers)

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """For senders."""
        return (Recipe("CloudEvents: HTTP, any mode, JSON", (("Sink", f"https://{host}/events"),)),)


def _take(events: list[Any], body: bytes | None) -> Decoded:
    """The observations in ``events``; ``body`` is the data of the only one in binary mode."""
    observations: list[Observation] = []
    problems: list[Problem] = []
    for index, event in enumerate(events[: MAX_ITEMS + 1]):
        problem = _problem(event)
        if index == MAX_ITEMS:
            problem = f"body: more than {MAX_ITEMS} events"
        if problem is None:
            observations.append(_observe(event, body))
        else:
            problems.append(Problem(index, problem))
    return Decoded(observations, problems)


def _problem(event: object) -> str | None:
    if not isinstance(event, dict):
        return "must be an object"
    missing = [name for name in _NEEDED if not text(event.get(name))]
    return f"{missing[0]}: required attribute is missing" if missing else None


def _observe(event: dict[str, Any], body: bytes | None) -> Observation:
    readings = Readings()
    raw = _data(readings, event, body)
    sent = event.get("time")
    observed = moments.iso(sent) if isinstance(sent, str) else None
    if observed is None and sent is not None:
        readings.mark("time")
    attributes = Readings()
    attributes.add_text("time", sent)
    attributes.add_all(event, _ELSEWHERE)
    source, identity = text(event["source"]), text(event["id"])
    extra: dict[str, Any] = {"id": identity, "event": text(event["type"])}
    return Observation(
        type="EVENT",
        uploader=source,
        time=observed,
        rule="gateway" if observed is None else "station",
        values=readings.values,
        raw=raw,
        missing=readings.missing,
        marks=readings.marks,
        extra={**extra, "attributes": attributes.values} if attributes.values else extra,
        unique=(source, identity),
    )


def _data(readings: Readings, event: dict[str, Any], body: bytes | None) -> bytes | None:
    """Take the event's data: JSON as values, text as text; else the bytes are returned."""
    kind = text(event.get("datacontenttype")).lower().partition(";")[0].strip()
    tree: Any = event.get("data")
    if body is None and isinstance(event.get("data_base64"), str):
        body = unbase64(event["data_base64"])
        if body is None:
            readings.mark("data_base64")
    if body is not None:
        if not body:
            return None
        if kind in ("", "application/json") or kind.endswith("+json"):
            try:
                tree = lenient.parse(body)
            except lenient.NotJson as error:
                readings.mark(str(error))
                return unread(body)
        elif kind.startswith("text/"):
            tree = text_of(body)
        else:
            return body
    if isinstance(tree, dict):
        readings.add_all(tree)
    elif tree is not None:
        readings.add("data", tree)
    return None
