"""Windows: which payloads a user asks for, and when, as encoded in the address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from habitat_like.console.filters import read_filter
from habitat_like.console.tracks import Payload, Tracks
from habitat_like.times import MAX_TIME

#: The window without a filter, and the longest one, in seconds.
USUAL = "24h"
LONGEST = 31 * 86400
#: Windows to choose from, by what stands in the address.
CHOICES = {
    "1h": "last hour",
    "6h": "last 6 hours",
    "24h": "last 24 hours",
    "3d": "last 3 days",
    "7d": "last 7 days",
    "31d": "last 31 days",
}


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wrote, and what it means.

    ``written`` has the address's non-empty arguments, ``problems`` a line for each field that
    can't be read; the rest is valid only if there are none. Times are UNIX seconds; no ``until``
    is the present and all to come. ``payload`` is a part of its name, ``network`` one as messages
    name it.
    """

    written: dict[str, str]
    problems: dict[str, str]
    since: int
    until: int | None
    payload: str
    network: str

    @property
    def end(self) -> float:
        """``until``, after all times that a message can have if there is none."""
        return MAX_TIME + 1 if self.until is None else self.until

    def find(self, tracks: Tracks) -> Iterator[tuple[Payload, range]]:
        """The payloads that match, and which of their points; the last heard first."""
        wanted = self.payload.lower()
        for payload in sorted(tracks.payloads.values(), key=lambda one: -one.track.seen):
            if wanted not in payload.key.lower() and wanted not in payload.name.lower():
                continue
            if self.network and self.network not in payload.networks:
                continue
            if chosen := payload.track.between(self.since, self.end):
                yield payload, chosen


def read_window(arguments: Mapping[str, str], now: float, usual: str = USUAL) -> Window:
    """The window in an address; ``now`` is UNIX seconds, ``usual`` its beginning if not given."""
    times = {name: arguments.get(name, "") for name in ("since", "until")}
    found = read_filter({**times, "since": times["since"].strip() or usual}, now)
    written = {
        name: text
        for name in ("since", "until", "payload", "network")
        if (text := arguments.get(name, "").strip()[:100])
    }
    problems = dict(found.problems)
    since = found.query.since
    until = found.query.until if found.query.until <= now else None
    if not problems and (now if until is None else until) - since > LONGEST + 60:
        problems["since"] = "more than 31 days before the end; name a later time, or an earlier end"
    return Window(
        written=written,
        problems=problems,
        since=since,
        until=until,
        payload=written.get("payload", ""),
        network=written.get("network", ""),
    )
