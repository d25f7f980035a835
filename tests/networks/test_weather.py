"""Weather stations: five protocols, told apart by their fields, and their odd requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from habitat_like.networks.observation import BadRequest
from habitat_like.networks.routes import MAX_KNOWN, make_router
from habitat_like.networks.runner import Runner
from habitat_like.networks.stations import Gatekeeper
from habitat_like.networks.weather import Weather
from tests.networks.decode import NOW, STATIONS, Client

client = Client(Weather)
UNDERGROUND = "/weatherstation/updateweatherstation.php"


def document(name: str) -> dict[str, Any]:
    (found,) = client.documents(client.sample(f"3-weather/{name}"))
    assert found["type"] == "WEATHER"
    assert "secret" not in json.dumps(found)
    return found


def get(query: str, path: str = UNDERGROUND) -> dict[str, Any]:
    (found,) = client.documents(client.request("GET", f"{path}?{query}"))
    return found


def test_weather_underground_by_weewx() -> None:
    found = document("wu-weewx")
    assert found["callsign"] == "ITESTV1"
    assert found["time_created"] == 1795169700
    assert found["data"]["values"] == {
        "softwaretype": "weewx-5.3.1",
        "baromin": 29.912,
        "dailyrainin": 0.13,
        "dewptf": 38.2,
        "rainin": 0.02,
        "humidity": 88,
        "tempf": 41.5,
        "AqPM2.5": 7.4,
        "solarradiation": 101.3,
        "UV": 0.0,
        "winddir": 230,
        "windgustmph": 15.0,
        "windspeedmph": 12.1,
    }
    assert "suspicious" not in found
    assert client.answer(client.sample("3-weather/wu-weewx")) == (200, b"success\n")


def test_ecowitt() -> None:
    found = document("ecowitt-gw2000")
    assert found["callsign"].startswith("WEATHER-")
    assert "0123456789ABCDEF" not in json.dumps(found)
    values = found["data"]["values"]
    assert values["tempf"] == 41.54
    assert values["freq"] == "868M"
    assert values["stationtype"] == "GW2000A_V3.1.5"
    assert found["time_created"] == 1795169730
    assert client.answer(client.sample("3-weather/ecowitt-gw2000")) == (200, b"OK")


def test_blanks_in_the_time_are_taken_out() -> None:
    found = document("ecowitt-odd-date-blanks")
    assert found["time_created"] == 1795169730
    assert "suspicious" not in found


def test_ambient_with_an_ampersand_in_front() -> None:
    found = document("ambient-wellformed")
    assert "FC:F5" not in json.dumps(found)
    assert found["data"]["values"]["baromrelin"] == 29.881
    assert client.answer(client.sample("3-weather/ambient-wellformed")) == (200, b"OK")


def test_a_query_glued_to_a_script() -> None:
    found = document("wu-odd-glued")
    assert found["callsign"] == "ITESTV1"
    assert found["data"]["values"]["indoortempf"] == 68.2
    assert client.answer(client.sample("3-weather/wu-odd-glued")) == (200, b"success\n")


@pytest.mark.parametrize(
    "target",
    [
        "/data/report/stationtype=GW1000&PASSKEY=SECRET1&dateutc=2026-11-20+10:15:30&tempf=41.5",
        "/data/report&PASSKEY=SECRET1&dateutc=2026-11-20+10:15:30&tempf=41.5",
        "/data/report/PASSKEY=SECRET1&dateutc=2026-11-20+10:15:30&tempf=41.5",
        "/data/report/?&PASSKEY=SECRET1&dateutc=2026-11-20%2010:15:30&tempf=41.5",
        "/data/report/??PASSKEY=SECRET1&dateutc=2026-11-20%2010:15:30&tempf=41.5",
        "/data/reportPASSKEY=SECRET1&dateutc=2026-11-20%2010:15:30&tempf=41.5",
        "//data/report?passkey=SECRET1&dateutc=2026-11-20%2010:15:30&tempf=41.5",
    ],
)
def test_queries_glued_to_a_path(target: str) -> None:
    (found,) = client.documents(
        client.request("GET", target.replace("//", "/"))  # nginx merges slashes
    )
    assert found["callsign"].startswith("WEATHER-")
    assert found["time_created"] == 1795169730
    assert found["data"]["values"]["tempf"] == 41.5
    assert "SECRET1" not in json.dumps(found)


def test_a_station_is_the_same_however_it_sends() -> None:
    one = get("PASSKEY=ABC&tempf=1", "/data/report/")
    other = client.documents(client.request("POST", "/data/report/", "PASSKEY=ABC&tempf=2"))[0]
    assert one["callsign"] == other["callsign"]


def test_the_last_of_a_repeated_key_and_no_nan() -> None:
    found = document("wu-odd-repeat")
    assert found["data"]["missing"] == ["humidity"]
    assert found["data"]["values"] == {"tempf": 41.5, "softwaretype": "My Station v1+"}


def test_what_is_no_reading_is_missing() -> None:
    found = get("ID=A1&PASSWORD=x&dateutc=now&a=-9999&b=&c=--&d=N/A&e=5,5&f=1,2,3")
    assert found["data"]["missing"] == ["a", "b", "c", "d"]
    assert found["data"]["values"] == {"e": 5.5, "f": "1,2,3"}
    assert found["time_created"] == NOW


def test_acurite_gets_its_clock_and_its_mac_is_a_secret() -> None:
    found = document("acurite-hub")
    assert found["callsign"].startswith("WEATHER-")
    assert "24C86E000001" not in json.dumps(found)
    assert found["data"]["sensor"] == "00003301"
    assert found["time_created"] == NOW
    status, body = client.answer(client.sample("3-weather/acurite-hub"))
    assert status == 200
    assert json.loads(body).keys() == {"localtime"}


def test_wow() -> None:
    target = (
        "/automaticreading?siteid=4a1b&siteAuthenticationKey=998877"
        "&dateutc=2026-11-20%2010%3A15%3A30&tempf=41.5&softwaretype=weewx"
    )
    request = client.request("GET", target)
    (found,) = client.documents(request)
    assert found["callsign"] == "4A1B"
    assert found["data"]["values"] == {"tempf": 41.5, "softwaretype": "weewx"}
    assert "998877" not in json.dumps(found)
    assert client.network.credential(request) == "998877"
    assert client.network.wrong_key(request).status == 403


@pytest.mark.parametrize("sent", ["garbage", "20.11.2026 10:15:30"])
def test_an_unreadable_time_is_kept_and_marked(sent: str) -> None:
    found = get(f"ID=A1&PASSWORD=x&tempf=1&dateutc={sent}")
    assert found["time_created"] == NOW
    assert found["data"]["values"]["dateutc"] == sent
    assert found["suspicious"] == "dateutc"


@pytest.mark.parametrize("sent", ["2026-11-25 10:15:30", "2019-01-01 00:00:00"])
def test_a_time_that_can_not_be_is_kept_and_marked(sent: str) -> None:
    found = get(f"ID=A1&PASSWORD=x&tempf=1&dateutc={sent}")
    assert found["time_created"] == NOW
    assert found["data"]["values"]["dateutc"] == sent
    assert "suspicious" in found


def test_a_time_in_unix_seconds() -> None:
    found = get("ID=IBAYER123&PASSWORD=x&dateutc=1795169700&tempf=41")
    assert found["time_created"] == 1795169700
    assert found["data"]["values"] == {"tempf": 41}
    assert "suspicious" not in found


def test_no_time_is_the_gateways() -> None:
    found = get("ID=A1&PASSWORD=x&tempf=1")
    assert found["time_created"] == NOW
    assert "suspicious" not in found


@pytest.mark.parametrize("query", ["", "tempf=1", "ID=&PASSKEY=&tempf=1"])
def test_without_an_identity_it_is_refused(query: str) -> None:
    request = client.request("GET", f"{UNDERGROUND}?{query}")
    with pytest.raises(BadRequest, match="whose is it"):
        client.network.decode(request)
    status, body = client.answer(request)
    assert status == 400
    # weewx gives up for an hour at the one, and drops the record at the other.
    assert not body.startswith(b"ERROR")
    assert b"invalid" not in body


def test_a_request_cut_off_after_the_identity_is_nothing() -> None:
    request = client.request("GET", "/data/?MAC=94:3C:C6:00:01:1F")
    assert client.documents(request) == []
    assert client.answer(request)[0] == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ID=A1&PASSWORD=k1", "k1"),
        ("id=A1&password=k1", "k1"),
        ("siteid=A1&siteAuthenticationKey=k1", "k1"),
        ("PASSKEY=k1", "k1"),
        ("ID=A1", None),
    ],
)
def test_the_key_is_found_by_its_name(query: str, expected: str | None) -> None:
    assert client.network.credential(client.request("GET", f"{UNDERGROUND}?{query}")) == expected


def test_a_wrong_key_is_told_in_the_senders_words() -> None:
    answer = client.network.wrong_key(client.request("GET", f"{UNDERGROUND}?ID=A1&PASSWORD=x"))
    assert (answer.status, answer.body) == (401, b"INVALIDPASSWORDID\n")
    answer = client.network.wrong_key(client.request("POST", "/data/report/", "PASSKEY=x"))
    assert answer.status == 401


@pytest.mark.parametrize("name", ["PASSWORD", "password", "pass", "key", "stationkey", "api_key"])
def test_a_key_is_not_kept_whatever_its_name(name: str) -> None:
    found = get(f"ID=A1&tempf=1&{name}=K3Y")
    assert found["data"]["values"] == {"tempf": 1}


def test_paths_that_are_kept_are_few_and_have_no_query_in_them() -> None:
    router = make_router([Runner(client.network, STATIONS, Gatekeeper())])
    assert router.find("GET", "/data/report/PASSKEY=0123&tempf=1") is not None
    assert router.find("POST", "/data/report") is router.find("POST", "/data//report")
    for number in range(2 * MAX_KNOWN):
        assert router.find("POST", f"/data/{number}") is not None
    assert router.find("POST", "/elsewhere") is None
    assert len(router.known) <= MAX_KNOWN
    assert not any("=" in path for _, path in router.known)
