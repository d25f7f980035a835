"""Notes of where else documents of a month are.

A document lies in the database of the month of its id. Where its ``time_created`` is so far from
that that no query for it would look there, the database of that time's month gets a note first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from habitat_like.archive import couch_local
from habitat_like.archive.couch_connection import CouchRefused
from habitat_like.archive.couch_http import CouchLink
from habitat_like.archive.months import UNDATED

_NOTE = "habitat-elsewhere"
#: In the database of a month: the months in whose databases its other documents are.
_MONTHS = "months"
#: In the database without a date: the same of every month, for queries over many.
_ALL = "all"


def read(link: CouchLink) -> list[str]:
    """The months noted, none where there is no such database. Raises ArchiveUnavailable."""
    return list(_read(link).get(_MONTHS, []))


def read_all(undated: CouchLink) -> dict[str, list[str]]:
    """The months noted of each month that has some. Raises ArchiveUnavailable."""
    note = _read(undated)
    found: dict[str, list[str]] = {**note.get(_ALL, {}), UNDATED: note.get(_MONTHS, [])}
    return found


def note(link: CouchLink, month: str, make: Callable[[], object]) -> None:
    """Note ``month``; ``make`` makes a missing database. Raises ArchiveUnavailable."""

    def add(known: dict[str, Any]) -> dict[str, Any] | None:
        months = known.get(_MONTHS, [])
        return None if month in months else {**known, _MONTHS: sorted({*months, month})}

    _change(link, add, make)


def note_in_all(undated: CouchLink, asked: str, month: str, make: Callable[[], object]) -> None:
    """Note ``month`` of the month ``asked``, as ``note``."""

    def add(known: dict[str, Any]) -> dict[str, Any] | None:
        every = known.get(_ALL, {})
        months = every.get(asked, [])
        if month in months:
            return None
        return {**known, _ALL: {**every, asked: sorted({*months, month})}}

    _change(undated, add, make)


def _read(link: CouchLink) -> dict[str, Any]:
    try:
        return couch_local.read(link.request, _NOTE)
    except CouchRefused as refused:
        if refused.status == 404:
            return {}
        raise link.explain(refused) from None


def _change(
    link: CouchLink,
    add: Callable[[dict[str, Any]], dict[str, Any] | None],
    make: Callable[[], object],
) -> None:
    for is_last in (False, True):
        try:
            status = couch_local.change(link.request, _NOTE, add)
        except CouchRefused as refused:
            if refused.status != 404 or is_last:
                raise link.explain(refused) from None
            make()
        else:
            if status == 202:
                raise link.unavailable(
                    "has a note on too few nodes (202, the write quorum was not met):"
                    " look at the nodes of the cluster"
                )
            return
