"""Filters: which messages a user asks for, as encoded in the address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from habitat_like import times
from habitat_like.archive.base import Document, Query
from habitat_like.export.selection import Box, Selection, parse_box
from habitat_like.message.message import InvalidMessage, Listener, check_type_name
from habitat_like.times import MAX_TIME

Order = Literal["desc", "asc"]
#: A document's place in a list: ``(time_created, _id)``.
Place = tuple[int | float, str]

_PLACE = re.compile(r"([0-9]{1,10}(?:\.[0-9]+)?),(.{1,1024})", re.DOTALL)


class MessageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wrote, and what it means.

    ``written`` has the address's non-empty arguments, so that it can be shared as is; ``problems``
    has a readable line for each field that can't be read. ``query`` is valid only if there are no
    problems.
    """

    written: dict[str, str]
    problems: dict[str, str]
    query: Query


def read_filter(arguments: Mapping[str, str], now: float) -> MessageFilter:
    """The filter in an address; ``now`` is UNIX seconds, for times such as ``2h ago``.

    Times are read as ``habitat query`` reads them, but without an offset they are UTC. Fields of
    other names are left alone.
    """
    written = {
        name: text
        for name in ("since", "until", "callsign", "type", "order", "suspicious")
        if (text := arguments.get(name, "").strip())
    }
    problems: dict[str, str] = {}
    since, until = 0, MAX_TIME + 1
    try:
        since = times.parse(written.get("since", "0"), now, utc=True)
    except ValueError as error:
        problems["since"] = str(error)
    try:
        until = times.parse(written["until"], now, utc=True) if "until" in written else until
    except ValueError as error:
        problems["until"] = str(error)
    if not problems and since > until:
        problems["until"] = "this is before the other time, so nothing can match"
    callsign = written.get("callsign")
    try:
        callsign = callsign and Listener(callsign).callsign
    except InvalidMessage as error:
        problems["callsign"] = str(error).removeprefix("callsign: ")
    type_ = written.get("type", "").upper() or None
    try:
        if type_ is not None:
            check_type_name(type_)
    except ValueError as error:
        problems["type"] = str(error)
    order: Order = "asc" if written.get("order") == "asc" else "desc"
    if written.get("order") not in (None, "asc", "desc"):
        problems["order"] = "must be desc (newest first) or asc (oldest first)"
    query = Query(
        callsign=callsign,
        type=type_,
        since=since,
        until=until,
        order=order,
        suspicious="suspicious" in written,
    )
    return MessageFilter(written=written, problems=problems, query=query)


def read_selection(arguments: Mapping[str, str]) -> Selection:
    """What else an address selects by: ``payload``, ``network`` and ``box``. Raises ValueError."""
    given = {name: arguments.get(name, "").strip() for name in ("payload", "network", "box")}
    box: Box | None = None
    try:
        box = parse_box(given["box"]) if given["box"] else None
    except ValueError as error:
        raise ValueError(f"box: {error}") from None
    return Selection(payload=given["payload"] or None, network=given["network"] or None, box=box)


def read_place(text: str | None) -> Place | None:
    """A place as ``show_place`` writes it, None where there is none. Raises ValueError."""
    if not text:
        return None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:64]!r} is not a position in the list: use the links of the page")
    number = float(found[1])
    return int(number) if number.is_integer() else number, found[2]


def show_place(document: Document) -> str:
    """A document's place as text for an address."""
    return f"{document['time_created']},{document['_id']}"
