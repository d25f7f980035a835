"""Promise 6: nothing a client sends is executed, and only whitelisted actions can be reached."""

from __future__ import annotations

import json

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.gateway import OWN
from tests.support.load import upload

INNER_NAMES = [
    "__init__",
    "__class__",
    "__dict__",
    "actions",
    "application",
    "clock",
    "messages",  # not in this gateway's whitelist
    "message.__globals__",
    "message/__globals__",
    "message/json",
    "message.json",
    "Message",
    "habitat_like.http.InsertApplication.messages",
    "os.system",
    "program",
    "push_message",
    "server",
    "shutdown",
    "reload",
    "..%2f..%2fetc%2fpasswd",
    "message%00",
    "MESSAGE",
    "own.push",
    "unknown",
]


def test_6_only_what_is_whitelisted_can_be_reached(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat({"gateway": {"actions": ["message"]}}, own=OWN)
    front = nginx(gateway)
    for name in INNER_NAMES:
        for path in (f"/{name}", f"/message/../{name}", f"//{name}"):
            status = front.request("POST", path, upload(0)).status
            assert status in (400, 404), (path, status)  # 400: nginx's own, for %00
    for name in (*INNER_NAMES, "../message", "/message"):
        for method in ("GET", "POST"):
            reply = gateway.scgi(method, f"/{name}", upload(0))
            assert reply.status == 404, name
            assert reply.text == "no action at this path; the actions are: /message\n", name
    assert gateway.status()["journal"]["last_seq"] == 0
    assert front.request("POST", "/message", upload(0)).status == 200


def test_6_nothing_in_a_request_is_executed(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = habitat()
    front = nginx(gateway)
    canary = gateway.directory / "canary"
    payloads = [
        f"__import__('os').system('touch {canary}')",
        f"$(touch {canary})",
        f"`touch {canary}`",
        f"'; touch {canary}; '",
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"{{{{ ''.__class__.__mro__[1] }}}}; touch {canary}",
        f"cos\nsystem\n(S'touch {canary}'\ntR.",
        "'); DROP TABLE message; --",
        "%s%s%s%n{0}{0.__class__}",
    ]
    for number, payload in enumerate(payloads):
        message = json.loads(upload(number))
        message["data"].update({"note": payload, payload[:40]: payload})
        assert front.request("POST", "/message", json.dumps(message)).status == 200
        for field in ("callsign", "type", "time_created", "data"):
            bad = json.dumps({**message, field: payload})
            assert front.request("POST", "/message", bad).status == 400
        assert front.request("POST", "/message", payload).status == 400
        assert front.request("POST", "/messages", payload).status == 400
        headers = {"X-Payload": payload.replace("\n", " "), "Content-Type": "application/x-yaml"}
        assert front.request("POST", "/message", payload, headers).status == 400
    documents = gateway.documents()
    assert sorted(document["data"]["note"] for document in documents) == sorted(payloads)
    assert not canary.exists()
    assert not gateway.process_ended()
