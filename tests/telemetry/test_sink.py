"""ParserSink in a running gateway: what receivers heard becomes TELEM, once."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.conftest import HabitatFactory
from tests.support.gateway import ARCHIVE_SINK, Habitat
from tests.support.wait import eventually

PARSER = "habitat_like.telemetry.ParserSink"
SENTENCE = b"$$habitat,123,12:45:06,-35.1032,138.8568,4285,3.6,hab*5681\n"
#: 15 January 2011, 12:46:40 UTC.
RECEIVED = 1295095600


def heard(packet: bytes, callsign: str = "M0ZDR", at: int = RECEIVED, sent: int = 0) -> bytes:
    return json.dumps(
        {
            "callsign": callsign,
            "type": "RECEIVED_TELEM",
            "time_created": at,
            "time_uploaded": sent or at,
            "data": {"string": base64.b64encode(packet).decode()},
        }
    ).encode()


@pytest.fixture
def gateway(habitat: HabitatFactory) -> Habitat:
    return habitat({"sinks": [ARCHIVE_SINK, PARSER]})


def telem(gateway: Habitat) -> list[dict[str, Any]]:
    done = gateway.cli("query", "--type", "TELEM", "--format", "ndjson", "--suspicious")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_was_heard_becomes_telemetry(gateway: Habitat) -> None:
    assert gateway.scgi("POST", "/message", heard(SENTENCE)).status == 200
    (document,) = eventually(lambda: telem(gateway), "it is parsed and archived")
    assert document["callsign"] == "HABITAT"
    assert document["ip"] is None
    assert document["data"] == {
        "protocol": "ukhas",
        "payload": "habitat",
        "sequence": 123,
        "time": "12:45:06",
        "position": {"latitude": -35.1032, "longitude": 138.8568, "altitude": 4285},
        "values": {"field_7": 3.6, "field_8": "hab"},
    }
    assert document["time_created"] % 86400 == 45906


def test_however_many_receivers_there_is_one(gateway: Habitat) -> None:
    for number in range(20):
        body = heard(SENTENCE, f"RX-{number}")
        assert gateway.scgi("POST", "/message", body).status == 200
    gateway.wait_until_archived()
    assert len(telem(gateway)) == 1
    gateway.restart()
    assert gateway.scgi("POST", "/message", heard(SENTENCE, "LATE")).status == 200
    gateway.wait_until_archived()
    assert len(telem(gateway)) == 1


def test_what_can_t_be_understood_stays_as_it_came(gateway: Habitat) -> None:
    for packet in (SENTENCE.replace(b"5681", b"0000"), b"\x00\xff noise", b""):
        assert gateway.scgi("POST", "/message", heard(packet)).status == 200
    assert gateway.scgi("POST", "/message", heard(SENTENCE)).status == 200
    gateway.wait_until_archived()
    assert len(telem(gateway)) == 1
    assert gateway.status()["dead_letters"] == 0
    assert gateway.status()["sinks"][PARSER]["counts"] == {
        "checksum": 1,
        "unknown": 2,
        "parsed": 1,
    }


def test_payload_configurations_are_read_and_checked(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    file = gateway.directory / "payloads.yml"
    gateway.config["sinks"] = [ARCHIVE_SINK, {PARSER: {"payloads": str(file)}}]
    file.write_text("- {name: p, sentences: [{callsign: hab, checksum: sum, fields: []}]}")
    process = gateway.cli("serve")
    assert process.returncode == 2
    assert f"{file}: [0].sentences[0].checksum: must be one of" in process.stderr
    file.write_text(
        "- name: p\n"
        "  sentences:\n"
        "    - callsign: hab\n"
        "      checksum: none\n"
        "      fields: [{name: volts, sensor: base.ascii_float}]\n"
    )
    gateway.start()
    assert gateway.scgi("POST", "/message", heard(b"$$hab,1.5*00\n")).status == 200
    (document,) = eventually(lambda: telem(gateway), "it is parsed and archived")
    assert document["data"]["values"] == {"volts": 1.5}
    done = gateway.cli("payloads", "ls")
    assert done.stdout.split()[-4:] == ["hab", "p", "none", "volts"]
    done = gateway.cli("payloads", "try", "$$hab,1.5*00")
    assert (done.returncode, done.stdout.split()[-2:]) == (0, ["volts", "1.5"])
    done = gateway.cli("payloads", "try", "$$hab,x*00")
    assert (done.returncode, done.stderr) == (1, "field: volts: 'x' is no number\n")
    assert done.stdout.split(None, 2) == ["volts", "x", "wrong: 'x' is no number\n"]
    done = gateway.cli("payloads", "check", str(file))
    assert done.stdout == f"{file}: 1 payload, 1 sentence\n"
