"""Letting old months go: whole databases of CouchDB.

A document is never deleted by itself: CouchDB keeps a stub of each deleted one for ever, in the
database and its indexes, and frees its space only when all is compacted. A database is one
directory of files.

An export holds the archive with an entry, which it renews, in a local document of the database
without a date.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from habitat_like.archive import couch_local, months
from habitat_like.archive.base import ArchiveError, ArchiveUnavailable, Dropped, Portion
from habitat_like.archive.couch import CouchArchive
from habitat_like.archive.couch_connection import CouchRefused
from habitat_like.archive.couch_http import NoDatabase
from habitat_like.archive.months import UNDATED

#: Seconds for which an export holds the archive unless it renews that, and when it does.
HOLD, RENEW = 600.0, 120.0
_NOTE = "habitat-exports"
_KEY = "held"


class CouchRetention:
    """What goes of the databases that ``existing`` names; ``database`` opens one.

    ``clock`` gives UNIX seconds. One thread at a time.
    """

    def __init__(
        self,
        existing: Callable[[], set[str]],
        database: Callable[[str], CouchArchive],
        clock: Callable[[], float],
    ) -> None:
        self._existing = existing
        self._database = database
        self._clock = clock
        self._token: str | None = None
        self._renew_at = 0.0

    def portions(self) -> Iterator[Portion]:
        """See ``AgingArchive``."""
        for month in sorted(self._existing()):
            with contextlib.suppress(NoDatabase):  # dropped meanwhile
                yield self._portion(month)

    def expired(self, before: int) -> Iterator[Portion]:
        """See ``AgingArchive``."""
        for month in self._over(before):
            if self._why_kept(month, before) is None:
                yield self._portion(month)

    def drop_before(self, before: int) -> Dropped:
        """See ``AgingArchive``: one month goes in a step."""
        kept = []
        for month in self._over(before):
            why = self._why_kept(month, before) or self._holder()
            if why is not None:
                kept.append(f"{self._database(month).link.database} stays: {why}")
                continue
            return self._drop(month, tuple(kept))
        return Dropped(kept=tuple(kept))

    def drop(self, name: str) -> Dropped:
        """See ``AgingArchive``."""
        if name not in self._existing():
            raise ArchiveError(f"{self._database(name).name}: there is no such database")
        if (holder := self._holder()) is not None:
            raise ArchiveUnavailable(f"{self._database(name).link.database} stays: {holder}")
        return self._drop(name)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """See ``AgingArchive``. An account that may not write holds nothing."""
        self._token = secrets.token_hex(8)
        try:
            self._put(self._clock() + HOLD)
            self._renew_at = time.monotonic() + RENEW
            yield
        finally:
            with contextlib.suppress(ArchiveError):  # it ends by itself
                self._put(None)
            self._token = None

    def renew(self) -> None:
        """Go on holding, if it is held; cheap when it isn't time."""
        if self._token is not None and time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW
            self._put(self._clock() + HOLD)

    def _over(self, before: int) -> list[str]:
        """The months that ended before that time, from the oldest on."""
        return sorted(
            month
            for month in self._existing() - {UNDATED}
            if months.begin(months.following(month)) <= before
        )

    def _why_kept(self, month: str, before: int) -> str | None:
        """Why an old month can't go: clocks may be wrong, and ids are older than their messages."""
        last = self._database(month).last(months.latest(self._clock()) + 1)
        if last is None or last < before:
            return None
        return f"it has a message created on {time.strftime('%Y-%m-%d', time.gmtime(last))}"

    def _portion(self, month: str) -> Portion:
        return msgspec.structs.replace(self._database(month).portion(), name=month)

    def _drop(self, month: str, kept: tuple[str, ...] = ()) -> Dropped:
        database = self._database(month)
        try:
            portion = database.portion()
            database.link.request("delete")
        except NoDatabase:  # another gateway was faster
            return Dropped(kept=kept, more=True)
        except CouchRefused as refused:
            if refused.status == 404:
                return Dropped(kept=kept, more=True)
            if refused.status in (401, 403):
                raise database.link.unavailable(
                    f"does not let user {database.link.user!r} delete {database.link.database!r}"
                    f" ({refused.status}): have an admin run {database.link.drop_command}"
                ) from None
            raise database.link.explain(refused) from None
        return Dropped(portion.messages, (month,), kept, more=True)

    def _holder(self) -> str | None:
        """Who holds the archive."""
        link = self._database(UNDATED).link
        try:
            note = couch_local.read(link.request, _NOTE)
        except CouchRefused as refused:
            if refused.status == 404:
                return None
            raise link.explain(refused) from None
        now = self._clock()
        ends = [until for until in note.get(_KEY, {}).values() if until > now]
        return f"{len(ends)} exports are running" if ends else None

    def _put(self, until: float | None) -> None:
        """Note until when this export holds; None for no longer."""
        link, token, now = self._database(UNDATED).link, self._token, self._clock()

        def change(note: dict[str, Any]) -> dict[str, Any] | None:
            if note.get(_KEY, {}).get(token) == until:
                return None
            held = {key: end for key, end in note.get(_KEY, {}).items() if end > now}
            held.pop(token or "", None)
            return {**note, _KEY: held if until is None else {**held, token: until}}

        try:
            couch_local.change(link.request, _NOTE, change)
        except CouchRefused as refused:
            if refused.status not in (401, 403, 404):
                raise link.explain(refused) from None
