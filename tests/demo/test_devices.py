"""What the devices of the demonstration upload: packets that parse, whenever they are sent."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habitat_like.telemetry import configuration, names, packets
from habitat_like.telemetry.fix import Fix
from tools.demo import packets as sent
from tools.demo.__main__ import GIVEN
from tools.demo.device import Device, Upload
from tools.demo.flight import Place
from tools.demo.receivers import Antenna, Receiver, SondeHubReceiver
from tools.demo.scene import BIRDS, WADERS, Scene

START = 1_800_000_000
PAYLOADS = configuration.load(str(GIVEN / "payloads.yml"))
NAMES = names.read(str(GIVEN / "payload_ids.txt"), None)
#: What differs where the same is sent later, or in other company.
VOLATILE = {"time_uploaded"}


def parsed(packet: bytes) -> Fix:
    fixes, problems = packets.read(packet, PAYLOADS, NAMES)
    assert problems == []
    (fix,) = fixes
    return fix


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(START, 1)


def test_a_sentence_says_what_the_payload_knows(scene: Scene) -> None:
    flight = scene.sentences(START, START)[-1]
    one = sent.packet(flight, 321, START)
    fix = parsed(one.sentence)
    assert (fix.payload, fix.sequence, fix.time) == (flight.name, 321, START % 86400)
    assert fix.position is not None
    assert fix.position.altitude == pytest.approx(one.fix.place.altitude, abs=0.5)
    assert fix.position.longitude == pytest.approx(one.fix.place.longitude, abs=1e-5)
    assert fix.values["temperature"] == pytest.approx(one.temperature, abs=0.05)
    assert fix.values["pressure"] == pytest.approx(one.pressure, abs=0.05)


@pytest.mark.parametrize("after", [-200, 100, 3000, 6500, 8000])
def test_a_horus_packet_says_what_the_payload_knows(scene: Scene, after: float) -> None:
    (flight,) = scene.waders.flights(START, START)
    one = sent.packet(flight, 17, flight.launch + after)
    fix = parsed(one.horus(WADERS[flight.name]))
    assert (fix.payload, fix.sequence) == (flight.name, 17)
    assert fix.position is not None
    assert fix.position.latitude == pytest.approx(one.fix.place.latitude, abs=1e-5)
    assert fix.values["ascent_rate"] == pytest.approx(one.fix.rate, abs=0.01)
    assert fix.values["battery"] == pytest.approx(one.battery, abs=0.02)
    assert fix.values["ext_pressure"] == pytest.approx(one.pressure, abs=0.06)


def test_every_payload_has_its_configuration() -> None:
    assert all(PAYLOADS.layouts(name) for name in BIRDS)
    assert {name: number for number, name in NAMES.ids.items()} == WADERS


def messages(device: Device, uploads: Iterator[Upload]) -> list[Any]:
    """What is in uploads, each piece by itself."""
    found: list[Any] = []
    for one in uploads:
        body = gzip.decompress(one.body) if "Content-Encoding" in one.headers else one.body
        if isinstance(device, Receiver):
            trees = [json.loads(line) for line in body.splitlines()]
        elif body:
            tree = json.loads(body)
            trees = tree if isinstance(tree, list) else [tree]
        else:
            trees = [one.path]
        found += [
            {k: v for k, v in tree.items() if k not in VOLATILE} if isinstance(tree, dict) else tree
            for tree in trees
        ]
    return sorted(found, key=json.dumps)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 900), max_size=4))
def test_what_is_sent_is_the_same_however_often_it_is_asked_for(cuts: list[int]) -> None:
    scene = Scene(START, 1)
    for device in scene.devices:
        if type(device).__name__ in ("AirSensor", "Trouble"):
            continue  # these send the newest alone
        whole = messages(device, device.uploads(START, START + 900))
        times = [START, *sorted(START + cut for cut in cuts), START + 900]
        parts: list[Any] = []
        for since, until in itertools.pairwise(times):
            parts += messages(device, device.uploads(since, until))
        assert sorted(parts, key=json.dumps) == whole, device


def test_receptions_are_of_one_packet_and_now_and_then_wrong(scene: Scene) -> None:
    heard: dict[bytes, set[str]] = {}
    wrong = 0
    for device in scene.devices:
        if not isinstance(device, Receiver):
            continue
        for message in messages(device, device.uploads(START - 3600, START)):
            if message["type"] == "RECEIVED_TELEM":
                packet = base64.b64decode(message["data"]["string"])
                _, problems = packets.read(packet, PAYLOADS, NAMES)
                wrong += bool(problems)
                heard.setdefault(packet, set()).add(message["callsign"])
    assert max(map(len, heard.values())) >= 5
    assert 0 < wrong < len(heard) / 5


def test_nobody_hears_beyond_the_horizon(scene: Scene) -> None:
    antenna = Antenna(9, 30)
    chance = scene.devices[0].chance("test")
    here, far = Place(52, 0, 10), Place(52, 1.5, 10)  # about 100 km
    assert antenna.hears(here, far, chance) is None
    assert antenna.hears(here, far._replace(altitude=10_000), chance) is not None


def test_who_is_near_hears_well_and_who_is_far_not_at_all(scene: Scene) -> None:
    antenna = Antenna(9, 0)
    chance = scene.devices[0].chance("test")
    here, above = Place(52, 0, 10), Place(52, 0.1, 5000)
    near = antenna.hears(here, above, chance)
    assert near is not None
    assert near > 15
    assert antenna.hears(here, Place(52, 8, 30_000), chance) is None


def test_the_car_is_there_when_the_payload_lands(scene: Scene) -> None:
    car = next(one for one in scene.devices if type(one).__name__ == "Car")
    flight = scene.birds.flights(START, START)[0]
    assert car.at(flight.landing).metres_to(flight.end) < 3000  # type: ignore[attr-defined]
    assert car.at(flight.launch) == scene.birds.site  # type: ignore[attr-defined]


def test_sondehub_gets_batches_with_the_clock_of_the_sender(scene: Scene) -> None:
    device = next(one for one in scene.devices if isinstance(one, SondeHubReceiver))
    (upload,) = list(device.uploads(START, START + 60))
    assert (upload.method, upload.path) == ("PUT", "/amateur/telemetry")
    assert upload.headers["Date"].endswith(" GMT")
    assert len(json.loads(gzip.decompress(upload.body))) >= 8
