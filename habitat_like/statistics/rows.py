"""The statistics' answers to queries. Every time is in UNIX seconds."""

from __future__ import annotations

import msgspec


class Series(msgspec.Struct, frozen=True):
    """Messages by type in steps of ``step`` seconds.

    ``times`` are the steps' first seconds, ascending and without gaps; each type has as many
    counts.
    """

    step: int
    times: tuple[int, ...]
    types: dict[str, tuple[int, ...]]


class HeardStation(msgspec.Struct, frozen=True):
    """A station: what is known of it, from its messages.

    ``first_heard`` and ``last_heard`` are by the gateway's clock: when a message came in.
    ``time_created`` is that of its last message. ``clock_offset`` is how many seconds its clock is
    ahead of the gateway's, None if unknown. ``messages_today``: since 00:00 UTC. ``name`` to
    ``antenna`` are of the LISTENER_INFO created at ``info_time``; ``latitude`` and ``longitude`` in
    degrees and ``altitude`` in metres of the LISTENER_TELEM created at ``position_time``.
    """

    callsign: str
    first_heard: int
    last_heard: int
    messages: int
    messages_today: int
    time_created: int
    ip: str | None
    clock_offset: int | None
    info_time: int | None
    name: str | None
    location: str | None
    radio: str | None
    antenna: str | None
    position_time: int | None
    latitude: float | None
    longitude: float | None
    altitude: float | None


class StationPage(msgspec.Struct, frozen=True):
    """Some of the stations asked for, and how many there are in all."""

    total: int
    stations: tuple[HeardStation, ...]


class Absent(msgspec.Struct, frozen=True):
    """A station not heard on a day; ``last_day`` is the last day before on which it was.

    ``name`` is None if it never sent one.
    """

    callsign: str
    name: str | None
    last_day: int


class Top(msgspec.Struct, frozen=True):
    """How many messages came of a station."""

    callsign: str
    messages: int


class Requests(msgspec.Struct, frozen=True):
    """How many requests an action answered with a status on a ``day`` (its first second, UTC)."""

    day: int
    action: str
    status: int
    requests: int


class NetworkCount(msgspec.Struct, frozen=True):
    """What a network's stations uploaded on a ``day`` (its first second, UTC).

    The ``kind`` is ``requests``, ``observations``, of these ``suspicious``, ``problems`` (parts of
    requests that were not accepted), or ``refused``: requests of which nothing was, with the
    ``reason``, which is "" for the others.
    """

    day: int
    network: str
    kind: str
    reason: str
    number: int


class NetworkSum(msgspec.Struct, frozen=True):
    """The same over some days: ``refused`` for any reason."""

    network: str
    requests: int
    observations: int
    suspicious: int
    problems: int
    refused: int


class Latency(msgspec.Struct, frozen=True):
    """From accept to answer, in seconds: the median and the 99th percentile of ``requests``.

    ``time`` is the first second of what was asked for. None where there were no requests. Within a
    bucket of the histogram requests count as evenly spread.
    """

    time: int
    requests: int
    p50: float | None
    p99: float | None


class Backlog(msgspec.Struct, frozen=True):
    """Messages that the slowest sink had not taken: at the end of a minute, and at the most."""

    time: int
    messages: int
    largest: int


class Disk(msgspec.Struct, frozen=True):
    """Bytes free and in all, on the disk of a ``place``: journal or archive."""

    time: int
    place: str
    free: int
    total: int


class DiskOutlook(msgspec.Struct, frozen=True):
    """The newest sample of a ``place``, and in how many days its disk is full.

    ``bytes_per_day`` is how fast it fills; ``days_left`` is None if it isn't filling, or has been
    observed for less than an hour.
    """

    time: int
    place: str
    free: int
    total: int
    bytes_per_day: float | None
    days_left: float | None
