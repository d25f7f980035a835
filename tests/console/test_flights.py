"""Payloads and their flights: lists, and pages from launch to landing, over both archives."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.console import Visitor, console_over, whole
from tests.support.flights import BURST, DOWN, END, LAUNCH, RECEIVERS, TOP, Archived, store
from tests.support.wait import eventually

HOUR = 3600
#: When the flights began, in seconds before now.
TODAY, BEFORE, SONDE = END + 600, END + 18 * HOUR, END + 4 * HOUR


@pytest.fixture(scope="module", params=["embedded", "couchdb"])
def scene(request: pytest.FixtureRequest) -> Iterator[tuple[Visitor, int]]:
    """A console, and what "now" is to the flights in its archive."""
    now = int(time.time())
    made = Archived()
    made.add_stations(now - HOUR)
    made.add_flight("habitat", now - TODAY)
    made.add_flight("habitat", now - BEFORE, (53.0, 1.0))
    made.add_flight("other", now - TODAY + 100, (50.0, 3.0))
    made.add_sonde("S1234567", now - SONDE)
    with contextlib.ExitStack() as stack:
        uri = None
        if request.param == "couchdb":
            couch = request.getfixturevalue("couch_server")
            if not couch.running():
                couch.start()
            stack.callback(couch.delete, "flights")
            uri = couch.uri("flights")
        yield stack.enter_context(console_over(made.documents, uri)), now


def flight(visitor: Visitor, key: str, moment: int) -> dict[str, Any]:
    return whole(visitor, f"/console/payloads/{key}/flights/{moment}.json")


def test_the_list_has_each_payload_with_its_flights(scene: tuple[Visitor, int]) -> None:
    visitor, _ = scene
    data = whole(visitor, "/console/payloads.json")
    found = {one["payload"]: one["flights"] for one in data["payloads"]}
    assert found == {"HABITAT": 2, "OTHER": 1, "S1234567": 1}
    assert [one["payload"] for one in data["payloads"]][-1] == "S1234567"
    page = visitor.page("/console/payloads?payload=s12")
    assert "S1234567" in page
    assert "habitat</a>" not in page


def test_a_payload_has_its_flights_the_last_first(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    data = whole(visitor, "/console/payloads/HABITAT.json")
    assert data["name"] == "habitat"
    begun = [one["flight"]["first"]["time"] for one in data["flights"]]
    assert begun == [now - TODAY, now - BEFORE]
    assert [one["is_over"] for one in data["flights"]] == [False, True]
    assert all(one["flight"]["highest"]["altitude"] == TOP for one in data["flights"])
    assert data["flights"][0]["page"] == f"/console/payloads/HABITAT/flights/{now - TODAY}"
    page = visitor.page("/console/payloads/habitat")
    assert "landed" in page
    assert data["flights"][1]["page"] in page


def test_an_unknown_payload_is_not_found(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    whole(visitor, "/console/payloads.json")
    assert visitor.get("/console/payloads/NOBODY").status == 404
    path = f"/console/payloads/NOBODY/flights/{now}.json"
    assert eventually(lambda: visitor.get(path).status == 404, "the archive is read")
    assert visitor.get("/console/payloads/HABITAT?since=nonsense").status == 400


def test_a_flight_from_launch_to_landing(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    begin = now - TODAY
    data = flight(visitor, "HABITAT", begin)
    told = data["flight"]
    assert told["first"]["time"] == begin
    assert abs(told["launch"]["time"] - begin - LAUNCH) <= 60
    assert (told["burst"]["time"] - begin, told["burst"]["altitude"]) == (BURST, TOP)
    assert abs(told["landing"]["time"] - begin - DOWN) <= 60
    assert told["ascent"] == pytest.approx(TOP / (BURST - LAUNCH), rel=0.03)
    assert told["descent"] == pytest.approx(-TOP / (DOWN - BURST), rel=0.03)
    assert data["networks"] == ["ukhas"]
    assert data["values"] == ["battery", "temperature"]
    assert data["last"] >= begin + END - 60


@pytest.mark.parametrize("inside", [1, BURST, DOWN])
def test_any_moment_of_it_is_its_address(scene: tuple[Visitor, int], inside: int) -> None:
    visitor, now = scene
    data = flight(visitor, "habitat", now - BEFORE + inside)
    assert data["flight"]["first"]["time"] == now - BEFORE
    assert data["is_over"]


def test_who_heard_how_many_packets_and_from_where(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    data = flight(visitor, "HABITAT", now - TODAY)
    heard = {one["callsign"]: one for one in data["receivers"]}
    assert set(heard) == set(RECEIVERS)
    assert heard["M0ZDR"]["packets"] == heard["2E0ABC"]["packets"] == END // 20 + 1
    assert 0 < heard["PA3XYZ"]["packets"] < END // 20
    assert data["packets"] == sum(one["packets"] for one in data["receivers"])
    near, far = heard["M0ZDR"], heard["PA3XYZ"]
    assert near["distance"] < far["distance"]
    assert near["wind"] in ("E", "ESE", "ENE")
    assert far["wind"] in ("W", "WSW", "WNW")
    assert data["station"] in RECEIVERS
    assert data["from_station"]["nearest"] <= data["from_station"]["farthest"]
    path = f"/console/payloads/HABITAT/flights/{now - TODAY}.json?station=PA3XYZ"
    assert visitor.json(path)["station"] == "PA3XYZ"


def test_receivers_of_another_network_count_too(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    data = flight(visitor, "S1234567", now - SONDE + 1000)
    assert {one["callsign"]: one["packets"] for one in data["receivers"]} == {
        "M0ZDR": END // 20 + 1,
        "PA3XYZ": END // 20 + 1,
    }
    assert data["flight"]["burst"]["altitude"] == TOP
    assert data["networks"] == ["sondehub"]


def test_altitude_and_every_value_are_plotted(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    data = flight(visitor, "HABITAT", now - TODAY)
    # A battery that never changes is no plot.
    assert set(data["plots"]) == {"altitude", "distance", "value temperature"}
    altitude = data["plots"]["altitude"]["series"]["altitude"]
    assert max(one for one in altitude if one is not None) == pytest.approx(TOP, rel=0.02)
    cold = data["plots"]["value temperature"]["series"]["temperature"]
    assert min(one for one in cold if one is not None) == pytest.approx(-39, abs=2)
    for one in data["plots"].values():
        image = visitor.get(one["src"])
        assert image.status == 200
        assert image.headers["content-type"].startswith("image/svg+xml")
    path = "/console/plots/flight-altitude.svg?payload=HABITAT"
    assert visitor.get(path).status == visitor.get(f"{path}&moment=x").status == 400


def test_a_flight_can_be_had_in_every_format(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    data = flight(visitor, "HABITAT", now - BEFORE)
    assert {"csv", "flat", "ndjson", "json", "geojson", "kml", "gpx"} <= set(data["downloads"])
    for one in data["downloads"].values():
        reply = visitor.get(one["address"])
        assert reply.status == 200, one
        assert reply.body
    lines = visitor.get(data["downloads"]["ndjson"]["address"]).text.splitlines()
    times = sorted(json.loads(line)["time_created"] for line in lines)
    # All of this flight, and nothing of the other one.
    assert (times[0], len(times)) == (now - BEFORE, END // 20 + 1)


def test_the_map_of_a_flight(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    base = f"/console/payloads/HABITAT/flights/{now - TODAY}"
    flight(visitor, "HABITAT", now - TODAY)
    data = whole(visitor, f"{base}/map.json")
    kinds = sorted(one["id"] for one in data["features"])
    stations = [f"station/{callsign}" for callsign in RECEIVERS]
    moments = [f"{name}/HABITAT" for name in ("launch", "burst", "landing", "payload", "track")]
    assert kinds == sorted([*stations, *moments])
    again = visitor.json(f"{base}/map.json?after={data['cursor']}")
    assert again["features"] == []
    page = visitor.page(base)
    ascent = f"{visitor.json(f'{base}.json')['flight']['ascent']:+.1f} m/s"
    for word in (f"{base}/map.json", "Burst", "Landing", ascent, "M0ZDR", "format=kml"):
        assert word in page, word


def test_a_flight_goes_on(scene: tuple[Visitor, int]) -> None:
    visitor, now = scene
    base = f"/console/payloads/OTHER/flights/{now - TODAY + 100}"
    before = flight(visitor, "OTHER", now - TODAY + 100)
    made = Archived()
    position = {"latitude": 50.3, "longitude": 4.2, "altitude": 41}
    said = {"protocol": "ukhas", "payload": "other", "position": position, "values": {}}
    made.add("TELEM", "OTHER", time.time(), said)
    made.documents[0]["_id"] = f"{int(time.time()):010d}-{'f' * 24}"
    store(visitor, made.documents)

    def longer() -> Any:
        return visitor.json(f"{base}.json")["flight"]["last"]["altitude"] == 41

    eventually(longer, "the new fix is there")
    assert visitor.json(f"{base}.json")["last"] > before["last"]
