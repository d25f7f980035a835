"""Status: a gateway's health, as ``/status`` shows it, and as everything else reads it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

#: The state in which stations are served.
READY = "ready"


class Trouble(msgspec.Struct, frozen=True):
    """One thing that is wrong: an ``error`` if messages are refused or soon could be.

    ``page`` is the endpoint of the console's page with more about it, if there is one.
    """

    level: Literal["error", "warning"]
    text: str
    page: str | None = None


class Maintenance(msgspec.Struct, frozen=True):
    """Uploads are not taken: what stations are told, and since when, in UNIX seconds."""

    status: int
    message: str
    location: str | None = None
    since: float | None = None


class Switches(msgspec.Struct, frozen=True):
    """What an operator has switched, until the next start: see ``habitat ctl``."""

    draining: bool = False
    log_level: str = ""
    slow_log: float | None = None
    archive_log: bool = False


class Messages(msgspec.Struct, frozen=True):
    """Messages answered 200 since the start, and those of them that weren't recent repeats."""

    accepted: int = 0
    written: int = 0


class JournalStatus(msgspec.Struct, frozen=True):
    """The journal: its file and its disk, in bytes.

    ``message_bytes`` are those of the messages in it, at most ``max_bytes``.
    """

    path: str = ""
    last_seq: int = 0
    bytes: int = 0
    message_bytes: int = 0
    max_bytes: int = 0
    disk_free: int | None = None
    disk_size: int | None = None


class NodeStatus(msgspec.Struct, frozen=True):
    """One of the servers behind a sink; ``since`` is UNIX seconds."""

    name: str
    state: str
    problem: str | None = None
    since: float | None = None


class SinkStatus(msgspec.Struct, frozen=True):
    """A sink. Times are UNIX seconds; ``backlog`` are the messages that it has not taken.

    ``counts`` is what the sink counts by itself, ``nodes`` are the servers it writes to.
    """

    state: Literal["ok", "waiting", "stopping"] = "ok"
    problem: str | None = None
    problem_since: float | None = None
    backlog: int = 0
    cursor: int = 0
    messages: int = 0
    batches: int = 0
    retries: int = 0
    last_success: float | None = None
    seconds_since_success: float | None = None
    dead_letters: int = 0
    counts: dict[str, int] = {}
    nodes: tuple[NodeStatus, ...] = ()


class StatisticsStatus(msgspec.Struct, frozen=True):
    """The statistics: the last message that is counted, and how many are not counted yet.

    ``stations`` are those heard within two hours, and those silent for longer; None until known.
    """

    counted: int = 0
    behind: int = 0
    problem: str | None = None
    stations: dict[str, int] | None = None


class LogStatus(msgspec.Struct, frozen=True):
    """The log: lines lost since the start, and why none can be written now."""

    lost: int = 0
    problem: str | None = None


class LastObservation(msgspec.Struct, frozen=True):
    """The last observation of a network: its ``time`` is UNIX seconds."""

    time: float
    station: str
    type: str


class LastProblem(msgspec.Struct, frozen=True):
    """The last of a network that was not taken; ``station`` is None if unknown."""

    time: float
    station: str | None
    text: str


class NetworkStatus(msgspec.Struct, frozen=True):
    """What came in over a network: requests, observations by type, and what was not taken.

    ``problems`` are parts of requests, ``refused`` whole ones by reason; ``own`` is what the
    network reports in addition.
    """

    requests: int = 0
    observations: dict[str, int] = {}
    suspicious: int = 0
    problems: int = 0
    refused: dict[str, int] = {}
    last_observation: LastObservation | None = None
    last_problem: LastProblem | None = None
    own: dict[str, Any] = {}


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. What a gateway of another version doesn't report has its default.

    ``state`` is READY, or why stations get 503. ``troubles`` are from a moment ago, worst first.
    ``archive`` repeats the entry of the sink that archives.
    """

    version: str = ""
    instance: str = ""
    state: str = "unknown"
    troubles: tuple[Trouble, ...] = ()
    maintenance: Maintenance | None = None
    switches: Switches = Switches()
    started: float = 0.0
    uptime: float = 0.0
    requests: dict[str, dict[str, int]] = {}
    access_refused: dict[str, int] = {}
    messages: Messages = Messages()
    connections: int = 0
    waiting: int = 0
    max_waiting: int = 0
    backlog: int = 0
    max_backlog: int = 0
    journal: JournalStatus = JournalStatus()
    archive: SinkStatus | None = None
    sinks: dict[str, SinkStatus] = {}
    dead_letters: int = 0
    statistics: StatisticsStatus | None = None
    log: LogStatus = LogStatus()
    networks: dict[str, NetworkStatus] = {}
    threads: tuple[str, ...] = ()
