"""airRohr: readings as text, sensors without a clock, GPS without a fix."""

from __future__ import annotations

import json

import pytest

from habitat_like.networks.airrohr import AirRohr
from tests.networks.decode import NOW, Client

client = Client(AirRohr)


def test_own_api() -> None:
    request = client.sample("4-air/airrohr-custom")
    (found,) = client.documents(request)
    assert found["type"] == "SENSOR"
    assert found["callsign"] == "ESP8266-1234567"
    assert found["time_created"] == found["time_uploaded"] == NOW
    assert found["data"]["values"] == {
        "software_version": "NRZ-2024-135",
        "SDS_P1": 7.43,
        "SDS_P2": 3.1,
        "BME280_temperature": 4.86,
        "BME280_pressure": 101234.56,
        "BME280_humidity": 88.13,
        "samples": 5062434,
        "min_micro": 27,
        "max_micro": 20125,
        "interval": 145000,
        "signal": -67,
    }
    assert "suspicious" not in found
    assert "a4cf12" not in json.dumps(found)  # the MAC address
    assert client.network.credential(request) == "secret"
    assert client.answer(request)[0] == 200


def test_sensor_community_tells_the_sensor_by_its_pin() -> None:
    request = client.sample("4-air/airrohr-sensor-community")
    (found,) = client.documents(request)
    assert found["data"]["sensor"] == "1"
    assert found["data"]["values"]["P1"] == 7.43
    assert client.answer(request)[0] == 201


def test_no_fix_is_no_position() -> None:
    (found,) = client.documents(client.sample("4-air/airrohr-odd-nogps"))
    assert found["data"]["missing"] == ["SDS_P1", "DNMS_noise_LAeq", "position"]
    assert found["data"]["values"] == {"software_version": "NRZ-2024-135", "signal": -67}
    assert "position" not in found["data"]
    assert "suspicious" not in found


@pytest.mark.parametrize(("prefix", "headers"), [("GPS_", {}), ("", {"x_pin": "9"})])
def test_a_fix_is_a_position(prefix: str, headers: dict[str, str]) -> None:
    pairs = {"lat": "51.98", "lon": "5.11", "height": "12.5", "timestamp": "2026-11-20T10:15:00Z"}
    body = {
        "esp8266id": "7",
        "sensordatavalues": [{"value_type": prefix + k, "value": v} for k, v in pairs.items()],
    }
    (found,) = client.documents(client.request("POST", "/airrohr", json.dumps(body), **headers))
    assert found["data"]["position"] == {"latitude": 51.98, "longitude": 5.11, "altitude": 12.5}
    assert found["data"]["values"]["GPS_timestamp"] == "2026-11-20T10:15:00Z"


def test_temperatures_of_other_sensors_are_no_position() -> None:
    body = '{"esp8266id": "7", "sensordatavalues": [{"value_type": "height", "value": "1"}]}'
    (found,) = client.documents(client.request("POST", "/airrohr", body))
    assert found["data"]["values"] == {"height": 1}


@pytest.mark.parametrize(
    ("body", "callsign"),
    [
        ('{"esp32id": 4711, "sensordatavalues": []}', "ESP32-4711"),
        ('{"esp8266id": "4711", "sensordatavalues": []}', "ESP8266-4711"),
    ],
)
def test_the_chip_is_told_by_the_body_where_no_header_does(body: str, callsign: str) -> None:
    (found,) = client.documents(client.request("POST", "/airrohr", body))
    assert found["callsign"] == callsign


def test_a_node_whose_sensors_all_fail_lives() -> None:
    body = (
        '{"software_version": "N", "sensordatavalues": [{"value_type": "signal", "value": "-1"}]}'
    )
    request = client.request("POST", "/airrohr", body, x_sensor="esp8266-1")
    assert client.documents(request)[0]["data"]["values"] == {"software_version": "N", "signal": -1}
    assert client.answer(request)[0] == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff"])
def test_what_can_not_be_read_is_kept_of_a_known_sensor_and_refused_of_others(body: bytes) -> None:
    request = client.request("POST", "/airrohr", body, x_sensor="esp8266-1")
    (found,) = client.documents(request)
    assert found["suspicious"].startswith("body: ")
    assert client.answer(request)[0] == 200
    assert client.answer(client.request("POST", "/airrohr", body))[0] == 400


def test_without_a_chip_it_is_refused() -> None:
    status, body = client.answer(client.request("POST", "/airrohr", '{"sensordatavalues": []}'))
    assert status == 400
    assert b"whose is it" in body


@pytest.mark.parametrize("pairs", ['"x"', "[7]", '[{"value": 1}]', "null"])
def test_broken_readings_are_marked(pairs: str) -> None:
    body = f'{{"esp8266id": "7", "sensordatavalues": {pairs}}}'
    (found,) = client.documents(client.request("POST", "/airrohr", body))
    assert found["suspicious"] == "sensordatavalues"
