"""Messages as files: the filtered set as CSV, NDJSON or JSON, and how far a download is."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Generator
from typing import Any

import msgspec
from flask import Blueprint, g, request
from flask.blueprints import BlueprintSetupState

from habitat_like.archive import Archive, Query
from habitat_like.archive.csv_form import csv_blocks, csv_header, csv_line
from habitat_like.console.archives import this_archives
from habitat_like.console.downloads import (
    Download,
    Downloads,
    Part,
    broken_ndjson,
    chunks,
    not_whole,
    this_downloads,
)
from habitat_like.console.filters import Filter, read_filter
from habitat_like.console.pages import Problem, json_response, page_errors
from habitat_like.times import MAX_TIME

blueprint = Blueprint("exports", __name__)

#: Messages that are made into one piece: little enough that uploads never wait long for it.
CHUNK = 100


class Form(msgspec.Struct, frozen=True):
    """A kind of file. ``make`` gives its parts, ``broken`` the end of one that is not whole."""

    mimetype: str
    make: Callable[[Archive, Query], Generator[Part, None, None]]
    broken: Callable[[str], bytes]


@blueprint.record_once
def _make_downloads(state: BlueprintSetupState) -> None:
    program = state.app.extensions["program"]
    state.app.extensions["downloads"] = Downloads(
        lambda: program.journal.last_seq, lambda: program.gateway.stopping
    )


@blueprint.get("/messages/download")
def download() -> Any:
    """All messages that match the filter, as a file."""
    form = FORMS.get(request.args.get("format", ""))
    if form is None:
        raise Problem(400, f"format: must be one of {', '.join(FORMS)}")
    now = time.time()
    chosen = read_filter(request.args, now)
    if chosen.problems:
        name, text = next(iter(chosen.problems.items()))
        raise Problem(400, f"{name}: {text}")
    name = f"{_file_name(chosen, now)}.{request.args['format']}"
    started = Download(user=g.user, name=name, begun=now)
    parts = _parts(started, form, chosen.query)
    with page_errors():
        return this_downloads().respond(
            started, request.args.get("token"), form.mimetype, parts, form.broken
        )


@blueprint.get("/downloads/<token>.json")
def progress(token: str) -> Any:
    """How far the download is that this user began with the token."""
    found = this_downloads().find(token, g.user)
    return json_response(found or {"state": "unknown"})


def _parts(started: Download, form: Form, query: Query) -> Generator[Part, None, None]:
    archives = this_archives()

    def parts() -> Generator[Part, None, None]:
        with archives.lend() as archive:
            started.first = _end(archive, query)
            started.last = _end(archive, _turned(query))
            yield from form.make(archive, query)

    return parts()


def _end(archive: Archive, query: Query) -> float | None:
    """When the first message that matches was created."""
    first = next(archive.query(msgspec.structs.replace(query, limit=1)), None)
    return first["time_created"] if first else None


def _turned(query: Query) -> Query:
    return msgspec.structs.replace(query, order="desc" if query.order == "asc" else "asc")


class _Created(msgspec.Struct):
    time_created: float | None = None


_time_of = msgspec.json.Decoder(_Created).decode


def _ndjson(archive: Archive, query: Query) -> Generator[Part, None, None]:
    for lines in chunks(archive.lines(query), CHUNK):
        data = b"\n".join(lines) + b"\n"
        yield Part(data, len(lines), _time_of(lines[-1]).time_created)


def _json(archive: Archive, query: Query) -> Generator[Part, None, None]:
    before = b"[\n"
    for lines in chunks(archive.lines(query), CHUNK):
        yield Part(before + b",\n".join(lines), len(lines), _time_of(lines[-1]).time_created)
        before = b",\n"
    yield Part(b"[]\n" if before == b"[\n" else b"\n]\n", 0)


def _csv(archive: Archive, query: Query) -> Generator[Part, None, None]:
    yield Part(csv_header(query.suspicious), 0)
    documents = archive.query(query)
    while some := list(itertools.islice(documents, CHUNK)):
        data = b"".join(csv_blocks(some, suspicious=query.suspicious))
        yield Part(data, len(some), some[-1]["time_created"])


#: The kinds of file, by the end of their names. JSON that lacks its end can't be read at all.
FORMS = {
    "csv": Form("text/csv", _csv, lambda why: csv_line([not_whole(why)])),
    "ndjson": Form("application/x-ndjson", _ndjson, broken_ndjson),
    "json": Form("application/json", _json, lambda _: b""),
}


def _file_name(chosen: Filter, now: float) -> str:
    """A name that tells what is in the file, without its end."""
    query = chosen.query
    words = ["messages", query.callsign, query.type]
    if query.since:
        words += ["from", _moment(query.since)]
    words += ["to", _moment(query.until if query.until <= MAX_TIME else now)]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(word for word in words if word))


def _moment(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
