"""The fixes in a received packet of any protocol. No I/O."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from habitat_like.message.message import Listener, Message
from habitat_like.telemetry import horus, ukhas
from habitat_like.telemetry.configuration import Payloads
from habitat_like.telemetry.coordinates import fix_time, show_time
from habitat_like.telemetry.fix import Fix, ParseError, plain

TELEM = "TELEM"


def read(
    packet: bytes, payloads: Payloads, names: horus.Names
) -> tuple[list[Fix], list[ParseError]]:
    """A packet's contents: the fixes, and why anything that looked like one is not."""
    fixes: list[Fix] = []
    problems: list[ParseError] = []
    if horus.is_packet(packet):
        try:
            return [horus.parse(packet, names)], []
        except ParseError as error:
            return [], [error]
    for readings in ukhas.find(packet):
        try:
            fixes.append(ukhas.parse(readings, payloads))
        except ParseError as error:
            problems.append(error)
    if not fixes and not problems:
        problems.append(ParseError("unknown", "neither a UKHAS sentence nor Horus Binary"))
    return fixes, problems


def message(fix: Fix, received: int, uploaded: int) -> Message:
    """The TELEM message of a fix that was ``received`` and ``uploaded`` at these UNIX times.

    However many receivers heard it, it is one message: its id depends only on payload, time and
    data. A fix without a time of day gets that of its reception.
    """
    created = received if fix.time is None else fix_time(fix.time, received)
    data: dict[str, Any] = {"protocol": fix.protocol, "payload": fix.payload}
    if fix.sequence is not None:
        data["sequence"] = fix.sequence
    if fix.time is not None:
        data["time"] = show_time(fix.time)
    if fix.position is not None:
        data["position"] = plain(fix.position)
    data["values"] = msgspec.to_builtins(fix.values)
    callsign = re.sub(r"[^A-Za-z0-9/_-]+", "_", fix.payload)[:64] or "UNKNOWN"
    return Message(Listener(callsign), TELEM, created, uploaded, data)
