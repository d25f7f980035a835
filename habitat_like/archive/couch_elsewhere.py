"""Notes of where else documents of a month are.

A document lies in the database of the month of its id. Where its ``time_created`` is so far from
that that no query for it would look there, the database of that time's month gets a note first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from habitat_like.archive import couch_local
from habitat_like.archive.base import ArchiveUnavailable
from habitat_like.archive.couch_connection import CouchRefused
from habitat_like.archive.couch_http import CouchLink

_NOTE = "habitat-elsewhere"
_KEY = "months"


def read(link: CouchLink) -> list[str]:
    """The months noted, none where there is no such database. Raises ArchiveUnavailable."""
    try:
        note = couch_local.read(link.request, _NOTE)
    except CouchRefused as refused:
        if refused.status == 404:
            return []
        raise link.explain(refused) from None
    return list(note.get(_KEY, []))


def note(link: CouchLink, month: str, make: Callable[[], object]) -> None:
    """Note ``month``; ``make`` makes a missing database. Raises ArchiveUnavailable."""

    def add(known: dict[str, Any]) -> dict[str, Any] | None:
        months = known.get(_KEY, [])
        return None if month in months else {**known, _KEY: sorted({*months, month})}

    for is_last in (False, True):
        try:
            status = couch_local.change(link.request, _NOTE, add)
        except CouchRefused as refused:
            if refused.status != 404 or is_last:
                raise link.explain(refused) from None
            make()
        else:
            if status == 202:
                raise ArchiveUnavailable(
                    f"CouchDB at {link.base} has a note on too few nodes (202, the write quorum"
                    " was not met): look at the nodes of the cluster"
                )
            return
