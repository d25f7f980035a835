"""The messages: a list that can be filtered, and a page for each of them."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from flask import Blueprint, request

from habitat_like import times
from habitat_like.archive import Archive, ArchiveError, Query
from habitat_like.archive.base import Document, to_json
from habitat_like.console import payloads
from habitat_like.console.archives import this_archives
from habitat_like.console.bounded import Bounded
from habitat_like.console.exports import formats
from habitat_like.console.filters import Place, read_filter, read_place, show_place
from habitat_like.console.pages import PageError, answer_with, page, station_page, this_program
from habitat_like.console.parsing import read_packet
from habitat_like.message.types import SERVER_TYPES

blueprint = Blueprint("messages", __name__)

#: Messages on a page, and bytes of them; fewer messages are on it where they are large.
SIZE = 50
BYTES = 2 * 1024 * 1024
#: Bytes of JSON that a message's page shows; a larger one is to be had as JSON alone.
SHOWN_JSON = 200_000


@page(blueprint, "/messages", "messages.html")
def messages() -> dict[str, Any]:
    """The messages that match the filter, a page of them."""
    chosen = read_filter(request.args, time.time())
    try:
        after, before = (read_place(request.args.get(name)) for name in ("after", "before"))
    except ValueError as error:
        raise PageError(400, str(error)) from None
    data: dict[str, Any] = {
        "filter": chosen.written,
        "problems": chosen.problems,
        "problem": None,
        "messages": [],
        "next": None,
        "previous": None,
        "formats": formats(),
        "types": [*this_program().registry.names, *SERVER_TYPES],
    }
    if chosen.problems:
        answer_with(400)
        return data
    try:
        with this_archives().lend() as archive:
            found, previous, following = _turn(archive, chosen.query, after, before)
    except ArchiveError as error:
        # The form is still useful: the archive may be back in a moment.
        answer_with(503)
        return {**data, "problem": str(error)}
    return {
        **data,
        "messages": found,
        "next": show_place(found[-1]) if following else None,
        "previous": show_place(found[0]) if previous else None,
    }


# A gateway's ids have no slash, but other programs may write to the database.
@page(blueprint, "/messages/<path:identifier>", "message.html")
def message(identifier: str) -> dict[str, Any]:
    """One message with all its fields."""
    with this_archives().lend() as archive:
        document = archive.get(identifier)
    if document is None:
        raise PageError(404, f"There is no message {identifier[:100]!r} in the archive.")
    return {
        "message": document,
        "payload": payloads.payload_of(document),
        "parsed": read_packet(document),
    }


def _turn(
    archive: Archive, query: Query, after: Place | None, before: Place | None
) -> tuple[list[Document], bool, bool]:
    """A page of messages, and whether there are more before and after it."""
    if before is not None:
        backwards = msgspec.structs.replace(
            query, order="desc" if query.order == "asc" else "asc", after=before
        )
        messages = Bounded(archive, backwards, SIZE + 1, BYTES)
        found = list(messages)
        if len(found) >= SIZE or messages.cut:
            return found[:SIZE][::-1], messages.cut, True
        # The list's beginning: a whole page of it.
        after = None
    messages = Bounded(archive, msgspec.structs.replace(query, after=after), SIZE + 1, BYTES)
    found = list(messages)
    return found[:SIZE], after is not None and bool(found), messages.cut


@blueprint.app_template_filter("tree")
def _tree(value: Any) -> payloads.Node:
    return payloads.tree_of(value)


@blueprint.app_template_filter("summary")
def _summary(document: Document) -> str:
    return payloads.summarize(document)


@blueprint.app_template_filter("raw_json")
def _raw_json(value: Any) -> str | None:
    """Indented JSON, None if it is too long to show."""
    text = msgspec.json.format(to_json(value), indent=2)
    return text.decode("utf-8") if len(text) <= SHOWN_JSON else None


@blueprint.app_template_filter("clock")
def _clock(seconds: Any) -> str:
    """UNIX seconds as date and time, short."""
    return times.show_utc(seconds) if isinstance(seconds, int | float) else "-"


@blueprint.app_template_filter("words")
def _words(seconds: Any) -> str:
    """UNIX seconds in words."""
    return times.show_utc(seconds, "%A %-d %B %Y, %H:%M:%S UTC")


@blueprint.app_template_global("station_address")
def _station_address(callsign: Any) -> str | None:
    """The address of a station's page, None where there is none."""
    return station_page(callsign) if isinstance(callsign, str) else None
