"""The networks' own clients upload to a gateway behind nginx, and what they send is archived."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import CLIENTS
from tests.conftest import HabitatFactory, NginxFactory
from tests.support.wait import eventually

PROGRAMS = Path(__file__).parent / "programs"
Upload = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def upload(habitat: HabitatFactory, nginx: NginxFactory) -> Upload:
    """Run a client's program and return the documents, at least ``count``, once they are there."""

    def run(name: str, network: str, count: int, *words: str) -> list[dict[str, Any]]:
        client = CLIENTS[name]
        if client.problem is not None:
            pytest.skip(f"{name}: {client.problem}")
        gateway = habitat(config={"networks": {network: {}}})
        front = nginx(gateway)
        program = [
            str(client.python),
            "-P",
            str(PROGRAMS / f"{name}.py"),
            f"http://127.0.0.1:{front.port}",
        ]
        done = subprocess.run(
            [*program, *words], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        eventually(lambda: len(gateway.documents()) >= count, f"{count} documents: {done.stderr}")
        gateway.wait_until_archived()
        found = gateway.documents()
        for place in (json.dumps(found), gateway.log, front.access_log):
            assert "SECRET9" not in place
        return sorted(found, key=lambda one: str(one["_id"]))

    return run


def now(form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return time.strftime(form, time.gmtime())


def test_pysondehub(upload: Upload) -> None:
    found = upload("sondehub", "sondehub", 4, now())
    by_type: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        assert one["callsign"] == "M0ZDR"
        by_type.setdefault(one["type"], []).append(one)
    packets = by_type["AMATEUR_TELEM"]
    assert sorted(one["data"]["values"]["frame"] for one in packets) == [1, 2]
    assert packets[0]["data"]["payload"] == "BALLOON-1"
    assert packets[0]["data"]["values"]["humdity"] == 3.1  # its own spelling
    assert packets[0]["data"]["uploader_position"]["altitude"] == 12
    assert by_type["LISTENER_TELEM"][0]["data"]["latitude"] == 51.98
    assert by_type["LISTENER_INFO"][0]["data"]["antenna"] == "1/4 wave"


def test_horusdemodlib(upload: Upload) -> None:
    text = f"HORUSTEST,6,{now('%H:%M:%S')},52.1,4.9,1200,18,20"
    found = upload("horusdemodlib", "sondehub", 3, f"$${text}*{crc16(text.encode()):04X}")
    (packet,) = [one for one in found if one["type"] == "AMATEUR_TELEM"]
    assert packet["data"]["payload"] == "HORUSTEST"
    assert packet["data"]["position"]["altitude"] == 1200
    assert packet["data"]["raw"]


def test_weewx(upload: Upload) -> None:
    begin = int(time.time()) - 600
    found = upload("weewx", "weather", 4, str(begin))
    assert {one["callsign"] for one in found} == {"KTEST1"}
    assert sorted(one["time_created"] for one in found) == [begin, begin, begin + 300, begin + 300]
    for one in found:
        assert one["data"]["values"]["tempf"] == 41.5
        assert one["data"]["values"]["baromin"] == 29.912


def test_influxdb_client(upload: Upload) -> None:
    begin = int(time.time()) - 600
    found = upload("influxdb_client", "influx", 3, str(begin))
    assert len(found) == 3
    assert {one["callsign"] for one in found} == {"HUT_7"}
    assert {one["time_created"] for one in found} == {begin}
    assert sorted(one["data"]["values"]["count"] for one in found) == [0, 1, 2]
    assert found[0]["data"]["values"]["note"] == 'snow, "wet"'
    assert found[0]["data"]["values"]["ok"] is True
    assert found[0]["data"]["sensor"] == "air"


def test_cloudevents(upload: Upload) -> None:
    begin = int(time.time()) - 600
    found = upload("cloudevents", "cloudevents", 2, str(begin))
    assert sorted(one["data"]["id"] for one in found) == ["A1", "A2"]
    for one in found:
        assert one["data"]["values"] == {"celsius": 4.8}
        assert one["time_created"] == begin
        assert one["data"]["attributes"]["subject"] == "air"


def test_safecastpy(upload: Upload) -> None:
    (found,) = upload("safecastpy", "safecast", 1, now())
    assert found["callsign"] == "90"
    assert found["data"]["values"] == {"value": 38, "unit": "cpm"}
    assert found["data"]["position"] == {"latitude": 51.98, "longitude": 5.11}


def crc16(data: bytes) -> int:
    """CRC-16-CCITT, as sentences have it."""
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value
