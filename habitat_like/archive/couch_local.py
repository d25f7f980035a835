"""Local documents of a CouchDB database: small notes of ours, no part of what is archived.

They are in no index, feed or count, are not replicated, and no validation function sees them
(https://docs.couchdb.org/en/stable/api/local.html). Members of the database may write them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from habitat_like.archive.couch_connection import CouchRefused

#: Sends a request below a database: method, path, ``body``. Raises CouchRefused.
Ask = Callable[..., tuple[int, bytes]]

#: Others that write the same note make ours conflict; then it is read again.
_TRIES = 10
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
    """Write what ``change`` makes of the note; None leaves it. Returns the status, 200 if left.

    Raises CouchRefused and ArchiveUnavailable.
    """
    for left in reversed(range(_TRIES)):
        note = read(ask, name)
        wanted = change({key: value for key, value in note.items() if key[:1] != "_"})
        if wanted is None:
            return 200
        if "_rev" in note:
            wanted = {**wanted, "_rev": note["_rev"]}
        try:
            status, _ = ask("put", "_local", name, body=msgspec.json.encode(wanted))
        except CouchRefused as refused:
            if refused.status != 409 or not left:
                raise
        else:
            return status
    raise AssertionError  # the last try returned or raised


def quorum_met(ask: Ask) -> bool:
    """Whether a write reaches as many nodes as it must; writes a note to find out.

    A batch of known documents can't tell: CouchDB answers 201 when every node that lives says
    conflict, be it one alone (force_reply in fabric_doc_update.erl of CouchDB 3).
    """
    return change(ask, _QUORUM, lambda note: {"count": note.get("count", 0) + 1}) != 202
