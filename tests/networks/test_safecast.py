"""Safecast: one measurement, by a device or by a key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from habitat_like.networks.safecast import Safecast
from tests.networks.decode import NOW, Client

client = Client(Safecast)
MEASUREMENT = {
    "captured_at": "2026-11-20T10:15:30Z",
    "value": "38",
    "unit": "cpm",
    "latitude": "51.98",
    "longitude": "5.11",
}


def post(body: object, query: str = "?api_key=KEY9") -> dict[str, Any]:
    data = body if isinstance(body, str) else json.dumps(body)
    (found,) = client.documents(client.request("POST", f"/measurements.json{query}", data))
    return found


def test_a_geiger_counter() -> None:
    request = client.sample("4-air/safecast")
    (found,) = client.documents(request)
    assert found["type"] == "SENSOR"
    assert found["callsign"] == "65001"
    assert found["time_created"] == 1795169730
    assert found["data"]["values"] == {"value": 38, "unit": "cpm"}
    # It sends its latitude as height, too.
    assert found["data"]["position"] == {"latitude": 51.98, "longitude": 5.11}
    assert found["data"]["missing"] == ["height"]
    assert "q1LKu7RQ" not in json.dumps(found)
    assert client.network.credential(request) == "q1LKu7RQ8s5pmyxunnDW"
    status, body = client.answer(request)
    assert status == 201
    assert isinstance(json.loads(body)["id"], int)


def test_a_repeat_is_the_same_document_and_answer() -> None:
    request = client.sample("4-air/safecast")
    assert client.documents(request)[0]["_id"] == client.documents(request)[0]["_id"]
    assert client.answer(request) == client.answer(request)


@pytest.mark.parametrize("wrapped", [True, False])
def test_numbers_as_text_wrapped_or_not(wrapped: bool) -> None:
    found = post({"measurement": MEASUREMENT} if wrapped else MEASUREMENT)
    assert found["data"]["values"] == {"value": 38, "unit": "cpm"}
    assert found["data"]["position"] == {"latitude": 51.98, "longitude": 5.11}
    assert found["callsign"].startswith("SAFECAST-")
    assert "KEY9" not in json.dumps(found)


def test_a_form() -> None:
    found = post("measurement[value]=38&measurement[unit]=cpm&measurement%5Bdevice_id%5D=7")
    assert found["callsign"] == "7"
    assert found["data"]["values"] == {"value": 38, "unit": "cpm"}
    assert found["time_created"] == NOW


def test_json_under_the_type_of_a_form() -> None:
    body = json.dumps({**MEASUREMENT, "device_id": 7})
    kind = "application/x-www-form-urlencoded"
    request = client.request("POST", "/measurements.json?api_key=K", body, content_type=kind)
    assert client.documents(request)[0]["callsign"] == "7"


@pytest.mark.parametrize("body", ["{", "[]", '{"unit": "cpm"}', '{"value": "x"}', ""])
def test_what_is_no_measurement_is_refused(body: str) -> None:
    status, answer = client.answer(client.request("POST", "/measurements.json?api_key=K", body))
    assert status == 422
    assert "errors" in json.loads(answer)


def test_a_time_that_can_not_be_read_is_kept_and_marked() -> None:
    found = post({**MEASUREMENT, "captured_at": "yesterday"})
    assert found["suspicious"] == "captured_at"
    assert found["data"]["values"]["captured_at"] == "yesterday"


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_key_in_the_body_is_a_key(wrapped: bool) -> None:
    outside: dict[str, Any] = {"api_key": "KEY9"}
    body = {**outside, "measurement": MEASUREMENT} if wrapped else {**outside, **MEASUREMENT}
    request = client.request("POST", "/measurements.json", json.dumps(body))
    (found,) = client.documents(request)
    assert found["callsign"] == post(MEASUREMENT)["callsign"]
    assert found["callsign"].startswith("SAFECAST-")
    assert "KEY9" not in json.dumps(found)
    assert client.network.credential(request) == "KEY9"
