"""Every decoder with anything at all: it decodes or refuses, in bounded time and memory.

Whatever is decoded must become a document, and be answered by the network's own table.
"""

from __future__ import annotations

import json
import random
import string
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habitat_like.http.response import Response
from habitat_like.networks import catalogue
from habitat_like.networks.base import STUBBORN, Outcome
from habitat_like.networks.messages import callsign_of, to_message
from habitat_like.networks.observation import BadRequest, Decoded, Observation, Problem, Request
from tests.networks.decode import NOW, SAMPLES, STATIONS, Client

NAMES = sorted(set(catalogue.BUILT_IN) - {"hisparc"})
CLIENTS = {name: Client(catalogue.find(name)) for name in NAMES}
MAX_BODY = 200_000
#: Words that the decoders look for, so that not all is thrown away at the first look.
WORDS = [
    *("PASSKEY", "ID", "PASSWORD", "siteid", "dateutc", "now", "tempf", "lat", "lon", "id"),
    *("timestamp", "_type", "location", "tst", "topic", "encrypted", "data", "imei", "momsn"),
    *("transmit_time", "iridium_latitude", "iridium_longitude", "from", "uploader_callsign"),
    *("payload_callsign", "datetime", "time_received", "alt", "uploader_position", "serial", "raw"),
    *("sensordatavalues", "value_type", "value", "sensor", "createdAt", "measurement", "device_id"),
    *("latitude", "longitude", "height", "end_device_ids", "dev_eui", "uplink_message", "object"),
    *("rx_metadata", "decoded_payload", "frm_payload", "deviceInfo", "devEui", "rxInfo", "packet"),
    *("hotspots", "decoded", "coords", "specversion", "source", "type", "data_base64", "_raw"),
    *("receivers", "rig_info", "frequency", "callsign", "listener_telemetry", "time_created"),
    "listener_information",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["nan", "-9999", "2026-11-20T10:15:30Z", "51,98", "0", "00ff", "AMg=", ""])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=6), inner, max_size=6)
    ),
    max_leaves=25,
)
FORMS = st.dictionaries(
    st.sampled_from(WORDS), st.text(string.printable, max_size=12), max_size=8
).map(lambda fields: "&".join(f"{key}={value}" for key, value in fields.items()))
BODIES = (
    st.binary(max_size=300)
    | TREES.map(lambda tree: json.dumps(tree).encode())
    | FORMS.map(str.encode)
    | st.text(alphabet='m,= "\\\n1it.{}[]:&%-', max_size=80).map(str.encode)
)
TYPES = st.sampled_from(
    [
        *("", "application/json", "text/csv", "application/sbx-bytes", "application/sbx-bytes-ts"),
        *("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"),
        *("application/octet-stream", "application/cloudevents-batch+json"),
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("x_sensor", "x_pin", "authorization", "date", "x_limit_u", "ce_id", "ce_time"),
            *("ce_specversion", "ce_source", "ce_type"),
        ]
    ),
    st.text(st.characters(codec="latin-1"), max_size=20),
    max_size=4,
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
    outcome = Outcome([], [])
    check_answer(client, network.refused(request, refusal.status, refusal.text, outcome))
    return None


def check_decoded(client: Client, request: Request, decoded: Decoded) -> Decoded:
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
    answer.encode()
    assert 200 <= answer.status < 300 or 400 <= answer.status < 500
    assert len(answer.body) < MAX_BODY
    if client.network.family == STUBBORN:
        assert answer.status < 400


def check_observation(client: Client, one: Observation) -> None:
    assert one.type in client.network.types
    for value in one.values.values():
        assert isinstance(value, str | int | float)
        assert value == value, "NaN"
    assert one.data is None or isinstance(one.data, dict)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_anything_is_decoded_or_refused(name: str, data: st.DataObject) -> None:
    client = CLIENTS[name]
    method, path = data.draw(st.sampled_from(targets(name)))
    query = data.draw(FORMS | st.text(string.printable, max_size=30))
    headers = {"content_type": data.draw(TYPES), **data.draw(HEADERS)}
    request = client.request(method, f"{path}?{query}", data.draw(BODIES), **headers)
    decode(client, request)


def samples() -> list[tuple[str, str]]:
    """All samples with the networks whose they are."""
    found = []
    for path in sorted(SAMPLES.glob("*/*.http")):
        name = f"{path.parent.name}/{path.stem}"
        for network, client in CLIENTS.items():
            try:
                client.sample(name)
            except (AssertionError, ValueError):  # another network's path, or no request line
                continue
            if client.sample(name).body or client.sample(name).query:
                found.append((network, name))
    return found


@pytest.mark.parametrize(("network", "name"), samples())
def test_broken_samples_are_decoded_or_refused(network: str, name: str) -> None:
    client = CLIENTS[network]
    whole = client.sample(name)
    if not client.way(whole.method, whole.path) or client.way(whole.method, whole.path).probe:  # type: ignore[union-attr]
        return
    dice = random.Random(name)
    for _ in range(60):
        body, query = bytearray(whole.body), whole.query
        for _ in range(dice.randint(1, 6)):
            if body and dice.random() < 0.7:
                at = dice.randrange(len(body))
                change = dice.randrange(4)
                if change == 0:
                    body[at] = dice.randrange(256)
                elif change == 1:
                    del body[at : at + dice.randint(1, 20)]
                elif change == 2:
                    body[at:at] = dice.choice([b"nan", b"null", b'"', b"{}", b"[]", b"-9999", b"%"])
                else:
                    body[at:at] = body[at : at + 40]
            elif query:
                at = dice.randrange(len(query))
                junk = dice.choice(["%", "&", "=", "+", "\xff", "nan", ""])
                query = query[:at] + junk + query[at + 1 :]
        request = Request(
            whole.method,
            whole.path,
            route=whole.route,
            target=f"{whole.path}?{query}",
            variables=whole.variables,
            query=query,
            headers=whole.headers,
            body=bytes(body),
            ip="203.0.113.7",
            now=NOW,
        )
        decode(client, request)


LARGE = {
    "deep lists": b"[" * MAX_BODY,
    "deep objects": b'{"a":' * (MAX_BODY // 5),
    "many lists": b"[" + b"[]," * (MAX_BODY // 3 - 2) + b"[]]",
    "many objects": b"[" + b"{}," * (MAX_BODY // 3 - 2) + b"{}]",
    "many numbers": b"[" + b"1," * (MAX_BODY // 2 - 2) + b"1]",
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(MAX_BODY // 12)) + b"}",
    "nested many": b'{"data":{"a":[' + b"1," * (MAX_BODY // 2 - 20) + b"1]}}",
    "long number": b'{"value":' + b"1" * (MAX_BODY - 20) + b"}",
    "quotes": b'"' + b'\\"' * (MAX_BODY // 2 - 1),
    "odd tokens": b"[" + b"nan," * (MAX_BODY // 4 - 2) + b"nan]",
    "ampersands": b"&" * MAX_BODY,
    "fields": b"&".join(b"a%d=1" % n for n in range(MAX_BODY // 10)),
    "percents": b"a=" + b"%" * (MAX_BODY - 2),
    "lines": b"m a=1\n" * (MAX_BODY // 6),
    "bad lines": b"m\n" * (MAX_BODY // 2),
    "csv": b"a,1\n" * (MAX_BODY // 4),
    "commas": b"," * MAX_BODY,
    "zeros": b"\0" * MAX_BODY,
    "boundaries": b"--x\r\n\r\n" * (MAX_BODY // 7),
    "one key": b'{"' + b"k" * (MAX_BODY - 20) + b'":1}',
}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("name", NAMES)
def test_a_large_body_costs_a_bounded_time_and_memory(name: str, kind: str) -> None:
    client = CLIENTS[name]
    for method, path in targets(name):
        if method == "GET":
            continue
        content_type = {
            "csv": "text/csv",
            "commas": "text/csv",
            "zeros": "application/sbx-bytes",
            "boundaries": "multipart/form-data; boundary=x",
        }.get(kind, "")
        request = client.request(
            method, f"{path}?id=x&u=y", LARGE[kind], content_type=content_type, x_sensor="s"
        )
        started = time.process_time()
        tracemalloc.start()
        try:
            decode(client, request)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # Far above what is needed, and far below what a square would be.
        assert time.process_time() - started < 30
        assert peak < 150 * MAX_BODY


@pytest.mark.parametrize("name", NAMES)
def test_the_answers_without_a_request_are_whole(name: str) -> None:
    network = CLIENTS[name].network
    method, path = targets(name)[0]
    request = CLIENTS[name].request(method, path)
    network.wrong_key(request).encode()
    network.denied("no").encode()
    overload = network.overload("full", 30)
    assert overload.status == (500 if name == "sondehub" else 503)
    assert (overload.headers or {})["Retry-After"] == "30"
    problem = Problem(0, "why")
    network.refused(Request("", ""), 413, "large", Outcome([], [problem])).encode()


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_recipe_with_the_servers_name(name: str) -> None:
    recipes = CLIENTS[name].network.recipes("gw.example")
    assert recipes
    for recipe in recipes:
        assert any("gw.example" in text for _, text in recipe.lines)
