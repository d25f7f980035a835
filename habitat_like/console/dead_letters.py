"""The dead letters: what sinks refused for good; to retry, save or drop."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from habitat_like.console import payloads
from habitat_like.console.downloads import Download, chunks, this_downloads
from habitat_like.console.pages import PageError, page, page_errors, this_program
from habitat_like.console.rights import is_operator, line_without_addresses
from habitat_like.export.form import Part
from habitat_like.export.json_form import NDJSON
from habitat_like.journal.dead_letters import MAX_ID, DeadLetter, DeadLetters
from habitat_like.journal.file import errors, open_file
from habitat_like.statistics.words import plural

log = logging.getLogger(__name__)
blueprint = Blueprint("dead_letters", __name__)

#: Dead letters on a page.
SIZE = 50
#: Dead letters that are changed while the journal is locked, so that no upload waits long, and
#: that one piece of a download has.
CHUNK = 200
#: Ids that the log names.
LOGGED = 20


@page(blueprint, "/dead-letters", "dead_letters.html")
def dead_letters() -> dict[str, Any]:
    """The dead letters, the newest first, a page of them."""
    below, above = _number("below"), _number("above")
    with _letters() as letters:
        counts = letters.count()
        if above is not None:
            found = list(letters.behind(above, SIZE + 1))[::-1]
            more = len(found) > SIZE
            found = found[-SIZE:]
        if above is None or len(found) < SIZE:
            # From the newest on, where there is less than a page above.
            below = None if above is not None else below
            found = list(letters.newest(SIZE + 1, below))
            more = len(found) > SIZE
            found = found[:SIZE]
            return _page(counts, found, older=more, newer=below is not None)
        return _page(counts, found, older=True, newer=more)


@page(blueprint, "/dead-letters/<int(max=9223372036854775807):number>", "dead_letter.html")
def dead_letter(number: int) -> dict[str, Any]:
    """One dead letter with its document."""
    with _letters() as letters:
        letter = letters.get(number)
    if letter is None:
        raise PageError(404, f"There is no dead letter {number}: it was archived or dropped.")
    document = _document(letter)
    return {
        "dead_letter": letter.summary(),
        "document": document,
        "text": _text(letter) if document is None and is_operator() else None,
        "payload": payloads.payload_of(document) if document is not None else None,
    }


@blueprint.post("/dead-letters/retry")
def retry() -> Any:
    """Retry the chosen ones, or all."""
    chosen = _chosen()
    if chosen is None:
        return _back()
    count = _each(chosen, DeadLetters.retry)
    log.info("dead letters will be retried", extra=_for_log(chosen, count))
    if count:
        flash(f"{_named(count)} will be retried within seconds.", "done")
    else:
        flash("These dead letters are no longer there.", "warning")
    return _back()


@blueprint.post("/dead-letters/drop")
def drop() -> Any:
    """Delete the chosen ones, or all, after confirmation."""
    chosen = _chosen()
    if chosen is None:
        return _back()
    if request.form.get("confirmed") != "yes":
        with page_errors(), _letters() as letters:
            if isinstance(chosen, list):
                count = sum(letters.get(number) is not None for number in chosen)
            else:
                count = sum(letters.count().values())
                chosen = next((one.id for one in letters.newest(1)), 0)
        return render_template("dead_letters_drop.html", chosen=chosen, number=count)
    count = _each(chosen, DeadLetters.drop)
    log.warning("dead letters dropped", extra=_for_log(chosen, count))
    flash(f"{_named(count)} dropped.", "done")
    return _back()


@blueprint.get("/dead-letters/export")
def export() -> Any:
    """The documents of all dead letters as NDJSON, the oldest first."""
    now = time.time()
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    download = Download(user=g.user, name=f"dead-letters-{moment}.ndjson", begun=now)
    parts = _parts(this_program().journal.path, is_operator())
    with page_errors():
        return this_downloads().respond(download, request.args.get("token"), NDJSON, parts)


def _parts(path: Path, with_addresses: bool) -> Generator[Part, None, None]:
    with _table(path) as letters:
        for some in chunks(_lines(letters, with_addresses), CHUNK):
            yield Part(b"".join(some), len(some))


def _lines(letters: DeadLetters, with_addresses: bool) -> Iterator[bytes]:
    """The documents, read one by one, as each can be large.

    One that is no JSON object comes only with addresses: it may have some anywhere.
    """
    first = 0
    while numbers := letters.numbers(CHUNK, first):
        for letter in filter(None, map(letters.get, numbers)):
            line = letter.document if with_addresses else line_without_addresses(letter.document)
            if line is not None:
                # JSON has line breaks between its tokens only, so this keeps its meaning.
                yield line.replace(b"\n", b" ") + b"\n"
        first = numbers[-1] + 1


def _letters() -> contextlib.AbstractContextManager[DeadLetters]:
    """The table, to look at. Raises JournalError."""
    return _table(this_program().journal.path)


@contextlib.contextmanager
def _table(path: Path) -> Iterator[DeadLetters]:
    """The table on its own connection, so that it and the commits don't wait for each other."""
    with errors(path), contextlib.closing(open_file(path)) as connection:
        yield DeadLetters(connection)


def _page(
    counts: dict[str, int], found: list[DeadLetter], *, older: bool, newer: bool
) -> dict[str, Any]:
    return {
        "count": sum(counts.values()),
        "sinks": counts,
        "dead_letters": [{**letter.summary(), **_about(letter)} for letter in found],
        "older": found[-1].id if older and found else None,
        "newer": found[0].id if newer and found else None,
    }


def _about(letter: DeadLetter) -> dict[str, Any]:
    """What a list says of the refused document."""
    document = _document(letter) or {}
    return {
        "message": document.get("_id"),
        "callsign": document.get("callsign"),
        "type": document.get("type"),
    }


def _document(letter: DeadLetter) -> dict[str, Any] | None:
    """The document, None if it is no JSON object."""
    try:
        return msgspec.json.decode(letter.document, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _text(letter: DeadLetter) -> str:
    return letter.document.decode("utf-8", "replace")


def _number(name: str) -> int | None:
    text = request.args.get(name)
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise PageError(400, f"{name}: must be the number of a dead letter")
    return int(text)


def _chosen() -> list[int] | int | None:
    """The numbers in a form; the largest number for all of them, None if nothing is chosen."""
    if request.form.get("all"):
        last = request.form["all"]
        return int(last) if re.fullmatch(r"[0-9]{1,18}", last) else MAX_ID
    numbers = [
        int(text) for text in request.form.getlist("id") if re.fullmatch("[0-9]{1,18}", text)
    ]
    if not numbers:
        flash("Select at least one dead letter first.", "warning")
    return numbers or None


def _each(chosen: list[int] | int, change: Callable[[DeadLetters, list[int]], int]) -> int:
    """Change the chosen ones, some at a time; returns how many there were."""
    journal = this_program().journal
    if isinstance(chosen, list):
        with page_errors(), journal.dead_letters() as letters:
            return change(letters, chosen)
    changed, first = 0, 0
    while True:
        with page_errors(), journal.dead_letters() as letters:
            numbers = letters.numbers(CHUNK, first, chosen)
            if not numbers:
                return changed
            changed += change(letters, numbers)
        first = numbers[-1] + 1


def _for_log(chosen: list[int] | int, count: int) -> dict[str, Any]:
    named = ", ".join(map(str, chosen[:LOGGED])) if isinstance(chosen, list) else "all"
    return {"user": g.user, "ip": request.remote_addr, "count": count, "numbers": named}


def _named(count: int) -> str:
    return f"{count} {plural(count, 'dead letter')}"


def _back() -> Any:
    return redirect(url_for("dead_letters.dead_letters"), 303)
