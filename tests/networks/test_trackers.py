"""OwnTracks, OsmAnd and RockBLOCK: whatever they send is a success, or it blocks all behind it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from habitat_like.networks.osmand import OsmAnd
from habitat_like.networks.owntracks import OwnTracks
from habitat_like.networks.rockblock import RockBlock
from tests.networks.decode import NOW, Client

owntracks, osmand, rockblock = Client(OwnTracks), Client(OsmAnd), Client(RockBlock)
THEN = 1795169730
PLACE = {"latitude": 51.98, "longitude": 5.11, "altitude": 12.5}


# -- OwnTracks


def pub(item: object, target: str = "/pub?u=car&d=van7") -> dict[str, Any]:
    (found,) = owntracks.documents(owntracks.request("POST", target, json.dumps(item)))
    return found


def test_a_location() -> None:
    request = owntracks.sample("6-trackers/owntracks-location")
    (found,) = owntracks.documents(request)
    assert found["type"] == "POSITION"
    assert found["callsign"] == "CAR"
    assert found["time_created"] == THEN
    assert found["data"]["payload"] == "van7"
    assert found["data"]["position"] == {"latitude": 51.98, "longitude": 5.11, "altitude": 12}
    assert found["data"]["values"]["batt"] == 71
    assert found["data"]["values"]["inregions.0"] == "Base"
    assert "BSSID" not in found["data"]["values"]
    assert "suspicious" not in found
    assert owntracks.network.credential(request) == "secret"
    assert owntracks.answer(request) == (200, b"[]")


def test_a_transition_is_an_event() -> None:
    request = owntracks.sample("6-trackers/owntracks-transition")
    (found,) = owntracks.documents(request)
    assert found["type"] == "EVENT"
    assert found["data"]["values"]["_type"] == "transition"
    assert found["data"]["values"]["event"] == "leave"
    assert found["time_created"] == 1795169799
    assert owntracks.answer(request) == (200, b"[]")


def test_what_is_encrypted_is_kept_as_it_is() -> None:
    request = owntracks.sample("6-trackers/owntracks-odd-encrypted")
    (found,) = owntracks.documents(request)
    assert found["callsign"] == "CAR"
    assert found["data"]["raw"] == "c3VwZXJzZWNyZXQ="
    assert owntracks.answer(request) == (200, b"[]")


def test_home_made_clients() -> None:
    (found,) = owntracks.documents(owntracks.sample("6-trackers/owntracks-odd-no-tst"))
    assert found["callsign"] == "CAR"
    assert found["time_created"] == NOW
    assert found["data"]["position"] == {"latitude": 51.98, "longitude": 5.11}
    assert found["data"]["values"]["batt"] == 71


@pytest.mark.parametrize(
    ("target", "item", "callsign", "device"),
    [
        ("/pub", {"topic": "owntracks/car/van7"}, "CAR", "van7"),
        ("/pub?u=car&d=van7", {"tid": "C7"}, "CAR", "van7"),
        ("/pub", {"tid": "C7"}, "C7", "C7"),
    ],
)
def test_who_it_is(target: str, item: dict[str, Any], callsign: str, device: str) -> None:
    found = pub({"_type": "location", "lat": 51.9, "lon": 5.1, "tst": THEN, **item}, target)
    assert (found["callsign"], found["data"]["payload"]) == (callsign, device)


def test_an_empty_body_is_nothing() -> None:
    request = owntracks.request("POST", "/pub", b"")
    assert owntracks.documents(request) == []
    assert owntracks.answer(request) == (200, b"[]")


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b'"x"', b"7"])
def test_what_can_not_be_read_is_kept_and_a_success(body: bytes) -> None:
    request = owntracks.request("POST", "/pub?u=car", body)
    (found,) = owntracks.documents(request)
    assert found["suspicious"].startswith("body: ")
    assert base64.b64decode(found["data"]["raw"]) == body
    assert owntracks.answer(request) == (200, b"[]")


def test_passwords_in_a_dump_are_not_kept() -> None:
    found = pub({"_type": "dump", "configuration": {"password": "P1", "encryptionKey": "P2"}})
    assert found["data"]["values"] == {"_type": "dump"}


@pytest.mark.parametrize("place", [{}, {"lat": 0, "lon": 0}, {"lat": 91, "lon": 5}])
def test_a_location_without_a_place_is_suspicious(place: dict[str, Any]) -> None:
    assert pub({"_type": "location", "tst": THEN, **place})["suspicious"] == "position"


# -- OsmAnd and Traccar


def get(query: str) -> dict[str, Any]:
    (found,) = osmand.documents(osmand.request("GET", f"/osmand?{query}"))
    return found


@pytest.mark.parametrize("name", ["traccar-client-7", "osmand"])
def test_a_position_by_query(name: str) -> None:
    request = osmand.sample(f"6-trackers/{name}")
    (found,) = osmand.documents(request)
    assert found["type"] == "POSITION"
    assert found["callsign"] in ("481516", "HIKER7")
    assert found["time_created"] == THEN
    assert found["data"]["position"] == PLACE
    assert "speed" in found["data"]["values"]
    assert "suspicious" not in found
    assert osmand.answer(request) == (200, b"")


@pytest.mark.parametrize(
    "query",
    [
        "id=x&lat=51,98&lon=5,11&altitude=12.5&timestamp=2026-11-20+10:15:30",
        "deviceid=x&location=51.98,5.11&altitude=12,5&timestamp=2026-11-20T10:15:30Z",
        "id=x&lat=51.98&lon=5.11&altitude=12.5&timestamp=1795169730000",
        "id=x&lat=51.98&lon=5.11&altitude=12.5&timestamp=2026-11-20T11:15:30+01:00",
    ],
)
def test_numbers_and_times_in_any_form(query: str) -> None:
    found = get(query)
    assert found["data"]["position"] == PLACE
    assert found["time_created"] == THEN


def test_an_unfilled_place_holder_is_no_reading() -> None:
    found = get(
        "id=x&lat=51.98&lon=5.11&batt=%BATT&speed=NaN&altitude=&charge=%&timestamp=1795169730"
    )
    assert sorted(found["data"]["missing"]) == ["altitude", "batt", "charge", "speed"]
    assert found["data"]["values"] == {}


@pytest.mark.parametrize("query", ["id=x&lat=0&lon=0", "id=x&lat=nan&lon=5", "id=x&lat=51", "id=x"])
def test_no_place_is_suspicious(query: str) -> None:
    assert get(query)["suspicious"] == "position"


def test_a_time_that_can_not_be_read_is_kept_and_marked() -> None:
    found = get("id=x&lat=51.98&lon=5.11&timestamp=soon")
    assert found["suspicious"] == "timestamp"
    assert found["data"]["values"]["timestamp"] == "soon"
    assert found["time_created"] == NOW


def test_traccar_client_9() -> None:
    location = {
        "timestamp": "2026-11-20T10:15:30.000Z",
        "coords": {
            "latitude": 51.98,
            "longitude": 5.11,
            "accuracy": 5,
            "speed": -1,
            "heading": 81.5,
            "altitude": 12.5,
        },
        "event": "motionchange",
        "is_moving": True,
        "odometer": 1234.5,
        "battery": {"level": 0.71, "is_charging": False},
        "activity": {"type": "still"},
        "extras": {},
    }
    body = json.dumps({"location": location, "device_id": "481516"})
    request = osmand.request("POST", "/osmand", body, content_type="application/json")
    (found,) = osmand.documents(request)
    assert found["callsign"] == "481516"
    assert found["time_created"] == THEN
    assert found["data"]["position"] == PLACE
    assert found["data"]["missing"] == ["coords.speed"]
    assert found["data"]["values"] == {
        "event": "motionchange",
        "is_moving": True,
        "odometer": 1234.5,
        "battery.level": 0.71,
        "battery.is_charging": False,
        "activity.type": "still",
        "coords.accuracy": 5,
        "coords.heading": 81.5,
    }
    assert osmand.answer(request) == (200, b"")
    batch = json.dumps({"location": [location, location, 7], "device_id": "481516"})
    request = osmand.request("POST", "/osmand", batch)
    assert len(osmand.documents(request)) == 2
    assert osmand.answer(request) == (200, b"")


@pytest.mark.parametrize("body", [b"{", b"[[[", b"{}", b"[]", b"[7]", b"x", b"x=1", b"\xff\xfe"])
def test_whatever_is_sent_is_a_success(body: bytes) -> None:
    request = osmand.request("POST", "/osmand?id=x", body)
    assert osmand.answer(request) == (200, b"")


def test_nothing_is_nothing() -> None:
    request = osmand.request("GET", "/osmand")
    assert osmand.documents(request) == []
    assert osmand.answer(request) == (200, b"")


# -- RockBLOCK


def deliver(fields: str | dict[str, Any], target: str = "/rockblock") -> dict[str, Any]:
    body = fields if isinstance(fields, str) else json.dumps(fields)
    (found,) = rockblock.documents(rockblock.request("POST", target, body))
    return found


@pytest.mark.parametrize("name", ["rockblock-form", "rockblock-json"])
def test_a_message_of_a_modem(name: str) -> None:
    request = rockblock.sample(f"6-trackers/{name}")
    (found,) = rockblock.documents(request)
    assert found["type"] == "RECEIVED_TELEM"
    assert found["callsign"] == "300234010000000"
    assert found["time_created"] == 1795169731
    data = found["data"]
    assert data["string"] == "SGVsbG8="
    assert data["imei"] == "300234010000000"
    assert (data["iridium_latitude"], data["iridium_longitude"]) == (51.9634, 5.0877)
    assert data["iridium_cep"] == 7.0
    assert data["serial"] == 16949
    assert "eyJhbGci" not in json.dumps(found)
    assert "suspicious" not in found
    assert rockblock.answer(request) == (200, b"OK")


def test_a_repeat_with_another_jwt_is_the_same_document() -> None:
    fields = "imei=1&momsn=5&transmit_time=26-11-20+10:15:31&data=00&JWT="
    assert deliver(f"{fields}a")["_id"] == deliver(f"{fields}b")["_id"]
    assert deliver(f"{fields}a")["_id"] != deliver(fields.replace("momsn=5", "momsn=6"))["_id"]


def test_an_odd_digit_is_kept_as_text_and_suspicious() -> None:
    request = rockblock.sample("6-trackers/rockblock-odd-hex")
    (found,) = rockblock.documents(request)
    assert base64.b64decode(found["data"]["string"]) == b"48656c6c6"
    assert found["suspicious"] == "data: not hexadecimal"
    assert rockblock.answer(request)[0] == 200


def test_no_data_is_an_empty_string() -> None:
    found = deliver("imei=1&momsn=5&transmit_time=26-11-20+10:15:31&data=")
    assert found["data"]["string"] == ""
    assert "suspicious" not in found


def test_no_estimate_is_no_position() -> None:
    found = deliver("imei=1&iridium_latitude=0.0&iridium_longitude=0.0&iridium_cep=0&data=00")
    assert "iridium_latitude" not in found["data"]
    assert "suspicious" not in found


def test_iso_time() -> None:
    assert deliver({"imei": "1", "transmit_time": "2026-11-20T10:15:30Z", "data": "00"})[
        "time_created"
    ] == (THEN)


def test_a_callsign_in_the_address() -> None:
    found = deliver("imei=1&data=00", "/rockblock?from=M0ZDR")
    assert found["callsign"] == "M0ZDR"
    assert found["data"]["imei"] == "1"


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff", b"{}", b"a=1", b""])
def test_whatever_is_delivered_is_a_success(body: bytes) -> None:
    request = rockblock.request("POST", "/rockblock", body)
    assert rockblock.answer(request) == (200, b"OK")


def test_json_under_the_type_of_a_form() -> None:
    body = '{"imei": "1", "data": "00", "serial": 5}'
    kind = "application/x-www-form-urlencoded"
    (found,) = rockblock.documents(rockblock.request("POST", "/rockblock", body, content_type=kind))
    assert found["data"]["serial"] == 5


def test_a_signature_in_a_body_that_is_cut_off_is_not_kept() -> None:
    found = deliver('{"imei": "1", "JWT": "eyJhbGciOiJSUzI1NiJ9.e30.AAAA", "data": "00"')
    kept = base64.b64decode(found["data"]["string"])
    assert b"eyJ" not in kept
    assert b'"imei": "1"' in kept


def test_only_the_allowed_addresses_may_deliver() -> None:
    mine = Client(RockBlock, addresses=("203.0.113.0/24",))
    mapped = Client(RockBlock, addresses=("::ffff:203.0.113.0/120",))
    others = Client(RockBlock, addresses=("198.51.100.7",))
    for client, status in ((mine, 200), (mapped, 200), (others, 403)):
        assert client.answer(client.request("POST", "/rockblock", "imei=1&data=00"))[0] == status


def test_names_in_capitals_are_the_same_names() -> None:
    query = "ID=hiker7&LAT=51.98&Lon=5.11&TIMESTAMP=1795169730&Altitude=12.5&Speed=1"
    (found,) = osmand.documents(osmand.request("GET", f"/osmand?{query}"))
    assert (found["callsign"], found["time_created"]) == ("HIKER7", THEN)
    assert found["data"]["position"] == PLACE
    assert found["data"]["values"] == {"Speed": 1}
    body = "IMEI=300234010753370&MOMSN=5&Transmit_Time=26-11-20+10:15:30&DATA=4869"
    (found,) = rockblock.documents(rockblock.request("POST", "/rockblock", body))
    assert (found["callsign"], found["time_created"]) == ("300234010753370", THEN)
    assert base64.b64decode(found["data"]["string"]) == b"Hi"


def test_a_delivery_of_something_else_is_kept_as_it_is() -> None:
    body = '{"identity": "300234010753370", "message": "SGk=", "JWT": "eyJ.a.b"}'
    (found,) = rockblock.documents(rockblock.request("POST", "/rockblock", body))
    kept = base64.b64decode(found["data"]["string"])
    assert b'"message": "SGk="' in kept
    assert b"eyJ" not in kept
    assert "imei, data: required fields are missing" in found["suspicious"]
