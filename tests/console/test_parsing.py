"""The console says what is in packets, and which could not be understood."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest

from tests.support.console import Visitor, with_console
from tests.support.gateway import Habitat

PARSER = "habitat_like.telemetry.ParserSink"
SENTENCE = b"$$habitat,123,12:45:06,-35.1032,138.8568,4285,3.6,hab*5681\n"
#: What can't be understood, by reason.
BROKEN = {
    "checksum": SENTENCE.replace(b"5681", b"0000"),
    "unknown": b"noise",
    "no checksum": b"$$habitat,123,",
}


def upload(gateway: Habitat, packet: bytes, callsign: str) -> str:
    """Send a packet; returns the message's id."""
    now = int(time.time())
    message = {
        "callsign": callsign,
        "type": "RECEIVED_TELEM",
        "time_created": now,
        "time_uploaded": now,
        "data": {"string": base64.b64encode(packet).decode()},
    }
    assert gateway.scgi("POST", "/message", json.dumps(message)).status == 200
    gateway.wait_until_archived()
    (document,) = gateway.documents(callsign)
    identifier: str = document["_id"]
    return identifier


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    made = with_console()
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(scope="module")
def visitor(gateway: Habitat) -> Visitor:
    made = Visitor(gateway)
    made.sign_in()
    return made


def test_a_packet_is_shown_with_what_it_says(gateway: Habitat, visitor: Visitor) -> None:
    message = upload(gateway, SENTENCE, "M0ZDR")
    for page in ("messages", "packets"):
        assert visitor.json(f"/console/{page}/{message}.json")["parsed"] == {
            "fixes": [
                {
                    "protocol": "ukhas",
                    "payload": "habitat",
                    "sequence": 123,
                    "time": "12:45:06",
                    "position": {"latitude": -35.1032, "longitude": 138.8568, "altitude": 4285},
                    "values": {"field_7": 3.6, "field_8": "hab"},
                }
            ],
            "problems": [],
        }
        shown = visitor.page(f"/console/{page}/{message}")
        assert "<dt>Position</dt><dd>-35.1032, 138.8568, 4285 m</dd>" in shown
        assert "<dt>field_8</dt><dd>hab</dd>" in shown
        assert "24 24 68 61 62" in shown, "the dump is beside it"


def test_what_is_not_understood_is_counted_by_reason_with_an_example(
    gateway: Habitat, visitor: Visitor
) -> None:
    before = visitor.json("/console/parsing.json")
    assert [one["name"] for one in before["parsers"]] == [PARSER]
    messages = {}
    for number, (reason, packet) in enumerate(BROKEN.items()):
        messages[reason] = upload(gateway, packet, f"RX-{number}")
        page = visitor.page(f"/console/messages/{messages[reason]}")
        assert f"Not understood ({reason})" in page
    (parser,) = visitor.json("/console/parsing.json")["parsers"]
    for number, reason in enumerate(BROKEN):
        (problem,) = [one for one in parser["problems"] if one["reason"] == reason]
        assert problem["packets"] == 1
        example = problem["example"]
        assert example["callsign"] == f"RX-{number}"
        assert example["page"] == f"/console/messages/{messages[reason]}"
        assert abs(example["time"] - time.time()) < 3600
    page = visitor.page("/console/parsing")
    assert "crc16-ccitt is 5681, the sentence says 0000" in page
    assert "neither a UKHAS sentence nor Horus Binary" in page
    counts = gateway.status()["sinks"][PARSER]["counts"]
    assert {reason: counts[reason] for reason in BROKEN} == dict.fromkeys(BROKEN, 1)
    metrics = gateway.scgi("GET", "/metrics").text
    for reason in BROKEN:
        line = f'habitat_sink_counts_total{{kind="{reason}",sink="{PARSER}"}} 1.0'
        assert line in metrics


def test_without_a_parser_the_page_says_so() -> None:
    gateway = with_console(sinks=["habitat_like.archive.ArchiveSink"])
    try:
        gateway.start()
        visitor = Visitor(gateway)
        visitor.sign_in()
        message = upload(gateway, SENTENCE, "M0ZDR")
        assert visitor.json(f"/console/messages/{message}.json")["parsed"] is None
        assert "No parser runs" in visitor.page("/console/parsing")
    finally:
        gateway.close()
