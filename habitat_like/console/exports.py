"""Messages as files: those that match a filter, in any format, and how far a download is."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from typing import Any

import msgspec
from flask import Blueprint, g, request
from flask.blueprints import BlueprintSetupState

from habitat_like.archive import Archive, Query
from habitat_like.archive.base import holding
from habitat_like.console.archives import this_archives
from habitat_like.console.downloads import Download, Downloads, this_downloads
from habitat_like.console.filters import MessageFilter, read_filter, read_selection
from habitat_like.console.pages import PageError, json_response, page_errors, this_program
from habitat_like.export import parquet
from habitat_like.export.form import Form, Part
from habitat_like.export.forms import FORMS
from habitat_like.export.selection import Selection
from habitat_like.export.source import Source
from habitat_like.times import MAX_TIME

blueprint = Blueprint("exports", __name__)

#: Bytes that a download may put aside on disk.
SPOOL = 256 * 1024 * 1024
#: The formats as people know them, by their names in ``FORMS``.
TITLES = {
    "csv": "CSV",
    "flat": "CSV, a column for each value",
    "ndjson": "NDJSON",
    "json": "JSON",
    "parquet": "Parquet",
    "geojson": "GeoJSON",
    "kml": "KML (Google Earth)",
    "gpx": "GPX",
}


@blueprint.record_once
def _make_downloads(state: BlueprintSetupState) -> None:
    program = state.app.extensions["program"]
    state.app.extensions["downloads"] = Downloads(
        lambda: program.journal.last_seq,
        lambda: program.gateway.stopping,
        # nginx waits a little longer: see `habitat nginx`.
        lambda: program.config.gateway.timeout + program.config.gateway.shutdown_timeout,
    )


@blueprint.get("/messages/download")
def download() -> Any:
    """All messages that match the filter, as a file."""
    form = FORMS.get(request.args.get("format", ""))
    if form is None:
        raise PageError(400, f"format: must be one of {', '.join(FORMS)}")
    now = time.time()
    chosen = read_filter(request.args, now)
    if chosen.problems:
        name, text = next(iter(chosen.problems.items()))
        raise PageError(400, f"{name}: {text}")
    try:
        selection = read_selection(request.args)
    except ValueError as error:
        raise PageError(400, str(error)) from None
    name = f"{_file_name(chosen, selection, now)}.{form.suffix}"
    started = Download(user=g.user, name=name, begun=now)
    query = chosen.query
    if form.is_in_order:
        query = msgspec.structs.replace(query, order="asc")
    parts = _parts(started, form, query, selection)
    with page_errors():
        return this_downloads().respond(started, request.args.get("token"), form, parts)


@blueprint.get("/downloads/<token>.json")
def progress(token: str) -> Any:
    """How far the download is that this user began with the token."""
    found = this_downloads().find(token, g.user)
    return json_response(found or {"state": "unknown"})


def formats() -> dict[str, str]:
    """The formats that can be had here, with their titles."""
    without = () if parquet.is_installed() else ("parquet",)
    return {name: title for name, title in TITLES.items() if name not in without}


def _parts(
    started: Download, form: Form, query: Query, selection: Selection
) -> Generator[Part, None, None]:
    archives = this_archives()
    facts = this_program().registry.facts

    def parts() -> Generator[Part, None, None]:
        with archives.lend() as archive, holding(archive):
            started.first = _end(archive, query)
            started.last = _end(archive, _turned(query))
            source = Source(archive, query, selection, facts)
            yield from form.write(source, SPOOL)
            started.left_out = source.left_out

    return parts()


def _end(archive: Archive, query: Query) -> float | None:
    """When the first message that matches was created."""
    first = next(archive.query(msgspec.structs.replace(query, limit=1)), None)
    return first["time_created"] if first else None


def _turned(query: Query) -> Query:
    return msgspec.structs.replace(query, order="desc" if query.order == "asc" else "asc")


def _file_name(chosen: MessageFilter, selection: Selection, now: float) -> str:
    """A name that tells what is in the file, without its end."""
    query = chosen.query
    words = ["messages", query.callsign, query.type, selection.payload, selection.network]
    if query.since:
        words += ["from", _moment(query.since)]
    words += ["to", _moment(query.until if query.until <= MAX_TIME else now)]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(word for word in words if word))


def _moment(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
