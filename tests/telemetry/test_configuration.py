"""Payload configurations: habitat's documents, taken as they are, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from habitat_like.config.keys import ConfigError
from habitat_like.message.facts import Position
from habitat_like.telemetry import ukhas
from habitat_like.telemetry.checksums import CHECKSUMS
from habitat_like.telemetry.configuration import Payloads, load, read
from habitat_like.telemetry.fix import Fix, ParseError

#: A document as habitat's database has it.
DOCUMENT: dict[str, Any] = {
    "_id": "4dc5d3b9a1d4b8b4a9f0d3e5c2b1a098",
    "_rev": "1-967a00dff5e02add41819138abb3284d",
    "type": "payload_configuration",
    "name": "Ferret 3",
    "time_created": "2013-04-06T11:30:00+01:00",
    "metadata": {"predicted_burst": 32000},
    "transmissions": [
        {
            "frequency": 434075000,
            "mode": "USB",
            "modulation": "RTTY",
            "shift": 425,
            "encoding": "ASCII-8",
            "baud": 50,
            "parity": "none",
            "stop": 2,
            "description": "Backup",
        }
    ],
    "sentences": [
        {
            "protocol": "UKHAS",
            "callsign": "FERRET3",
            "checksum": "xor",
            "description": "the main one",
            "fields": [
                {"name": "sentence_id", "sensor": "base.ascii_int"},
                {"name": "time", "sensor": "stdtelem.time"},
                {"name": "latitude", "sensor": "stdtelem.coordinate", "format": "ddmm.mmmm"},
                {"name": "longitude", "sensor": "stdtelem.coordinate", "format": "dddmm.mmmm"},
                {"name": "altitude", "sensor": "base.ascii_int"},
                {"name": "temperature_external", "sensor": "base.ascii_float"},
                {"name": "lock", "sensor": "base.ascii_int"},
                {"name": "state", "sensor": "base.ascii_int", "base": 16, "optional": True},
            ],
            "filters": {
                "intermediate": [{"type": "normal", "filter": "common.semicolons_to_commas"}],
                "post": [
                    {
                        "type": "normal",
                        "filter": "common.numeric_scale",
                        "source": "temperature_external",
                        "factor": 0.1,
                        "offset": -10,
                        "round": 3,
                    },
                    {
                        "type": "normal",
                        "filter": "common.simple_map",
                        "source": "state",
                        "destination": "state_name",
                        "map": {"26": "descending"},
                    },
                    {
                        "type": "normal",
                        "filter": "common.invalid_gps_lock",
                        "source": "lock",
                        "ok": [3],
                    },
                ],
            },
        },
        {
            "protocol": "simple_binary",
            "callsign": "FERRET3",
            "format": "<Hii",
            "fields": [{"name": "latitude"}],
        },
    ],
}


def with_checksum(text: str, name: str = "xor") -> bytes:
    return f"$${text}*{CHECKSUMS[name](text.encode()).lower()}\n".encode()


def parse(packet: bytes, payloads: Payloads) -> Fix:
    (readings,) = ukhas.find(packet)
    return ukhas.parse(readings, payloads)


def layout(*fields: dict[str, Any], **more: Any) -> Payloads:
    return read({"name": "p", "sentences": [{"callsign": "hab", "fields": list(fields), **more}]})


NUMBER = {"name": "sentence_id", "sensor": "base.ascii_int"}


def test_a_document_of_habitat_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "payloads.json"
    file.write_text(json.dumps(DOCUMENT))
    payloads = load(str(file))
    assert payloads.payloads[0].left_out == 1
    fix = parse(with_checksum("FERRET3;7;12:45:06;5130.0;-00006.0;1000;345;3;1a"), payloads)
    assert (fix.payload, fix.sequence, fix.time) == ("FERRET3", 7, 45906)
    assert fix.position == Position(51.5, -0.1, 1000)
    assert fix.values == {
        "temperature_external": 24.5,
        "lock": 3,
        "state": 26,
        "state_name": "descending",
    }


def test_a_filter_that_can_not_be_applied_changes_nothing() -> None:
    payloads = read(DOCUMENT)
    # No state: its map has nothing to look up. No lock: the position can't be right.
    fix = parse(with_checksum("FERRET3,7,12:45:06,5130.0,00006.0,1000,345,2"), payloads)
    assert fix.values == {"temperature_external": 24.5, "lock": 2}
    assert fix.position is None


def test_a_payload_without_a_checksum_sends_none() -> None:
    payloads = layout(NUMBER, {"name": "note", "sensor": "base.string"}, checksum="none")
    assert parse(b"\x00noise$$$$hab,7,all is well\n", payloads).values == {"note": "all is well"}
    assert parse(b"$$hab,7,all is well", payloads).sequence == 7
    # One that comes with it all the same is not part of the last field.
    assert parse(b"$$hab,7,all is well*1234\n", payloads).values == {"note": "all is well"}
    with pytest.raises(ParseError, match="does not end in a checksum"):
        parse(b"$$other,7,all is well\n", payloads)


def test_a_constant_may_be_written_as_a_number() -> None:
    payloads = layout(NUMBER, {"name": "kind", "sensor": "base.constant", "expect": 5})
    assert parse(with_checksum("hab,1,5", "crc16-ccitt"), payloads).values == {"kind": "5"}
    with pytest.raises(ParseError, match="kind: '6' is not '5'"):
        parse(with_checksum("hab,1,6", "crc16-ccitt"), payloads)


@pytest.mark.parametrize(
    ("change", "where", "why"),
    [
        ({"checksum": "sum"}, ".checksum", "must be one of crc16-ccitt, xor"),
        ({"callsign": "a b"}, ".callsign", "must be of A-Z"),
        ({"fields": []}, ".fields", "at least one field"),
        ({"fields": [NUMBER, NUMBER]}, ".fields[1].name", "appears twice"),
        ({"fields": [{"name": "payload", "sensor": "base.string"}]}, ".fields[0].name", "nor be"),
        ({"fields": [{"name": "_x", "sensor": "base.string"}]}, ".fields[0].name", "begin with _"),
        ({"fields": [{"name": "x", "sensor": "base.hex"}]}, ".fields[0].sensor", "one of base.asc"),
        ({"fields": [{"name": "x", "sensor": "base.constant"}]}, ".fields[0].expect", "missing"),
        (
            {"fields": [{"name": "x", "sensor": "stdtelem.coordinate", "format": "mm"}]},
            ".fields[0].format",
            "such as dd.dddd or ddmm.mm",
        ),
        (
            {"filters": {"post": [{"type": "hotfix", "code": "return data"}]}},
            ".filters.post[0]",
            "a hotfix is code, which is never run",
        ),
        (
            {"filters": {"post": [{"filter": "common.no_such"}]}},
            ".filters.post[0].filter",
            "must be one of numeric_scale",
        ),
        (
            {"filters": {"post": [{"filter": "numeric_scale", "source": "a"}]}},
            ".filters.post[0].factor",
            "missing",
        ),
        (
            {"filters": {"post": [{"filter": "invalid_gps_lock"}]}},
            ".filters.post[0].ok",
            "missing",
        ),
        (
            {
                "filters": {
                    "post": [
                        {"filter": "simple_map", "source": "a", "map": {}, "destination": "_b"}
                    ]
                }
            },
            ".filters.post[0].destination",
            "must not begin with _",
        ),
        (
            {"filters": {"intermediate": [{"filter": "numeric_scale"}]}},
            ".filters.intermediate[0].filter",
            "must be one of semicolons_to_commas",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(change: dict[str, Any], where: str, why: str) -> None:
    sentence = {"callsign": "hab", "fields": [NUMBER], **change}
    other = {"protocol": "simple_binary", "format": "<H"}
    with pytest.raises(ConfigError) as caught:
        read([{"name": "p", "sentences": [other, sentence]}])
    assert str(caught.value).startswith(f"[0].sentences[1]{where}: ")
    assert why in str(caught.value)
