"""LoRaWAN servers: an uplink of a device with all its gateways, and events that are no uplinks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from habitat_like.networks.base import Network
from habitat_like.networks.chirpstack import ChirpStack
from habitat_like.networks.helium import Helium
from habitat_like.networks.ttn import TheThingsStack
from tests.networks.decode import Client

ttn, chirpstack, helium = Client(TheThingsStack), Client(ChirpStack), Client(Helium)


def changed(client: Client, name: str, change: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents of a sample with other top-level keys; None takes one away."""
    request = client.sample(name)
    tree = {**json.loads(request.body), **change}
    body = json.dumps({key: value for key, value in tree.items() if value is not None})
    target = request.target
    return client.documents(client.request("POST", target, body))


# -- The Things Stack


def test_an_uplink_of_the_things_stack() -> None:
    request = ttn.sample("5-lorawan/tts-uplink")
    (found,) = ttn.documents(request)
    assert found["type"] == "UPLINK"
    assert found["callsign"] == "70B3D57ED0000001"
    assert found["time_created"] == 1795169731
    data = found["data"]
    assert data["payload"] == "field-07"
    assert data["raw"] == "AMgBXw=="
    assert data["values"] == {
        "f_port": 2,
        "f_cnt": 34,
        "frequency": 867300000,
        "bandwidth": 125000,
        "spreading_factor": 10,
        "coding_rate": "4/5",
        "consumed_airtime": 0.370688,
        "temperature": 4.8,
        "humidity": 88,
    }
    assert data["position"] == {"latitude": 51.98, "longitude": 5.11, "altitude": 3}
    assert data["gateways"] == [
        {
            "id": "eui-00800000a0000001",
            "rssi": -113,
            "snr": -9,
            "position": {"latitude": 51.97, "longitude": 5.12, "altitude": 15},
        },
        {"id": "roof-2", "rssi": -120, "snr": -12.5, "network": "000013"},
    ]
    assert "suspicious" not in found
    assert ttn.network.credential(request) == "abc.def"
    assert ttn.answer(request)[0] == 200


@pytest.mark.parametrize("secret", ["NNSXS", "CiIKIAoU", "AYsbay8a", "01JD3E0000", "abc.def"])
def test_tokens_and_keys_are_not_kept(secret: str) -> None:
    for name in ("tts-uplink", "tts-join"):
        assert secret not in json.dumps(ttn.documents(ttn.sample(f"5-lorawan/{name}")))


def test_the_same_uplink_again_is_the_same_document() -> None:
    again = {"correlation_ids": ["other"]}
    (first,) = ttn.documents(ttn.sample("5-lorawan/tts-uplink"))
    (second,) = changed(ttn, "5-lorawan/tts-uplink", again)
    (later,) = changed(ttn, "5-lorawan/tts-uplink", {"received_at": "2026-11-20T10:15:31.2Z"})
    assert first["_id"] == second["_id"] != later["_id"]


def test_a_join_is_an_event() -> None:
    request = ttn.sample("5-lorawan/tts-join")
    (found,) = ttn.documents(request)
    assert found["type"] == "EVENT"
    assert found["data"]["values"]["event"] == "join_accept"
    assert ttn.answer(request)[0] == 200


@pytest.mark.parametrize(
    "kind", ["downlink_ack", "downlink_failed", "location_solved", "service_data", "not_known_yet"]
)
def test_other_events_are_events(kind: str) -> None:
    inner = {"session_key_id": "S1", "f_port": 1, "app_s_key": {"key": "K1"}}
    (found,) = changed(ttn, "5-lorawan/tts-join", {"join_accept": None, kind: inner})
    assert found["type"] == "EVENT"
    assert found["data"]["values"] == {"event": kind, "f_port": 1}


def test_masked_ids_are_refused_unless_the_path_tells() -> None:
    request = ttn.sample("5-lorawan/tts-odd-filtered")
    assert ttn.answer(request)[0] == 400
    request = ttn.request("POST", "/ttn/up/field-07", request.body)
    (found,) = ttn.documents(request)
    assert found["callsign"] == "FIELD-07"
    assert found["data"]["raw"] == "ICw="


def test_an_event_of_nobody_is_a_success() -> None:
    request = ttn.request("POST", "/ttn/join", '{"join_accept": {}}')
    assert ttn.documents(request) == []
    assert ttn.answer(request)[0] == 200


def test_what_is_zero_is_not_sent_and_is_zero() -> None:
    tree = json.loads(ttn.sample("5-lorawan/tts-uplink").body)
    for key in ("f_cnt", "f_port", "decoded_payload"):
        del tree["uplink_message"][key]
    (found,) = ttn.documents(ttn.request("POST", "/ttn/up", json.dumps(tree)))
    assert found["data"]["values"]["f_cnt"] == found["data"]["values"]["f_port"] == 0


def test_a_simulated_uplink_is_suspicious() -> None:
    (found,) = changed(ttn, "5-lorawan/tts-uplink", {"simulated": True})
    assert found["suspicious"] == "simulated"


@pytest.mark.parametrize(
    ("decoded", "position"),
    [
        ({"latitude": 51.9, "longitude": 5.1}, {"latitude": 51.9, "longitude": 5.1}),
        (
            {"lat": "51.9", "lng": "5.1", "alt": 7},
            {"latitude": 51.9, "longitude": 5.1, "altitude": 7},
        ),
        (
            {"gps_1": {"latitude": 51.9, "longitude": 5.1, "altitude": 7}},
            {"latitude": 51.9, "longitude": 5.1, "altitude": 7},
        ),
        ({"latitude": 0, "longitude": 0}, None),
        ({"temperature": 5}, None),
    ],
)
def test_a_tracker_tells_its_place(decoded: dict[str, Any], position: object) -> None:
    tree = json.loads(ttn.sample("5-lorawan/tts-uplink").body)
    del tree["uplink_message"]["locations"]
    tree["uplink_message"]["decoded_payload"] = decoded
    (found,) = ttn.documents(ttn.request("POST", "/ttn/up", json.dumps(tree)))
    assert found["data"].get("position") == position
    assert "suspicious" not in found


@pytest.mark.parametrize(
    ("client", "target"), [(ttn, "/ttn/up"), (chirpstack, "/chirpstack?event=up")]
)
def test_protobuf_is_refused_with_a_hint(client: Client, target: str) -> None:
    request = client.request("POST", target, b"\n\x05x", content_type="application/octet-stream")
    status, body = client.answer(request)
    assert status == 415
    assert b"JSON" in body


def test_one_callsign_for_an_application() -> None:
    client = Client(TheThingsStack, callsign="application")
    (found,) = client.documents(client.sample("5-lorawan/tts-uplink"))
    assert found["callsign"] == "STATIONS"
    assert found["data"]["payload"] == "field-07"


# -- ChirpStack


def test_an_uplink_of_chirpstack() -> None:
    request = chirpstack.sample("5-lorawan/chirpstack-up")
    (found,) = chirpstack.documents(request)
    assert found["type"] == "UPLINK"
    assert found["callsign"] == "0101010101010101"
    assert found["time_created"] == 1795169731
    data = found["data"]
    assert data["payload"] == "Field 07"
    assert data["raw"] == "AMgBXw=="
    assert data["values"]["temperature"] == 4.8
    assert data["values"]["fCnt"] == 4
    assert data["values"]["frequency"] == 867100000
    assert data["values"]["spreadingFactor"] == 11
    assert data["gateways"] == [
        {
            "id": "0016c001f1000001",
            "rssi": -36,
            "snr": 10.5,
            "position": {"latitude": 51.97, "longitude": 5.12, "altitude": 15},
        }
    ]
    assert chirpstack.network.credential(request) == "abc"
    assert chirpstack.answer(request)[0] == 200


def test_an_address_of_digits_is_no_number() -> None:
    uplink = {"deviceInfo": {"devEui": "0101010101010101"}, "devAddr": "01234e56", "rxInfo": []}
    request = chirpstack.request("POST", "/chirpstack?event=up", json.dumps(uplink))
    assert chirpstack.documents(request)[0]["data"]["values"]["devAddr"] == "01234e56"


def test_zeroes_are_left_out_by_chirpstack() -> None:
    (found,) = chirpstack.documents(chirpstack.sample("5-lorawan/chirpstack-odd-zeroes"))
    assert found["data"]["values"]["fCnt"] == 0
    assert found["data"]["raw"] == ""


@pytest.mark.parametrize("kind", ["join", "status", "log", "ack", "txack", "integration"])
def test_events_of_chirpstack(kind: str) -> None:
    body = {
        "deviceInfo": {"devEui": "01", "deviceName": "x"},
        "time": "2026-11-20T10:15:31Z",
        "margin": 10,
        "rxInfo": [],
    }
    request = chirpstack.request("POST", f"/chirpstack?event={kind}", json.dumps(body))
    (found,) = chirpstack.documents(request)
    assert found["type"] == "EVENT"
    assert found["data"]["values"] == {"event": kind, "margin": 10}


def test_a_location_of_chirpstack_is_an_event_with_a_position() -> None:
    body = {"deviceInfo": {"devEui": "01"}, "location": {"latitude": 51.9, "longitude": 5.1}}
    request = chirpstack.request("POST", "/chirpstack?event=location", json.dumps(body))
    (found,) = chirpstack.documents(request)
    assert found["data"]["position"] == {"latitude": 51.9, "longitude": 5.1}


# -- Helium


def test_the_old_console_of_helium() -> None:
    request = helium.sample("5-lorawan/helium-legacy")
    (found,) = helium.documents(request)
    assert found["type"] == "UPLINK"
    assert found["callsign"] == "6081F90000000002"
    assert found["time_created"] == 1795169730
    data = found["data"]
    assert data["payload"] == "field-07"
    assert data["position"] == {"latitude": 51.98, "longitude": 5.11, "altitude": 12}
    assert data["values"]["battery"] == 4.08
    assert data["gateways"][0]["name"] == "tall-crimson-cougar"
    assert data["gateways"][0]["frequency"] == 868.1
    assert helium.answer(request)[0] == 200


def test_helium_by_chirpstack() -> None:
    body = chirpstack.sample("5-lorawan/chirpstack-up").body
    (found,) = helium.documents(helium.request("POST", "/helium?event=up", body))
    assert found["data"]["network"] == "helium"
    assert found["data"]["values"]["temperature"] == 4.8


def test_a_join_at_helium_is_an_event() -> None:
    (found,) = changed(helium, "5-lorawan/helium-legacy", {"type": "join"})
    assert found["type"] == "EVENT"


# -- all


@pytest.mark.parametrize(
    ("network", "target"),
    [(TheThingsStack, "/ttn/up"), (ChirpStack, "/chirpstack"), (Helium, "/helium")],
)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"7"])
def test_without_a_device_it_is_refused(network: type[Network], target: str, body: bytes) -> None:
    client = Client(network)
    assert client.answer(client.request("POST", target, body))[0] == 400
