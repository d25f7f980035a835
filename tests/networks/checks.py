"""What must be true of every network's decoder, whatever it is given."""

from __future__ import annotations

import math

import msgspec

from habitat_like.http.response import Response
from habitat_like.networks import catalogue
from habitat_like.networks.base import STUBBORN, Outcome
from habitat_like.networks.messages import callsign_of, to_message
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Problem, Request
from tests.networks.decode import NOW, STATIONS, Client

NAMES = sorted(set(catalogue.BUILT_IN) - {"hisparc"})
CLIENTS = {name: Client(catalogue.find(name)) for name in NAMES}
#: Bytes of the largest body, and of any answer.
MAX_BODY = 200_000
CONTENT_TYPES = (
    *("", "application/json", "text/csv", "application/sbx-bytes", "application/sbx-bytes-ts"),
    *("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"),
    *("application/octet-stream", "application/cloudevents-batch+json"),
)


def targets(name: str) -> list[tuple[str, str]]:
    """A method and path for each way into a network."""
    found = []
    for route in catalogue.find(name).routes:
        if route.probe is None:
            path = route.pattern.replace("*", "x")
            for variable in ("{box}", "{sensor}", "{hash}", "{id}"):
                path = path.replace(variable, "5a8d1c25bc2d41001927a265")
            found += [(method, path) for method in route.methods.split(",")]
    return found


def decode(client: Client, request: Request) -> Decoded | None:
    """What is decoded, with all that the runner makes of it; None if it is refused."""
    network = client.network
    assert network.credential(request) is None or isinstance(network.credential(request), str)
    try:
        decoded = network.decode(request)
    except BadRequest as bad:
        refusal = bad
    else:
        return check_decoded(client, request, decoded)
    assert 400 <= refusal.status < 500
    assert "\n" not in refusal.text
    outcome = Outcome([], [Problem(0, refusal.text)])
    check_answer(client, network.refused(request, refusal.status, refusal.text, outcome))
    return None


def check_decoded(client: Client, request: Request, decoded: Decoded) -> Decoded:
    """See ``decode``."""
    network = client.network
    messages = []
    for one in decoded.observations:
        check_observation(client, one)
        callsign = callsign_of(network.name, one, None, STATIONS) or "UNKNOWN"
        messages.append(to_message(network.name, one, callsign, None, None, NOW))
        msgspec.json.decode(messages[-1].document(b'"a"')[1])
    problems = list(decoded.problems)
    assert all("\n" not in problem.text for problem in problems)
    check_answer(client, network.success(request, Outcome(messages, [])))
    if problems:
        check_answer(client, network.partial(request, Outcome(messages, problems)))
        refused = network.refused(request, 400, problems[0].text, Outcome([], problems))
        check_answer(client, refused)
    return decoded


def check_answer(client: Client, answer: Response) -> None:
    """The answer is one of a network's own, and a success where nothing else may be."""
    answer.encode()
    assert 200 <= answer.status < 300 or 400 <= answer.status < 500
    assert len(answer.body) < MAX_BODY
    if client.network.family == STUBBORN:
        assert answer.status < 400


def check_observation(client: Client, one: Observation) -> None:
    """It has values that JSON can hold, and a type of the network."""
    assert one.type in client.network.types
    read = one.values if one.columns is None else msgspec.to_builtins(one.columns)
    for value in read.values():
        assert isinstance(value, str | int | float)
        assert isinstance(value, str) or math.isfinite(value)
    assert one.data is None or isinstance(one.data, dict)


def fuzz(name: str, data: bytes) -> None:
    """Decode ``data``: a byte for the way in, one for the content type, query, line feed, body."""
    if len(data) < 2:
        return
    ways = targets(name)
    method, path = ways[data[0] % len(ways)]
    query, _, body = data[2:].partition(b"\n")
    headers = {"content_type": CONTENT_TYPES[data[1] % len(CONTENT_TYPES)], "x_sensor": "esp32-1"}
    decode(
        CLIENTS[name],
        CLIENTS[name].request(method, f"{path}?{query.decode('latin-1')}", body, **headers),
    )
