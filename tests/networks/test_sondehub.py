"""SondeHub: what its clients send becomes telemetry, and what is odd is taken or marked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from habitat_like.networks.observation import BadRequest
from habitat_like.networks.sondehub import SondeHub
from tests.networks.decode import NOW, Client

client = Client(SondeHub)

PACKET: dict[str, Any] = {
    "software_name": "x",
    "software_version": "1.10",
    "uploader_callsign": "M0ZDR",
    "payload_callsign": "BALLOON",
    "time_received": "2026-11-20T10:15:31Z",
    "datetime": "2026-11-20T10:15:29Z",
    "lat": 52.1,
    "lon": 4.9,
    "alt": 1200,
}
SONDE = {**PACKET, "serial": "X1234567", "type": "RS41"}


def send(*items: object, path: str = "/amateur/telemetry", **headers: str) -> list[dict[str, Any]]:
    return client.documents(client.request("PUT", path, json.dumps(items), **headers))


def test_amateur_packets() -> None:
    request = client.sample("1-sondehub/amateur-telemetry-gzip")
    first, second = client.documents(request)
    assert first["type"] == "AMATEUR_TELEM"
    assert first["data"]["network"] == "sondehub"
    assert first["data"]["position"].keys() == {"latitude", "longitude", "altitude"}
    assert "suspicious" not in first
    # The Date header tells how far off the station's clock is.
    assert first["time_uploaded"] == NOW
    assert NOW - 60 < first["time_created"] < NOW
    assert first["_id"] != second["_id"]
    assert client.answer(request) == (200, b"^v^ telm logged")


def test_a_sentence_as_raw_is_kept_in_bytes() -> None:
    (found,) = client.documents(client.sample("1-sondehub/amateur-telemetry-lora-gateway"))
    data = found["data"]
    assert found["callsign"] == "N0CALL"
    assert data["payload"] == "TESTBALLOON"
    assert data["position"] == {"latitude": 52.12345, "longitude": 4.98765, "altitude": 12345}
    assert data["uploader_position"] == {"latitude": 51.98, "longitude": 5.11, "altitude": 12}
    assert data["values"]["temp"] == 24.0
    assert data["values"]["datetime"] == "2026-11-20T10:15:29Z"
    assert data["raw"].startswith("JCRURVNUQkFMTE9P")  # $$TESTBALLOO
    assert found["time_created"] == 1795169731  # time_received: there is no Date to correct it by


def test_a_packet_as_raw_is_kept_in_bytes() -> None:
    (found,) = send({**PACKET, "raw": "00ff10203040"})
    assert found["data"]["raw"] == "AP8QIDBA"


def test_radiosondes_are_not_too_early_by_gps_time() -> None:
    found = client.documents(client.sample("1-sondehub/sondes-telemetry-gzip"))
    assert [one["type"] for one in found] == ["SONDE_TELEM"] * 3
    assert {one["data"]["payload"] for one in found} == {"X1234567"}
    assert not any("suspicious" in one for one in found)


def test_a_bare_inf_costs_its_value_alone() -> None:
    request = client.sample("1-sondehub/odd-inf-token")
    found = client.documents(request)
    assert len(found) == 3
    assert all(one["data"]["missing"] == ["humidity"] for one in found)
    assert all(one["data"]["values"]["temp"] == -54.6 for one in found)
    assert client.answer(request)[0] == 200


def test_local_time_is_suspicious() -> None:
    (found,) = client.documents(client.sample("1-sondehub/odd-local-time"))
    assert found["suspicious"] == "datetime"


def test_one_object_is_a_list_of_one() -> None:
    request = client.sample("1-sondehub/odd-dict-not-list")
    assert len(client.documents(request)) == 1
    assert client.answer(request)[0] == 200


def test_an_unreadable_date_is_ignored() -> None:
    (found,) = client.documents(client.sample("1-sondehub/odd-sdrangel-date"))
    assert found["time_created"] == 1795174205


@pytest.mark.parametrize("position", [None, [None, None, None], [], "x"])
def test_a_station_that_tells_no_place_is_taken(position: object) -> None:
    (found,) = send({**PACKET, "uploader_position": position})
    assert "uploader_position" not in found["data"]
    assert found["data"]["missing"] == ["uploader_position"]
    assert "suspicious" not in found


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'[{"sats":,"lat":1}]', "not valid JSON"),
        (b"\x1f\x8b\x08", "not valid JSON"),
        (b"", "empty"),
        (b'"x"', "expecting a list"),
    ],
)
def test_no_json_is_refused(body: bytes, reason: str) -> None:
    request = client.request("PUT", "/sondes/telemetry", body)
    with pytest.raises(BadRequest, match=reason):
        client.network.decode(request)
    assert client.answer(request)[0] == 400


def test_good_and_bad_in_one_batch() -> None:
    without = {key: value for key, value in PACKET.items() if key != "alt"}
    items = [PACKET, {**PACKET, "lat": "52.1"}, without, 7]
    request = client.request("PUT", "/amateur/telemetry", json.dumps(items))
    assert len(client.documents(request)) == 1
    status, body = client.answer(request)
    assert status == 202
    answer = json.loads(body)
    assert [one["error_message"] for one in answer["errors"]] == [
        "lat: must be a number",
        "alt: required field is missing",
        "must be an object",
    ]
    assert answer["errors"][1]["payload"] == without
    assert answer["warnings"] == []


def test_a_large_item_is_not_sent_back() -> None:
    request = client.request(
        "PUT", "/amateur/telemetry", json.dumps([PACKET, {"x": "y" * 5000}] * 500)
    )
    status, body = client.answer(request)
    assert status == 202
    assert len(body) < 20000


def test_a_batch_without_a_good_item_is_no_success_of_all() -> None:
    request = client.request("PUT", "/sondes/telemetry", json.dumps([PACKET]))
    status, body = client.answer(request)
    assert status == 202
    assert json.loads(body)["errors"][0]["error_message"] == "serial: required field is missing"


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        ({"lat": 0, "lon": 0}, "position"),
        ({"lat": None}, "position"),
        ({"alt": 0}, "altitude"),
        ({"alt": 60000}, "altitude"),
        ({"sats": 3}, "sats"),
        ({"heading": 361}, "heading"),
        ({"humidity": -1}, "humidity"),
        ({"datetime": "2026-11-17T10:15:29Z"}, "datetime"),
        ({"datetime": "soon"}, "datetime"),
        ({"dev": True}, "dev"),
    ],
)
def test_what_can_not_be_right_is_marked_and_taken(change: dict[str, Any], mark: str) -> None:
    (found,) = send({**SONDE, **change}, path="/sondes/telemetry")
    assert found["suspicious"] == mark


def test_historical_data_may_be_old() -> None:
    (found,) = send({**PACKET, "datetime": "2026-11-01T10:15:29Z", "historical": True})
    assert "suspicious" not in found


def test_versions_and_hexadecimal_digits_stay_text() -> None:
    (found,) = send({**SONDE, "xdata": "05010203"}, path="/sondes/telemetry")
    assert found["data"]["values"]["xdata"] == "05010203"
    assert found["data"]["values"]["software_version"] == "1.10"


def test_a_mail_address_is_not_kept() -> None:
    (found,) = send({**PACKET, "uploader_contact_email": "me@example.org"})
    assert "example.org" not in json.dumps(found)


# -- listeners


def test_a_mobile_listener_is_two_documents() -> None:
    request = client.sample("1-sondehub/amateur-listeners-mobile")
    info, telemetry = client.documents(request)
    assert info["type"] == "LISTENER_INFO"
    assert info["callsign"] == "N0CALL-9"
    assert info["data"] == {"antenna": "Chase Car"}
    assert telemetry["type"] == "LISTENER_TELEM"
    assert telemetry["data"] == {
        "latitude": 52.0021,
        "longitude": 5.1377,
        "altitude": 3.4,
        "time": {"hour": 10, "minute": 15, "second": 40},
    }
    assert telemetry["time_created"] == NOW
    assert client.answer(request)[0] == 200


def test_a_listener_without_a_place_is_one_document() -> None:
    (info,) = client.documents(client.sample("1-sondehub/odd-listeners-null"))
    assert info["type"] == "LISTENER_INFO"
    assert info["callsign"] == "ZO_S_STATION"
    assert info["data"]["uploader"] == "Zoë's station"
    assert "suspicious" not in info


@pytest.mark.parametrize("path", ["/listeners/", "/amateur/listeners/"])
def test_a_slash_at_the_end_changes_nothing(path: str) -> None:
    listener = {"software_name": "x", "uploader_callsign": "M0ZDR", "uploader_radio": "SX1278"}
    request = client.request("PUT", path, json.dumps(listener))
    (found,) = client.documents(request)
    assert (found["type"], found["data"]) == ("LISTENER_INFO", {"radio": "SX1278"})
    assert client.answer(client.request("PUT", path, "{}"))[0] == 400


def test_a_listener_without_a_name_is_refused() -> None:
    request = client.request("PUT", "/listeners", b'{"software_name": "x"}')
    status, body = client.answer(request)
    assert status == 400
    assert body == b"uploader_callsign: required field is missing\n"


def test_overload_is_500_for_clients_that_know_no_other() -> None:
    assert client.network.overload("the backlog is full", 30).status == 500
