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
from habitat_like.console.filters import Place, read_filter, read_place
from habitat_like.console.pages import Problem, answer_with, page
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
        raise Problem(400, str(error)) from None
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
            raise Problem(404, f"There is no message {identifier[:100]!r} in the archive.")
        if document.get("type") != payloads.TELEMETRY:
            raise Problem(404, f"The message {identifier[:100]!r} carries no packet.")
        found = _around(archive, document)
    first = found.first
    return {
        "message": document,
        "payload": payloads.payload_of(document),
        "receptions": [_reception(one, first) for one in reversed(found.receptions)],
        "stations": found.stations(),
        "whole": found.whole,
        "gap": GAP,
    }


def _find(archive: Archive, query: Query) -> Page:
    """The page of packets behind ``query.after``."""
    grouping = Grouping(SIZE, _before(archive, query.after) if query.after else ())
    messages = _Bounded(archive, query, READ)
    for document in messages:
        if not grouping.take(document):
            return grouping.page(more=True)
    return grouping.page(more=messages.cut)


def _before(archive: Archive, after: Place) -> list[Document]:
    """What was received in the time before a page, the messages nearest to it."""
    wanted = Query(
        type=payloads.TELEMETRY,
        since=int(after[0]),
        until=int(after[0]) + GAP + 1,
        order="asc",
        limit=READ_BEFORE,
    )
    place = tuple(after)
    return [one for one in archive.query(wanted) if (one["time_created"], one["_id"]) >= place]


def _around(archive: Archive, document: Document) -> Packet:
    """The packet of which ``document`` is a reception."""
    moment = int(document["time_created"])
    since = Query(type=payloads.TELEMETRY, since=moment, order="asc")
    until = Query(type=payloads.TELEMETRY, until=min(moment, MAX_TIME) + 1)
    newer = _Bounded(archive, since, READ_AROUND)
    older = _Bounded(archive, until, READ_AROUND)
    found = chain(document, newer, older)
    found.whole = not (newer.cut or older.cut)
    return found


class _Bounded:
    """Messages that match, at most ``limit``; ``cut`` says, in the end, that there may be more."""

    def __init__(self, archive: Archive, query: Query, limit: int) -> None:
        self._messages = archive.query(msgspec.structs.replace(query, limit=limit))
        self._limit = limit
        self.cut = False

    def __iter__(self) -> Iterator[Document]:
        for number, document in enumerate(self._messages, 1):
            self.cut = number == self._limit
            yield document


def _row(packet: Packet) -> dict[str, Any]:
    newest = packet.receptions[0]
    stations = packet.stations()
    heard = payloads.packet_of(newest)
    return {
        "id": newest["_id"],
        "first": packet.first,
        "last": newest["time_created"],
        "receptions": len(packet.receptions),
        "whole": packet.whole,
        "stations": stations[:NAMED],
        "more_stations": max(len(stations) - NAMED, 0),
        "bytes": None if heard is None else len(heard),
        "summary": payloads.summarize(newest),
    }


def _reception(document: Document, first: float) -> dict[str, Any]:
    data = document.get("data")
    data = data if isinstance(data, dict) else {}
    return {
        "id": document["_id"],
        "callsign": document.get("callsign"),
        "time_created": document["time_created"],
        "delay": document["time_created"] - first,
        "frequency": data.get("frequency"),
        "snr": data.get("snr"),
    }
