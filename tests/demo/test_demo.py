"""`make demo`: every page of the console lives within a minute, and it ends cleanly."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.demo.running import Demo
from tests.support.checkout import Running, checkout
from tests.support.wait import PATIENCE, eventually
from tools.demo.scene import BIRDS

BIRD = BIRDS[0]
#: Seconds: what is shown is uploaded, parsed, archived and counted first, by one small machine.
LIVELY = 3 * PATIENCE


def processes_in(place: Path) -> list[str]:
    """The commands of all that runs in a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == place:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_every_page_has_something_to_look_at(demo: Demo) -> None:
    def lives() -> bool:
        overview = demo.page("overview.json")
        assert overview["state"] == "ready"
        assert overview["messages"]["last_hour"] > 1000
        assert overview["dead_letters"] > 0
        assert overview["sinks"]["habitat_like.telemetry.ParserSink"]["counts"]["parsed"] > 1000
        assert overview["sinks"]["habitat_like.telemetry.ParserSink"]["counts"]["checksum"] > 0
        stations = demo.page("stations.json")["stations"]
        assert {"HILLTOP", "SCHOOL-ROOF", "MEADOW", "M0CAR", "M0ZDR"} <= {
            one["callsign"] for one in stations
        }
        assert any(one["clock_is_wrong"] for one in stations)
        station = demo.page("station.json?callsign=M0ZDR")
        assert station["station"]["name"] == "Adam"
        assert station["messages"]
        features = demo.page("map.json")["features"]
        told = {one["id"]: one["properties"] for one in features}
        assert {f"track/{BIRD}", "track/HERON", "station/HILLTOP", "station/M0CAR"} <= told.keys()
        assert told[f"payload/{BIRD}"]["receivers"]
        flights = demo.page(f"payloads/{BIRD}.json")["flights"]
        assert len(flights) == 2
        now, before = flights
        assert now["flight"]["launch"]
        assert not now["is_over"]
        assert before["flight"]["burst"]["altitude"] > 25_000
        assert before["flight"]["landing"]
        assert before["is_over"]
        packets = demo.page("packets.json")["packets"]
        assert max((one["receptions"] for one in packets), default=0) >= 3
        assert demo.page(f"packets/{packets[0]['id']}.json")["receptions"]
        assert demo.page("messages.json")["messages"]
        marked = demo.page("messages.json?suspicious=1&type=WEATHER&callsign=ATTIC")["messages"]
        assert marked
        assert "before 2020" in marked[0]["suspicious"]
        for network in demo.page("networks.json")["networks"]:
            assert sum(network["observations"].values()) > 0, network
        letters = demo.page("dead-letters.json")["dead_letters"]
        assert "in MHz, not in Hz?" in letters[0]["reason"]
        statistics = demo.page("statistics.json?range=day")
        assert {one["type"] for one in statistics["types"] if one["messages"]} >= {
            *("RECEIVED_TELEM", "LISTENER_INFO", "LISTENER_TELEM", "TELEM"),
            *("AMATEUR_TELEM", "WEATHER", "SENSOR", "UPLINK", "POSITION"),
        }
        assert any(one["status"] == 400 for one in statistics["requests"])
        return bool(demo.page("settings.json")["configuration"])

    eventually(lives, "something on each page", timeout=LIVELY)


def test_the_flight_goes_on_as_one_looks(demo: Demo) -> None:
    first = eventually(lambda: max(demo.numbers(BIRD), default=0), "a flight", timeout=LIVELY)
    eventually(lambda: max(demo.numbers(BIRD)) >= first + 2, "two more fixes", timeout=LIVELY)
    words = ("--type", "TELEM", "--callsign", BIRD, "--format", "ndjson", "--limit", "1")
    newest = json.loads(demo.habitat("query", *words))
    assert newest["data"]["position"]["altitude"] > 10_000
    assert newest["data"]["values"]["temperature"] < 0


def test_after_maintenance_the_devices_send_what_they_kept(demo: Demo) -> None:
    eventually(lambda: demo.numbers(BIRD), "a flight", timeout=LIVELY)
    demo.habitat("ctl", "maintenance", "on")
    eventually(lambda: "an upload failed, and is tried again: 503" in demo.said)
    # As many come of several fixes that no receiver could upload.
    eventually(
        lambda: demo.page("overview.json")["requests_today"].get("503", 0) > 60, timeout=LIVELY
    )
    before = max(demo.numbers(BIRD))
    demo.habitat("ctl", "maintenance", "off")
    eventually(lambda: max(demo.numbers(BIRD)) >= before + 3, "later fixes", timeout=LIVELY)
    # It is high up all that time, and several hear it; one sends what it kept before another.
    wanted = set(range(before - 10, before + 3))
    eventually(lambda: wanted <= demo.numbers(BIRD), "what was kept", timeout=LIVELY)


def test_another_start_begins_anew_and_keeps_the_configuration(
    tmp_path: Path, runs: list[Running]
) -> None:
    first = Demo(checkout(tmp_path / "checkout"))
    runs.append(first)
    eventually(lambda: first.page("overview.json")["messages"]["ever"] > 1000, timeout=LIVELY)
    config = first.var / "config.yml"
    edited = config.read_text() + "log: {level: warning}  # mine\n"
    config.write_text(edited)
    leftover = first.var / "data" / "of the first"
    leftover.touch()
    runs.append(Demo(first.place))
    said = runs[-1].fails()
    assert "`make demo` is running in this checkout already, on http://" in said
    first.stop()
    assert processes_in(first.place) == []
    # What `make run` has is left alone.
    assert [one.name for one in (first.place / "var").iterdir()] == ["demo"]
    again = Demo(first.place)
    runs.append(again)
    eventually(lambda: again.page("overview.json")["messages"]["ever"] > 1000, timeout=LIVELY)
    assert not leftover.exists()
    assert config.read_text() == edited
    again.stop()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("starting the gateway", signal.SIGINT),
        ("habitat_like started", signal.SIGTERM),
        ("serves on", signal.SIGINT),
    ],
)
def test_a_stop_signal_during_the_start_leaves_nothing(
    tmp_path: Path, runs: list[Running], moment: str, number: signal.Signals
) -> None:
    place = checkout(tmp_path / "checkout")
    one = Demo(place)
    runs.append(one)
    eventually(lambda: moment in one.said, moment, pause=0.001)
    os.kill(one.process.pid, number)
    assert one.process.wait(PATIENCE) == 0, one.said
    assert "Traceback" not in one.said
    assert processes_in(place) == []


def test_run_and_demo_in_one_checkout_have_nothing_in_common(
    demo: Demo, runs: list[Running]
) -> None:
    runs.append(Running(demo.place))
    real = runs[-1]
    real.upload(1)
    eventually(lambda: real.archived() == [1])
    assert real.address() != demo.address()
    real.stop()
