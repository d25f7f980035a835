"""The map: what it shows of an archive, live and of the past, over both archives."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from habitat_like.console.windows import LONGEST
from tests.support.console import Visitor, console_over, whole
from tests.support.flights import END, RECEIVERS, TOP, Archived, sentence, store
from tests.support.messages import TELEM
from tests.support.wait import eventually

HOUR = 3600


def archived(now: int) -> list[dict[str, Any]]:
    """Flights of today and of the past, and what is no flight."""
    made = Archived()
    made.add_stations(now - 7200)
    made.add_flight("habitat", now - END - 600)
    made.add_flight("habitat", now - END - 18 * HOUR, (53.0, 1.0))
    made.add_sonde("S1234567", now - 6000, (51.0, 4.0), until=5900)
    made.add_flight("FIJI", now - 5 * HOUR, (-17.8, 179.5))
    made.add_flight("OLD", now - 20 * 86400, (48.0, 7.0))
    nowhere = {"protocol": "ukhas", "payload": "ZERO", "values": {}}
    made.add("TELEM", "ZERO", now, {**nowhere, "position": {"latitude": 0, "longitude": 0}})
    wrong = {"latitude": 60.0, "longitude": 60.0, "altitude": 10}
    made.add(
        "TELEM", "WRONG", now, {**nowhere, "payload": "WRONG", "position": wrong}, suspicious="x"
    )
    weather = {
        "network": "weather",
        "values": {"tempf": 41},
        "position": {"latitude": 51.9, "longitude": 1.1},
    }
    made.add("WEATHER", "HILLTOP", now - 60, weather)
    return made.documents


@pytest.fixture(scope="module", params=["embedded", "couchdb"])
def visitor(request: pytest.FixtureRequest) -> Iterator[Visitor]:
    with contextlib.ExitStack() as stack:
        uri = None
        if request.param == "couchdb":
            couch = request.getfixturevalue("couch_server")
            if not couch.running():
                couch.start()
            stack.callback(couch.delete, "map")
            uri = couch.uri("map")
        yield stack.enter_context(console_over(archived(int(time.time())), uri))


def features(data: dict[str, Any], kind: str) -> dict[str, Any]:
    """The features of a kind, by what they are of."""
    return {
        one["id"].partition("/")[2]: one
        for one in data["features"]
        if one["properties"]["kind"] == kind
    }


def test_payloads_have_a_track_and_a_last_position(visitor: Visitor) -> None:
    data = whole(visitor, "/console/map.json")
    assert data["type"] == "FeatureCollection"
    payloads = features(data, "payload")
    assert set(payloads) == {"HABITAT", "S1234567", "FIJI"} == set(data["payloads"])
    habitat = payloads["HABITAT"]["properties"]
    assert habitat["name"] == "habitat"
    assert habitat["altitude"] == 40
    assert habitat["networks"] == ["ukhas"]
    assert payloads["S1234567"]["properties"]["networks"] == ["sondehub"]
    assert payloads["S1234567"]["properties"]["ascent_rate"] == pytest.approx(5, abs=0.3)
    tracks = features(data, "track")
    assert set(tracks) == set(payloads)
    geometry = tracks["HABITAT"]["geometry"]
    times = tracks["HABITAT"]["properties"]["times"]
    assert geometry["type"] == "MultiLineString"
    # Two flights today: a gap of hours is no way.
    assert len(geometry["coordinates"]) == 2
    assert max(point[2] for line in geometry["coordinates"] for point in line) == TOP
    for line, moments in zip(geometry["coordinates"], times, strict=True):
        assert len(line) == len(moments) > 100
        assert moments == sorted(moments)
    assert payloads["HABITAT"]["geometry"]["coordinates"] == geometry["coordinates"][-1][-1]


def test_who_heard_a_payload_and_where_stations_are(visitor: Visitor) -> None:
    # Receptions are read after the tracks.
    def heard() -> Any:
        data = visitor.json("/console/map.json")
        found = features(data, "payload")
        return data if found["HABITAT"]["properties"]["receivers"] else None

    data = eventually(heard, "receptions are read")
    assert set(features(data, "payload")["HABITAT"]["properties"]["receivers"]) == {
        "M0ZDR",
        "2E0ABC",
    }
    sonde = features(data, "payload")["S1234567"]["properties"]
    assert set(sonde["receivers"]) == {"M0ZDR", "PA3XYZ"}
    stations = features(data, "station")
    assert set(stations) == {*RECEIVERS, "HILLTOP"}
    latitude, longitude = RECEIVERS["PA3XYZ"]
    assert stations["PA3XYZ"]["geometry"]["coordinates"][:2] == [longitude, latitude]
    assert stations["PA3XYZ"]["properties"]["page"].endswith("callsign=PA3XYZ")


def test_receivers_that_tell_the_same_draw_one_line(visitor: Visitor) -> None:
    (line,) = features(whole(visitor, "/console/map.json"), "track")["S1234567"]["geometry"][
        "coordinates"
    ]
    longitudes = [point[0] for point in line]
    assert longitudes == sorted(longitudes)


def test_a_track_is_cut_at_the_antimeridian(visitor: Visitor) -> None:
    lines = features(whole(visitor, "/console/map.json"), "track")["FIJI"]["geometry"][
        "coordinates"
    ]
    assert len(lines) == 2
    assert (lines[0][-1][0], lines[1][0][0]) == (180, -180)
    for line in lines:
        assert all(abs(b[0] - a[0]) < 1 for a, b in itertools.pairwise(line))


def test_a_window_of_time_a_payload_and_a_network(visitor: Visitor) -> None:
    def shown(query: str) -> set[str]:
        return set(whole(visitor, f"/console/map.json?{query}")["payloads"])

    assert shown("payload=hab") == {"HABITAT"}
    assert shown("network=sondehub") == {"S1234567"}
    assert shown("since=1h&payload=fiji") == set()
    assert shown("since=31d") == {"HABITAT", "S1234567", "FIJI", "OLD"}
    assert shown("since=21d&until=19d") == {"OLD"}
    now = int(time.time())
    until = now - 600 - END + 3000
    data = whole(visitor, f"/console/map.json?since={until - 3600}&until={until}&payload=habitat")
    last = features(data, "payload")["HABITAT"]["properties"]
    assert until - 30 <= last["time"] < until
    assert last["ascent_rate"] == pytest.approx(5, abs=0.3)


def test_a_cursor_brings_only_what_changed(visitor: Visitor) -> None:
    def quiet() -> Any:
        data = whole(visitor, "/console/map.json")
        again = visitor.json(f"/console/map.json?after={data['cursor']}")
        return again if again["cursor"] == data["cursor"] else None

    again = eventually(quiet, "nothing more is read")
    assert again["features"] == []
    assert set(again["payloads"]) == {"HABITAT", "S1234567", "FIJI"}
    for strange in ("", "x", "1.1", f"{again['cursor'].partition('.')[0]}.x"):
        assert visitor.json(f"/console/map.json?after={strange}")["features"]


def test_what_is_uploaded_appears_and_what_came_late_is_put_in_order(visitor: Visitor) -> None:
    data = whole(visitor, "/console/map.json")
    now = int(time.time())
    made = Archived()
    for ago in (5, 65, 125):
        position = {"latitude": 50.0 - ago / 1000, "longitude": 3.0, "altitude": 1000 - ago}
        said = {"protocol": "ukhas", "payload": "LATE", "position": position, "values": {}}
        made.add("TELEM", "LATE", now - ago, said)
    store(visitor, made.documents)

    def appeared() -> Any:
        fresh = visitor.json(f"/console/map.json?after={data['cursor']}")
        found = features(fresh, "track").get("LATE")
        return found if found and len(found["geometry"]["coordinates"][0]) == 3 else None

    track = eventually(appeared, "it is on the map")
    assert track["properties"]["times"] == [[now - 125, now - 65, now - 5]]


def test_the_table_says_the_same(visitor: Visitor) -> None:
    data = whole(visitor, "/console/map.json?payload=S1234567")
    # Receptions are read after the tracks.
    (page,) = eventually(
        lambda: [
            page for page in [visitor.page("/console/map?payload=S1234567")] if "PA3XYZ" in page
        ]
    )
    last = features(data, "payload")["S1234567"]["properties"]
    assert f"{last['latitude']:.4f}, {last['longitude']:.4f}" in page
    for word in ("S1234567", "m/s", "sondehub", "M0ZDR", "PA3XYZ", "since=7d"):
        assert word in page, word


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=nonsense", "since"),
        ("until=2026-13-01", "until"),
        ("since=1h&until=2h", "until"),
        (f"since={LONGEST + 90000}s", "since"),
        ("since=90d&until=1d", "since"),
    ],
)
def test_a_wrong_window_is_told_at_its_field(visitor: Visitor, query: str, field: str) -> None:
    reply = visitor.get(f"/console/map.json?{query}")
    assert reply.status == 400
    assert list(reply.json()["problems"]) == [field]
    page = visitor.get(f"/console/map?{query}")
    assert page.status == 400
    assert f'id="{field}-problem"' in page.text


def test_a_gateway_that_begins_answers_at_once_and_reads_on() -> None:
    """A large archive is read from its end, while the map shows what there is."""
    now = int(time.time())
    made = Archived()
    for number in range(12):
        made.add_sonde(f"S{number}", now - END, (50.0, float(number)), step=5)
    with console_over(made.documents) as visitor:
        first = visitor.json("/console/map.json")
        assert first["reading"] is not None
        found = whole(visitor, "/console/map.json")
        assert len(found["payloads"]) == 12
        points = [
            len(line)
            for one in features(found, "track").values()
            for line in one["geometry"]["coordinates"]
        ]
        assert sum(points) <= 60_000
        for track in features(found, "track").values():
            times = track["properties"]["times"]
            assert times[0][0] <= now - END + 5
            assert times[-1][-1] >= now - 70


def test_packets_of_a_real_upload_are_on_the_map() -> None:
    """From a sentence uploaded to the payload's position, by the parser."""
    with console_over([]) as visitor:
        gateway = visitor.gateway
        gateway.config["sinks"] = [
            "habitat_like.archive.ArchiveSink",
            "habitat_like.telemetry.ParserSink",
        ]
        gateway.restart()
        assert visitor.sign_in().status == 303
        now = int(time.time())
        clock = time.strftime("%H:%M:%S", time.gmtime(now))
        body = f"habitat,1,{clock},52.5,-1.25,1234"
        message = {**TELEM, "callsign": "M0ZDR", "time_created": now, "time_uploaded": now}
        message["data"] = {"string": sentence(body)}
        assert gateway.scgi("POST", "/message", json.dumps(message)).status == 200

        def shown() -> Any:
            return features(visitor.json("/console/map.json"), "payload").get("HABITAT")

        found = eventually(shown, "it is on the map")
        assert found["geometry"]["coordinates"] == [-1.25, 52.5, 1234]

        def heard() -> Any:
            return shown()["properties"]["receivers"]

        assert eventually(heard, "its receiver is known") == ["M0ZDR"]


def test_an_archive_that_is_away_is_told() -> None:
    with console_over([]) as visitor:
        gateway = visitor.gateway
        gateway.config["archive"]["uri"] = "couchdb://127.0.0.1:1/nothing"
        gateway.restart()
        assert visitor.sign_in().status == 303
        reply = visitor.get("/console/map.json")
        assert reply.status == 503
        assert "127.0.0.1:1" in reply.json()["problem"]
        page = visitor.get("/console/map")
        assert page.status == 503
        assert "be read now" in page.text
