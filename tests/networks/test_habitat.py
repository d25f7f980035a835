"""habitat: the requests of dl-fldigi and of the Python uploader."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from habitat_like.networks.habitat import Habitat
from tests.networks.decode import NOW, Client

client = Client(Habitat)
UPDATE = "/habitat/_design/payload_telemetry/_update"


def add_listener(
    raw: bytes = b"$$X,1*00\n", entry: dict[str, Any] | None = None, **more: Any
) -> tuple[int, bytes]:
    request = listener_request(raw, entry, **more)
    return client.answer(request)


def listener_request(raw: bytes, entry: dict[str, Any] | None = None, **more: Any) -> Any:
    text = base64.b64encode(raw).decode()
    times = {
        "time_created": "2026-11-20T11:15:31+01:00",
        "time_uploaded": "2026-11-20T11:15:35+01:00",
    }
    tree = {"data": {"_raw": text}, "receivers": {"N0CALL": {**times, **(entry or {})}}, **more}
    identity = hashlib.sha256(text.encode()).hexdigest()
    return client.request("PUT", f"{UPDATE}/add_listener/{identity}", json.dumps(tree))


def put(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return client.documents(client.request("PUT", "/habitat/abc", json.dumps(tree)))


TELEMETRY: dict[str, Any] = {
    "type": "listener_telemetry",
    "data": {"callsign": "N0CALL", "latitude": 51.98, "longitude": 5.11},
    "time_created": "2026-11-20T11:00:02+01:00",
    "time_uploaded": "2026-11-20T11:00:02+01:00",
}


def test_ids_for_documents() -> None:
    status, body = client.answer(client.sample("2-habitat/1-uuids"))
    assert status == 200
    found = json.loads(body)["uuids"]
    assert len(set(found)) == 100
    assert all(len(one) == 32 for one in found)


@pytest.mark.parametrize(("count", "expected"), [("", 1), ("x", 1), ("1000", 1000), ("1e9", 1000)])
def test_a_bounded_number_of_ids(count: str, expected: int) -> None:
    _, body = client.answer(client.request("GET", f"/_uuids?count={count}"))
    assert len(json.loads(body)["uuids"]) == expected


@pytest.mark.parametrize("name", ["5-flights", "6-payloads"])
def test_empty_views(name: str) -> None:
    status, body = client.answer(client.sample(f"2-habitat/{name}"))
    assert status == 200
    assert json.loads(body) == {"total_rows": 0, "offset": 0, "rows": []}


def test_listener_information() -> None:
    request = client.sample("2-habitat/2-listener-information")
    (found,) = client.documents(request)
    assert found["type"] == "LISTENER_INFO"
    assert found["callsign"] == "N0CALL"
    assert found["data"] == {
        "name": "A. Tester",
        "location": "Testville",
        "radio": "FT-817",
        "antenna": "Diamond X-50",
    }
    status, body = client.answer(request)
    answer = json.loads(body)
    assert status == 201
    assert answer["id"] == "c7f4a6f1b0e74b0f8a1d5c1f9b6d2e01"
    assert answer["ok"] is True
    assert len(answer["rev"]) == 34


def test_listener_telemetry() -> None:
    (found,) = client.documents(client.sample("2-habitat/3-listener-telemetry"))
    assert found["type"] == "LISTENER_TELEM"
    assert found["data"] == {
        "latitude": 51.98,
        "longitude": 5.11,
        "altitude": 12.0,
        "time": {"hour": 10, "minute": 0, "second": 2},
    }


def test_a_height_that_is_not_sent_is_0() -> None:
    (found,) = put(TELEMETRY)
    assert found["data"]["altitude"] == 0
    assert found["data"]["missing"] == ["altitude"]
    assert "suspicious" not in found


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-23:59", "0001-01-01", "1960-01-01", 1e11])
def test_a_clock_that_can_not_be(time: object) -> None:
    (found,) = put({**TELEMETRY, "time_created": time, "time_uploaded": time})
    assert found["type"] == "LISTENER_TELEM"


def test_a_received_sentence() -> None:
    request = client.sample("2-habitat/4-add-listener")
    (found,) = client.documents(request)
    assert found["type"] == "RECEIVED_TELEM"
    assert found["callsign"] == "N0CALL"
    assert found["time_created"] == NOW  # created when it was uploaded
    assert found["data"] == {
        "string": json.loads(request.body)["data"]["_raw"],
        "frequency": 434650000,
        "mode": "USB",
        "audio_frequency": 1500,
        "reversed": False,
        "latest_listener_information": "c7f4a6f1b0e74b0f8a1d5c1f9b6d2e01",
        "latest_listener_telemetry": "c7f4a6f1b0e74b0f8a1d5c1f9b6d2e02",
    }
    assert client.answer(request) == (201, b"OK")


def test_noise_is_kept_as_it_is() -> None:
    request = client.sample("2-habitat/odd-noise")
    assert client.answer(request)[0] == 201
    assert b"\xd2" in base64.b64decode(client.documents(request)[0]["data"]["string"])


def test_a_clock_at_1970_is_corrected() -> None:
    entry = {"time_created": "1970-01-01T00:01:00Z", "time_uploaded": "1970-01-01T00:01:05Z"}
    (found,) = client.documents(listener_request(b"x", entry))
    assert found["time_created"] == NOW - 5
    assert "suspicious" not in found


def test_a_callsign_may_be_any_text() -> None:
    (found,) = client.documents(client.sample("2-habitat/odd-callsign-text"))
    assert found["callsign"] == "TESTVILLE_SCHOOL_3B_"
    assert found["data"]["uploader"] == "Testville School (3b)"


def test_a_wrong_id_is_refused() -> None:
    status, body = client.answer(client.sample("2-habitat/odd-wrong-id"))
    assert status == 403
    assert json.loads(body)["error"] == "forbidden"


@pytest.mark.parametrize("receivers", [{}, {"A": {}, "B": {}}, {"": {}}, {"A": 7}, [], None, "x"])
def test_exactly_one_receiver(receivers: object) -> None:
    assert add_listener(receivers=receivers)[0] == 403


@pytest.mark.parametrize("frequency", [-1, "x", None, True])
def test_a_frequency_that_is_none_is_left_out(frequency: object) -> None:
    (found,) = client.documents(listener_request(b"x", {"rig_info": {"frequency": frequency}}))
    assert "frequency" not in found["data"]


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "[]", "{}", '{"data": {}}', '{"data": 7}'),
        '{"data": {"callsign": "A"}, "type": "flight"}',
        '{"data": {"callsign": "A"}, "type": "listener_telemetry"}',
    ],
)
def test_other_documents_are_refused(body: str) -> None:
    status, answer = client.answer(client.request("PUT", "/habitat/abc", body))
    assert status == 403
    assert json.loads(answer)["error"] == "forbidden"


def test_the_python_uploaders_other_way() -> None:
    request = client.request("POST", "/habitat", json.dumps({**TELEMETRY, "_id": "u1"}))
    assert len(client.documents(request)) == 1
    assert json.loads(client.answer(request)[1])["id"] == "u1"


def test_rockblock_by_habitats_form() -> None:
    request = client.sample("2-habitat/9-http-post-rockblock")
    (found,) = client.documents(request)
    assert found["type"] == "RECEIVED_TELEM"
    assert found["callsign"] == "ROCKBLOCK"
    assert base64.b64decode(found["data"]["string"]).startswith(b"$$TESTBALLOON")
    assert client.answer(request)[0] == 201


@pytest.mark.parametrize("body", [b"{", b"data=4", b"x", b"", b"[]"])
def test_habitats_form_is_always_a_success(body: bytes) -> None:
    assert client.answer(client.request("POST", f"{UPDATE}/http_post", body))[0] == 201


def test_a_form_that_names_nobody_is_kept() -> None:
    (found,) = client.documents(client.request("POST", f"{UPDATE}/http_post/", b"data=4869"))
    assert found["callsign"] == "HTTP_POST"
    assert base64.b64decode(found["data"]["string"]) == b"Hi"
    (found,) = client.documents(client.request("POST", f"{UPDATE}/http_post", b"level=3&key=4"))
    assert base64.b64decode(found["data"]["string"]) == b"level=3&key=4"
    assert "required fields" in found["suspicious"]


@pytest.mark.parametrize("path", ["/ssdv", "/ssdv/", "/ssdv/data.php"])
def test_a_pictures_address_is_the_owners(path: str) -> None:
    request = client.request("POST", path, "callsign=M0ZDR&encoding=hex&packet=55663a")
    (found,) = client.documents(request)
    assert base64.b64decode(found["data"]["string"]) == b"\x55\x66\x3a"
    assert client.answer(request) == (200, b"OK")


def test_a_packet_of_a_picture() -> None:
    request = client.sample("2-habitat/8-ssdv-packet")
    (found,) = client.documents(request)
    assert found["type"] == "RECEIVED_TELEM"
    assert found["callsign"] == "N0CALL"
    assert base64.b64decode(found["data"]["string"]).startswith(b"\x55\x66\x3a")
    assert found["data"]["fixes"] == 3
    assert client.answer(request) == (200, b"OK")


def test_the_key_of_a_station_in_its_address() -> None:
    request = client.request("PUT", "/habitat/a", "{}", authorization="Basic YTpi")
    assert client.network.credential(request) == "b"
    assert client.network.wrong_key(request).status == 403
