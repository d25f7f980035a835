"""The fixes in a received packet of any protocol. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from habitat_like.message.message import Listener, Message, to_callsign
from habitat_like.telemetry import horus, horus_v3, ukhas
from habitat_like.telemetry.configuration import Payloads
from habitat_like.telemetry.coordinates import DAY, fix_time, show_time
from habitat_like.telemetry.fix import Fix, ParseError, plain

TELEM = "TELEM"
#: The kind of error of what is no packet at all.
UNKNOWN = "unknown"
#: 2000-01-01 in UNIX seconds: a receiver whose clock shows less has never been set.
EARLIEST = 946_684_800
#: Seconds in which the same fix without a time of day is one.
TIMELESS = 3600


def read(
    packet: bytes, payloads: Payloads, names: horus.Names
) -> tuple[list[Fix], list[ParseError]]:
    """A packet's contents: the fixes, and why anything that looked like one is not."""
    fixes: list[Fix] = []
    problems: list[ParseError] = []
    try:
        if horus.is_packet(packet):
            return [horus.parse(packet, names)], []
        if horus_v3.is_packet(packet):
            return [horus_v3.parse(packet)], []
    except ParseError as error:
        return [], [error.with_traceback(None)]
    for readings in ukhas.find(packet):
        try:
            fixes.append(ukhas.parse(readings, payloads))
        except ParseError as error:
            # Without what led to it, as they are kept.
            problems.append(error.with_traceback(None))
    if fixes:
        # Pieces of others around a whole sentence are noise.
        problems = [one for one in problems if one.kind not in ukhas.PIECES]
    elif not problems:
        problems.append(ParseError(UNKNOWN, "neither a UKHAS sentence nor Horus Binary"))
    return fixes, problems


def payloads_in(packet: bytes, names: horus.Names) -> list[str]:
    """The names of the payloads that a packet is from, as far as that needs no configuration."""
    try:
        if horus.is_packet(packet):
            return [horus.parse(packet, names).payload]
        if horus_v3.is_packet(packet):
            return [horus_v3.parse(packet).payload]
        return [ukhas.callsign_of(readings[0]) for readings in ukhas.find(packet)]
    except ParseError:
        return []


def message(fix: Fix, created: int, uploaded: int) -> Message:
    """The TELEM message of a fix, from a reception with these ``time_created``, ``time_uploaded``.

    However many receivers heard it, it is one message: its id depends only on payload, time and
    data. A fix without a time of day has that of its reception; within an hour it is the same.
    """
    received = date_of(created, uploaded)
    sent = None
    if fix.time is None:
        created, sent = received, received // TIMELESS * TIMELESS
    else:
        created = fix_time(fix.time, received)
    doubt = None if received >= EARLIEST else "the date is unknown: no clock was set"
    data: dict[str, Any] = {"protocol": fix.protocol, "payload": fix.payload}
    if fix.sequence is not None:
        data["sequence"] = fix.sequence
    if fix.time is not None:
        data["time"] = show_time(fix.time)
    if fix.position is not None:
        data["position"] = plain(fix.position)
    data["values"] = msgspec.to_builtins(fix.values)
    callsign = to_callsign(fix.payload) or "UNKNOWN"
    return Message(Listener(callsign), TELEM, created, uploaded, data, sent, suspicious=doubt)


def date_of(created: int, uploaded: int) -> int:
    """When a packet was received, by the times of its reception.

    That is ``created``, which is by the station's clock, corrected; a late upload does not change
    it. Where it can't be right (before 2000, or more than a day after ``uploaded``, which is by the
    gateway's clock), the packet came in with its upload.
    """
    if EARLIEST <= created <= uploaded + DAY or uploaded < EARLIEST:
        return created
    return uploaded
