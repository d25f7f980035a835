"""openSenseMap: the forms of a batch, and that the good ones of it are taken."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from habitat_like.networks.opensensemap import MAX_MEASUREMENTS, OpenSenseMap
from tests.networks.decode import NOW, Client

client = Client(OpenSenseMap)
BOX = "5a8d1c25bc2d41001927a265"
ONE, TWO, THREE = (f"5a8d1c25bc2d41001927a26{n}" for n in (6, 7, 8))
THEN = 1795169730


def post(
    body: bytes | str | list[Any] | dict[str, Any], content_type: str = "application/json"
) -> list[dict[str, Any]]:
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.documents(
        client.request("POST", f"/boxes/{BOX}/data", data, content_type=content_type)
    )


def test_an_array_of_one_time_is_one_document() -> None:
    request = client.sample("4-air/osem-json-array")
    (found,) = client.documents(request)
    assert found["callsign"] == BOX.upper()
    assert found["time_created"] == THEN
    assert found["data"]["values"] == {ONE: 4.86, TWO: 88.1}
    assert found["data"]["position"] == {"latitude": 51.98, "longitude": 5.11, "altitude": 12.0}
    assert client.network.credential(request) == "a9c1" * 16
    assert "a9c1a9c1" not in json.dumps(found)
    assert client.answer(request) == (201, b"Measurements saved in box")


def test_an_object_of_several_times() -> None:
    without_time, with_time = client.documents(client.sample("4-air/osem-json-object"))
    assert without_time["time_created"] == NOW
    assert without_time["data"]["values"] == {ONE: 4.86}
    assert without_time["data"]["sensor"] == ONE
    assert with_time["time_created"] == THEN
    assert with_time["data"]["values"] == {TWO: 88.1, THREE: 1013.2}
    assert with_time["data"]["position"] == {"latitude": 51.98, "longitude": 5.11}


def test_one_value_of_one_sensor() -> None:
    request = client.sample("4-air/osem-single")
    (found,) = client.documents(request)
    assert found["data"]["sensor"] == ONE
    assert found["data"]["values"] == {ONE: 4.86}
    assert client.answer(request)[0] == 201


def test_bytes_with_times() -> None:
    (found,) = client.documents(client.sample("4-air/osem-bytes-ts"))
    assert found["time_created"] < NOW
    ((sensor, value),) = found["data"]["values"].items()
    assert len(sensor) == 24
    assert isinstance(value, float)


def test_bytes_without_times() -> None:
    body = bytes.fromhex(ONE) + struct.pack("<f", 4.86) + bytes.fromhex(TWO) + b"\0\0\xc0\x7f"
    (found,) = post(body, "application/sbx-bytes")
    assert found["data"]["values"] == {ONE: 4.86}
    assert found["data"]["missing"] == [TWO]
    assert found["time_created"] == NOW


def test_bytes_behind_the_last_measurement_are_told() -> None:
    body = bytes.fromhex(ONE) + struct.pack("<f", 4.86) + b"xyz"
    request = client.request(
        "POST", f"/boxes/{BOX}/data", body, content_type="Application/sbx-bytes; x=1"
    )
    assert client.network.decode(request).problems[0].text.startswith("body: 3 bytes")
    assert client.answer(request)[0] == 201


def test_csv() -> None:
    now, then, elsewhere = post(
        f"{ONE},4.86\r\n\r\n{TWO},88,2026-11-20T10:15:30Z\n{THREE},7,2026-11-20T10:15:30Z,5.11,51.98\n"
        f"{TWO},9,2026-11-20T10:15:30Z,5.12,51.99,3\n",
        "text/csv",
    )
    assert now["data"]["values"] == {ONE: 4.86}
    assert then["data"]["values"] == {TWO: 88, THREE: 7}
    assert then["data"]["position"] == {"latitude": 51.98, "longitude": 5.11}
    assert elsewhere["data"]["values"] == {TWO: 9}
    assert elsewhere["data"]["position"]["altitude"] == 3


def test_airrohr_in_a_box() -> None:
    (found,) = client.documents(client.sample("4-air/osem-luftdaten"))
    assert found["callsign"] == BOX.upper()
    assert found["data"]["values"]["SDS_P1"] == 7.43


def test_hackair_in_a_box() -> None:
    (found,) = post({"reading": {"PM2.5_AirPollutantValue": "7.4", "PM10_AirPollutantValue": "9"}})
    assert found["data"]["values"]["PM2.5_AirPollutantValue"] == 7.4


def test_a_nan_in_a_batch_is_left_out() -> None:
    request = client.sample("4-air/osem-odd-nan")
    (found,) = client.documents(request)
    assert found["data"]["values"] == {TWO: 88.1}
    assert found["data"]["missing"] == [ONE]
    assert client.answer(request)[0] == 201


def test_a_content_type_in_another_spelling() -> None:
    (found,) = client.documents(client.sample("4-air/osem-odd-charset"))
    assert found["data"]["values"] == {ONE: 4.86}


def test_a_time_that_can_not_be_read_is_kept_and_marked() -> None:
    (found,) = post([{"sensor": ONE, "value": "1", "createdAt": "20.11.2026 10:15:30"}])
    assert found["time_created"] == NOW
    assert found["suspicious"] == "createdAt"
    assert found["data"]["values"]["createdAt"] == "20.11.2026 10:15:30"


def test_a_time_of_another_era_is_marked() -> None:
    (found,) = post([{"sensor": ONE, "value": "1", "createdAt": "2036-02-07T06:28:16Z"}])
    assert found["time_created"] == NOW
    assert "suspicious" in found


def test_places_by_names_and_places_that_are_none() -> None:
    (found,) = post([{"sensor": ONE, "value": 1, "location": {"lng": 5.11, "lat": 51.98}}])
    assert found["data"]["position"] == {"latitude": 51.98, "longitude": 5.11}
    (found,) = post([{"sensor": ONE, "value": 1, "location": [0, 0]}])
    assert "position" not in found["data"]
    assert found["data"]["missing"] == ["position"]
    assert "suspicious" not in found
    (found,) = post([{"sensor": ONE, "value": 1, "location": [5, 91]}])
    assert found["suspicious"] == "position"


def test_the_good_ones_of_a_batch_are_taken() -> None:
    request = client.request(
        "POST", f"/boxes/{BOX}/data", json.dumps([{"sensor": ONE, "value": 1}, 7, {"value": 1}])
    )
    assert len(client.documents(request)) == 1
    assert len(client.network.decode(request).problems) == 2
    assert client.answer(request)[0] == 201


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"[7]", "application/json"),
        (b"", "text/csv"),
        (b"x", "text/csv"),
        (b"\x00\x01", "application/sbx-bytes"),
    ],
)
def test_a_batch_without_a_good_one_is_refused(body: bytes, content_type: str) -> None:
    request = client.request("POST", f"/boxes/{BOX}/data", body, content_type=content_type)
    status, answer = client.answer(request)
    assert status == 422
    assert json.loads(answer)["code"] == "UnprocessableEntity"


def test_too_many_are_refused() -> None:
    body = f"{ONE},1\n" * (MAX_MEASUREMENTS + 1)
    request = client.request("POST", f"/boxes/{BOX}/data", body, content_type="text/csv")
    assert client.answer(request)[0] == 422


def test_a_sensor_twice_at_one_time_loses_nothing() -> None:
    first, second = post([{"sensor": ONE, "value": 1}, {"sensor": ONE, "value": 2}])
    assert first["data"]["values"] == {ONE: 1}
    assert second["data"]["values"] == {ONE: 2}
