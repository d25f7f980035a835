"""The console's page of networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.console import Visitor, with_console
from tests.support.gateway import Habitat

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def gateway() -> Iterator[Habitat]:
    made = with_console(networks={"weather": {"unknown": "accept"}, "osmand": {}})
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def visitor(gateway: Habitat) -> Visitor:
    made = Visitor(gateway)
    assert made.sign_in().status == 303
    return made


def test_what_came_in_and_the_last_problem(gateway: Habitat, visitor: Visitor) -> None:
    body = b"PASSKEY=0123456789ABCDEF&tempf=41.5&dateutc=2026-11-20+10:15:30"
    assert gateway.scgi("POST", "/data/report/", body, FORM).status == 200
    assert gateway.scgi("POST", "/data/report/", b"tempf=1", FORM).status == 400
    page = visitor.json("/console/networks.json")
    osmand, weather = page["networks"]
    assert (weather["name"], osmand["name"]) == ("weather", "osmand")
    assert weather["observations"] == {"WEATHER": 1}
    assert weather["requests"] == 2
    assert weather["last_observation"]["station"].startswith("WEATHER-")
    assert weather["last_observation"]["type"] == "WEATHER"
    assert "whose is it?" in weather["last_problem"]["text"]
    assert weather["last_problem"]["time"] > 1_000_000_000
    assert [one["reason"] for one in weather["refused"]] == ["content"]
    assert osmand["last_observation"] is None
    text = visitor.page("/console/networks")
    assert "WEATHER from" in text
    assert "whose is it?" in text
    assert "0123456789ABCDEF" not in text


def test_the_statistics_sum_up_what_came_in(gateway: Habitat, visitor: Visitor) -> None:
    body = b"PASSKEY=0123456789ABCDEF&tempf=41.5&dateutc=2026-11-20+10:15:30"
    assert gateway.scgi("POST", "/data/report/", body, FORM).status == 200
    assert gateway.scgi("POST", "/data/report/", b"tempf=1", FORM).status == 400
    gateway.restart()
    assert visitor.sign_in().status == 303
    (weather,) = visitor.json("/console/statistics.json")["networks"]
    assert weather == {
        "network": "weather",
        "requests": 2,
        "observations": 1,
        "suspicious": 0,
        "problems": 1,
        "refused": 1,
    }
    assert "Uploads by network" in visitor.page("/console/statistics")
    table = visitor.get("/console/statistics/networks.csv").text.splitlines()
    assert table[0] == "day,network,kind,reason,number"
    assert [row.split(",", 1)[1] for row in table[1:]] == [
        "weather,observations,,1",
        "weather,problems,,1",
        "weather,refused,content,1",
        "weather,requests,,2",
    ]


def test_how_to_point_a_device_here_names_this_server(visitor: Visitor) -> None:
    weather = visitor.json("/console/networks.json")["networks"][1]
    lines = [(line["label"], line["text"]) for one in weather["recipes"] for line in one["lines"]]
    assert ("Server", "gateway.example") in lines
    assert ("Path", "/data/report/") in lines
    text = visitor.page("/console/networks")
    assert "gateway.example" in text
    assert "/data/report/" in text


def test_without_a_network_it_says_how_to_have_one() -> None:
    gateway = with_console()
    try:
        gateway.start()
        visitor = Visitor(gateway)
        visitor.sign_in()
        assert "No network is on" in visitor.page("/console/networks")
        assert visitor.json("/console/networks.json")["networks"] == []
    finally:
        gateway.close()
