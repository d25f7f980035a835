"""CloudEvents: its three modes, and that (source, id) is one document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from habitat_like.networks.cloudevents import CloudEvents
from tests.networks.decode import NOW, Client

client = Client(CloudEvents)
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A1",
    "source": "/stations/field07",
    "type": "org.example.reading",
    "time": "2026-11-20T10:15:30Z",
    "data": {"celsius": 4.8},
}
BINARY = {f"ce_{key}": str(value) for key, value in EVENT.items() if key != "data"}


def structured(event: object, kind: str = "application/cloudevents+json") -> list[dict[str, Any]]:
    body = json.dumps(event)
    return client.documents(client.request("POST", "/events", body, content_type=kind))


def test_binary_mode() -> None:
    request = client.sample("8-generic/cloudevents-binary")
    (found,) = client.documents(request)
    assert found["type"] == "EVENT"
    assert found["callsign"] == "/STATIONS/FIELD07"
    assert found["time_created"] == 1795169730
    data = found["data"]
    assert data["id"] == "000123"
    assert data["event"] == "org.example.reading"
    assert data["values"] == {"celsius": 4.8}
    assert data["attributes"]["subject"] == "temperature"
    assert client.answer(request) == (204, b"")


@pytest.mark.parametrize("kind", ["application/cloudevents+json; charset=utf-8", "text/plain"])
def test_structured_mode(kind: str) -> None:
    (found,) = structured(EVENT, kind)
    assert found["data"]["values"] == {"celsius": 4.8}
    assert found["time_created"] == 1795169730


def test_a_batch() -> None:
    events = [EVENT, {**EVENT, "id": "A2"}, {"id": "A3"}, 7]
    body = json.dumps(events)
    request = client.request(
        "POST", "/events", body, content_type="application/cloudevents-batch+json"
    )
    assert len(client.documents(request)) == 2
    assert len(client.network.decode(request).problems) == 2
    assert client.answer(request) == (204, b"")


def test_the_same_event_in_any_mode_is_one_document() -> None:
    (one,) = structured(EVENT)
    (other,) = structured({**EVENT, "data": "changed"})
    (third,) = client.documents(client.request("POST", "/events", b"x", **BINARY))
    (next_one,) = structured({**EVENT, "id": "A2"})
    assert one["_id"] == other["_id"] == third["_id"] != next_one["_id"]


@pytest.mark.parametrize(
    ("change", "values", "raw"),
    [
        ({"data": "text"}, {"data": "text"}, None),
        ({"data": [1, {"a": 2}]}, {"data.0": 1, "data.1.a": 2}, None),
        ({"data": None}, {}, None),
        (
            {"data_base64": "AP8=", "datacontenttype": "application/octet-stream"},
            {},
            "AP8=",
        ),
    ],
)
def test_data_of_any_kind(change: dict[str, Any], values: object, raw: str | None) -> None:
    event = {key: value for key, value in EVENT.items() if key != "data"}
    (found,) = structured({**event, **change})
    assert found["data"]["values"] == values
    assert found["data"].get("raw") == raw


@pytest.mark.parametrize(
    ("body", "kind", "values", "raw"),
    [
        (b"Zo\xc3\xab", "text/plain", {"data": "Zoë"}, None),
        (b"\x00\xff", "image/png", {}, "AP8="),
        (b"", "application/json", {}, None),
        (b'{"a": nan}', "application/json", {}, None),
    ],
)
def test_a_binary_body_of_any_kind(body: bytes, kind: str, values: object, raw: object) -> None:
    (found,) = client.documents(
        client.request("POST", "/events", body, content_type=kind, **BINARY)
    )
    assert found["data"]["values"] == values
    assert found["data"].get("raw") == raw


def test_json_that_is_none_is_kept_and_marked() -> None:
    (found,) = client.documents(
        client.request("POST", "/events", b"{", content_type="application/json", **BINARY)
    )
    assert found["data"]["raw"] == "ew=="
    assert found["suspicious"].startswith("body: not valid JSON")


def test_attributes_are_percent_encoded_in_headers() -> None:
    headers = {**BINARY, "ce_source": "/Zo%C3%AB+1", "ce_myextension": "x"}
    (found,) = client.documents(client.request("POST", "/events", b"1", **headers))
    assert found["data"]["uploader"] == "/Zoë+1"
    assert found["data"]["attributes"]["myextension"] == "x"


def test_no_time_is_the_gateways() -> None:
    event = {key: value for key, value in EVENT.items() if key != "time"}
    assert structured(event)[0]["time_created"] == NOW


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_an_attribute_that_is_needed(name: str) -> None:
    body = json.dumps({key: value for key, value in EVENT.items() if key != name})
    status, answer = client.answer(client.request("POST", "/events", body))
    assert status == 400
    assert answer == f"{name}: required attribute is missing\n".encode()


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"x", 415), (b"", 415), (b"[7]", 400), (b"[]", 204)]
)
def test_what_is_no_event(body: bytes, status: int) -> None:
    assert client.answer(client.request("POST", "/events", body))[0] == status


def test_a_webhooks_consent() -> None:
    request = client.request("OPTIONS", "/events", webhook_request_origin="sender.example")
    answer = client.network.consent(request)  # type: ignore[attr-defined]
    assert answer.status == 200
    assert answer.headers["WebHook-Allowed-Origin"] == "sender.example"
    odd = client.request("OPTIONS", "/events", webhook_request_origin="a\r\nb")
    assert "WebHook-Allowed-Origin" not in client.network.consent(odd).headers  # type: ignore[attr-defined]
