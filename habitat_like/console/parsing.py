"""Parsing: what packets say, and which of them could not be understood, with an example of each."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from habitat_like.archive.base import Document
from habitat_like.console import payloads
from habitat_like.console.pages import link, this_program
from habitat_like.message.facts import data_of
from habitat_like.telemetry.coordinates import show_time
from habitat_like.telemetry.fix import Fix, plain
from habitat_like.telemetry.packets import UNKNOWN
from habitat_like.telemetry.sink import PARSED, ParserSink

#: Why a packet can't be understood, in words.
REASONS = {
    "unknown": "neither a UKHAS sentence nor Horus Binary",
    "checksum": "the checksum is wrong: bits were lost on the air, or another one is configured",
    "no checksum": "a sentence without its end",
    "too short": "a sentence of too few characters",
    "callsign": "a sentence that doesn't begin with a callsign",
    "number of fields": "more or fewer fields than the payload's configuration has",
    "field": "a field that is not what the payload's configuration says",
    "custom fields": "custom fields that don't fit their layout",
    "horus v3": "Horus Binary v3 needs asn1tools on the gateway: pip install 'habitat_like[horus]'",
    "defect": "a bug in the parser; see the log",
    "other": "other reasons",
}


def parsing() -> dict[str, Any]:
    """What each ParserSink has parsed since the start, and what it could not."""
    program = this_program()
    return {
        "started": program.started,
        "parsers": [_parser(name, sink) for name, sink in parsers().items()],
    }


def parsers() -> dict[str, ParserSink]:
    """The ParserSinks that run, by name."""
    sinks = this_program().gateway.server.sinks
    return {name: sink for name, sink in sinks.items() if isinstance(sink, ParserSink)}


def read_packet(document: Document) -> dict[str, Any] | None:
    """What the packet in a message says, as the first ParserSink reads it.

    ``fixes`` and ``problems``; None for a message without a packet, or where no parser runs.
    """
    sink = next(iter(parsers().values()), None)
    packet = _packet_of(document)
    if sink is None or packet is None:
        return None
    fixes, problems = sink.read(packet)
    if document.get("type") != payloads.TELEMETRY and all(one.kind == UNKNOWN for one in problems):
        # What other networks call raw can be anything.
        problems = []
    if not fixes and not problems:
        return None
    return {
        "fixes": [_fix(one) for one in fixes],
        "problems": [{"reason": one.kind, "text": str(one)} for one in problems],
    }


def _packet_of(document: Document) -> bytes | None:
    """The bytes that were received: of RECEIVED_TELEM, or ``raw`` of an observation."""
    if document.get("type") == payloads.TELEMETRY:
        return payloads.packet_of(document)
    raw = data_of(document).get("raw")
    try:
        return base64.b64decode(raw, validate=True) if isinstance(raw, str) else None
    except (binascii.Error, ValueError):
        return None


def _fix(fix: Fix) -> dict[str, Any]:
    return {
        "protocol": fix.protocol,
        "payload": fix.payload,
        "sequence": fix.sequence,
        "time": None if fix.time is None else show_time(fix.time),
        "position": None if fix.position is None else plain(fix.position),
        "values": fix.values,
    }


def _parser(name: str, sink: ParserSink) -> dict[str, Any]:
    counts, examples = dict(sink.counts), dict(sink.examples)
    parsed = counts.pop(PARSED, 0)
    return {
        "name": name,
        "parsed": parsed,
        "problems": [
            {
                "reason": reason,
                "text": REASONS.get(reason, reason),
                "packets": count,
                "example": _example(examples[reason]) if reason in examples else None,
            }
            for reason, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        ],
    }


def _example(example: Any) -> dict[str, Any]:
    return {
        "time": example.time,
        "callsign": example.callsign,
        "message": example.message,
        "text": example.text,
        "page": link("messages.message", identifier=example.message),
    }
