"""Local documents of a CouchDB database: small notes of ours, no part of what is archived.

They are in no index, feed or count, are not replicated, and no validation function sees them
(https://docs.couchdb.org/en/stable/api/local.html). Members of the database may write them.

CouchDB (2 and later) takes a local document whatever its ``_rev``: of two that write at once the
last one wins, and neither is told (https://github.com/apache/pouchdb/issues/7139).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from habitat_like.archive.couch_connection import CouchRefused

#: Sends a request below a database: method, path, ``body``. Raises CouchRefused.
Ask = Callable[..., tuple[int, bytes]]

#: Others that write the same note make ours conflict, or replace it; then it is written again.
_TRIES = 10
#: Seconds after which whoever read the note before ours was written has written as well.
_SETTLED = 0.1
_QUORUM = "habitat-quorum"


def read(ask: Ask, name: str) -> dict[str, Any]:
    """The note, {} where there is none. Raises CouchRefused and ArchiveUnavailable.

    A 404 that says that there is no database is raised.
    """
    try:
        _, data = ask("get", "_local", name)
    except CouchRefused as refused:
        if refused.status != 404 or refused.reason not in ("missing", "deleted"):
            raise
        return {}
    note: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    return note


def change(ask: Ask, name: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> int:
    """Write what ``change`` makes of the note, until it stays; None: it is as it should be.

    Then it is written all the same, once, as it may be on too few nodes: CouchDB doesn't pass local
    documents on. Returns the status of the last write. Raises CouchRefused and ArchiveUnavailable.
    """
    status = None
    for _ in range(_TRIES):
        note = read(ask, name)
        wanted = change(_content(note))
        if wanted is None:
            if status is not None or not note:
                return status or 200
            wanted = _content(note)
        try:
            status = _write(ask, name, note, wanted)
        except CouchRefused as refused:
            if refused.status != 409:
                raise
        else:
            time.sleep(_SETTLED)
    raise CouchRefused(409, "conflict", f"others keep changing the note {name}")


def _content(note: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in note.items() if key[:1] != "_"}


def _write(ask: Ask, name: str, note: dict[str, Any], wanted: dict[str, Any]) -> int:
    """Replace ``note``; returns the status."""
    if "_rev" in note:
        wanted = {**wanted, "_rev": note["_rev"]}
    status, _ = ask("put", "_local", name, body=msgspec.json.encode(wanted))
    return status


def quorum_met(ask: Ask) -> bool:
    """Whether a write reaches as many nodes as it must; writes a note to find out.

    A batch of known documents can't tell: CouchDB answers 201 when every node that lives says
    conflict, be it one alone (force_reply in fabric_doc_update.erl of CouchDB 3).
    """
    for left in reversed(range(_TRIES)):
        note = read(ask, _QUORUM)
        try:
            return _write(ask, _QUORUM, note, {"count": note.get("count", 0) + 1}) != 202
        except CouchRefused as refused:
            if refused.status != 409 or not left:
                raise
    raise AssertionError  # the last try returned or raised
