"""The packets: what stations received, put together; who heard a packet, and when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Blueprint, request

from habitat_like.archive import Archive, ArchiveError, Query
from habitat_like.archive.base import Document
from habitat_like.console import payloads
from habitat_like.console.archives import this_archives
from habitat_like.console.bounded import Bounded
from habitat_like.console.filters import Place, read_filter, read_place
from habitat_like.console.pages import PageError, answer_with, page
from habitat_like.console.parsing import parsing, read_packet
from habitat_like.console.receptions import GAP, Grouping, Packet, Page, chain
from habitat_like.times import MAX_TIME

blueprint = Blueprint("packets", __name__)

#: Packets on a page.
SIZE = 50
#: Messages that a page reads at most, to find the packets' receptions, and before it, to know which
#: packets were on an earlier page.
READ, READ_BEFORE = 1000, 500
#: Messages that are read on each side of a packet, to find its receptions.
READ_AROUND = 1000
#: Bytes of messages that each of these reads.
READ_BYTES = 16 * 1024 * 1024
#: Callsigns that a list shows of a packet.
NAMED = 8


@page(blueprint, "/packets", "packets.html")
def packets() -> dict[str, Any]:
    """The packets that were heard, a page of them."""
    times = {name: request.args.get(name, "") for name in ("since", "until")}
    chosen = read_filter({**times, "type": payloads.TELEMETRY}, time.time())
    try:
        after = read_place(request.args.get("after"))
    except ValueError as error:
        raise PageError(400, str(error)) from None
    written = {name: text for name, text in chosen.written.items() if name in times}
    data: dict[str, Any] = {
        "filter": written,
        "problems": chosen.problems,
        "problem": None,
        "packets": [],
        "next": None,
        "gap": GAP,
        "read": READ,
    }
    if chosen.problems:
        answer_with(400)
        return data
    try:
        with this_archives().lend() as archive:
            found = _find(archive, msgspec.structs.replace(chosen.query, after=after))
    except ArchiveError as error:
        answer_with(503)
        return {**data, "problem": str(error)}
    return {
        **data,
        "packets": [_row(packet) for packet in found.packets],
        "next": f"{found.next[0]},{found.next[1]}" if found.next else None,
    }


@page(blueprint, "/packets/<path:identifier>", "packet.html")
def packet(identifier: str) -> dict[str, Any]:
    """The packet that a message carries, with all its receptions."""
    with this_archives().lend() as archive:
        document = archive.get(identifier)
        if document is None:
            raise PageError(404, f"There is no message {identifier[:100]!r} in the archive.")
        if document.get("type") != payloads.TELEMETRY:
            raise PageError(404, f"The message {identifier[:100]!r} carries no packet.")
        found = _around(archive, document)
    first = found.first
    return {
        "message": document,
        "payload": payloads.payload_of(document),
        "parsed": read_packet(document),
        "receptions": [_reception(one, first) for one in reversed(found.receptions)],
        "stations": found.stations(),
        "whole": found.whole,
        "gap": GAP,
    }


page(blueprint, "/parsing", "parsing.html")(parsing)


def _find(archive: Archive, query: Query) -> Page:
    """The page of packets behind ``query.after``."""
    grouping = Grouping(SIZE, _before(archive, query.after) if query.after else ())
    messages = Bounded(archive, query, READ, READ_BYTES)
    for document in messages:
        if not grouping.take(document):
            return grouping.page(more=True)
    return grouping.page(more=messages.cut)


def _before(archive: Archive, after: Place) -> Iterator[Document]:
    """What was received in the time before a page, the messages nearest to it."""
    wanted = Query(
        type=payloads.TELEMETRY,
        since=int(after[0]),
        until=int(after[0]) + GAP + 1,
        order="asc",
    )
    place = tuple(after)
    messages = Bounded(archive, wanted, READ_BEFORE, READ_BYTES)
    return (one for one in messages if (one["time_created"], one["_id"]) >= place)


def _around(archive: Archive, document: Document) -> Packet:
    """The packet of which ``document`` is a reception."""
    moment = int(document["time_created"])
    since = Query(type=payloads.TELEMETRY, since=moment, order="asc")
    until = Query(type=payloads.TELEMETRY, until=min(moment, MAX_TIME) + 1)
    newer = Bounded(archive, since, READ_AROUND, READ_BYTES)
    older = Bounded(archive, until, READ_AROUND, READ_BYTES)
    found = chain(document, newer, older)
    found.whole = not (newer.cut or older.cut)
    return found


def _row(packet: Packet) -> dict[str, Any]:
    newest = packet.receptions[0]
    stations = packet.stations()
    return {
        "id": newest["_id"],
        "first": packet.first,
        "last": newest["time_created"],
        "receptions": len(packet.receptions),
        "whole": packet.whole,
        "stations": stations[:NAMED],
        "more_stations": max(len(stations) - NAMED, 0),
        "bytes": newest["bytes"],
        "summary": newest["summary"],
    }


def _reception(document: Document, first: float) -> dict[str, Any]:
    return {
        "id": document["_id"],
        "callsign": document["callsign"],
        "time_created": document["time_created"],
        "delay": document["time_created"] - first,
        "frequency": document["frequency"],
        "snr": document["snr"],
    }
