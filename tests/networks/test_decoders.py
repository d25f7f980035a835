"""Every decoder with anything at all: it decodes or refuses, in bounded time and memory.

Whatever is decoded must become a document, and be answered by the network's own table.
"""

from __future__ import annotations

import base64
import json
import random
import string
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habitat_like.networks.base import Outcome
from habitat_like.networks.observation import BadRequest, Problem, Request
from tests.networks.checks import CLIENTS, CONTENT_TYPES, MAX_BODY, NAMES, decode, targets
from tests.networks.decode import NOW, SAMPLES

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
TYPES = st.sampled_from(CONTENT_TYPES)
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


#: The passwords, keys and tokens in the samples.
SECRETS = [
    *("secret", "0123456789ABCDEF0123456789ABCDEF", "345544D80", "FC:F5:C4:00:00:60", "24C86E0000"),
    *("q1LKu7RQ8s5pmyxunnDW", "a9c1a9c1a9c1", "abc.def", "NNSXS", "CiIKIAoU", "AYsbay8ar1O0vhi"),
    *("eyJhbGciOiJSUzI1NiJ9", "abc==", "a4cf12000000"),
]


@pytest.mark.parametrize(("network", "name"), samples())
def test_no_secret_is_archived_of_a_sample_whole_or_cut_off(network: str, name: str) -> None:
    client = CLIENTS[network]
    whole = client.sample(name)
    way = client.way(whole.method, whole.path)
    if way is None or way.probe is not None:
        return
    step = max(len(whole.body) // 40, 1)
    for end in [*range(0, len(whole.body), step), len(whole.body)]:
        request = client.sample(name)
        request.body = whole.body[:end]
        try:
            messages, told = client.messages(request), ""
        except BadRequest as error:
            messages, told = [], error.text
        assert not [secret for secret in SECRETS if secret in told]
        for message in messages:
            document = message.document(b'"a"')[1].decode()
            data = msgspec.json.decode(document)["data"]
            packed = data.get("raw") or data.get("string") or ""
            kept = document + base64.b64decode(packed).decode("latin-1")
            # "c3VwZXJzZWNyZXQ=" is what OwnTracks has encrypted itself.
            kept = kept.replace("supersecret", "")
            assert not [secret for secret in SECRETS if secret in kept]


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
