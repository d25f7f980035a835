"""The data of ``/status``: counters, backlog, archive state, uptime and threads."""

from __future__ import annotations

import threading
import time

import msgspec

from habitat_like import __version__, log
from habitat_like.http.site import Site
from habitat_like.message_server import JournalSink
from habitat_like.statistics.status import (
    READY,
    JournalStatus,
    LogStatus,
    Maintenance,
    Messages,
    NodeStatus,
    SinkStatus,
    Status,
    Switches,
)


def status(site: Site) -> Status:
    """The gateway's state now. Waits for nothing; thread-safe."""
    program = site.program
    journal = program.journal
    now = time.time()
    loaded = {
        name: sink for name, sink in site.server.sinks.items() if isinstance(sink, JournalSink)
    }
    sinks = {name: _sink(site, sink, now) for name, sink in loaded.items()}
    disk_free, disk_size = journal.disk() or (None, None)
    statistics = program.statistics
    logged = log.state()
    switches = site.steering.snapshot()
    maintenance = switches.pop("maintenance")
    return Status(
        version=__version__,
        instance=program.config.gateway.machine_code,
        state=site.problem() or READY,
        troubles=program.troubles,
        maintenance=None if maintenance is None else Maintenance(**maintenance),
        switches=Switches(**switches),
        started=program.started,
        uptime=round(now - program.started, 3),
        requests=site.metrics.by_action(),
        access_refused=site.access.refused,
        messages=Messages(site.metrics.messages, site.metrics.written),
        connections=site.connections,
        waiting=site.bodies.waiting,
        max_waiting=site.limits.max_waiting,
        backlog=journal.backlog,
        max_backlog=program.config.journal.max_backlog,
        journal=JournalStatus(
            path=str(journal.path),
            last_seq=journal.last_seq,
            bytes=journal.size(),
            message_bytes=journal.message_bytes,
            max_bytes=program.config.journal.max_bytes,
            disk_free=disk_free,
            disk_size=disk_size,
        ),
        archive=next((sinks[name] for name, sink in loaded.items() if sink.is_archive), None),
        sinks=sinks,
        dead_letters=sum(program.dead_letters.values()),
        statistics=None if statistics is None else statistics.status(),
        log=LogStatus(logged.lost, logged.problem),
        networks=program.networks.status(now),
        threads=tuple(sorted(thread.name for thread in threading.enumerate())),
    )


def _sink(site: Site, sink: JournalSink, now: float) -> SinkStatus:
    journal = site.program.journal
    state = sink.state
    cursor = journal.cursors.get(sink.name, 0)
    success = state.last_success
    return SinkStatus(
        state="stopping" if sink.stopping else "waiting" if state.problem else "ok",
        problem=state.problem,
        problem_since=state.problem_since,
        backlog=journal.last_seq - cursor,
        cursor=cursor,
        messages=state.messages,
        batches=state.batches,
        retries=state.retries,
        last_success=success,
        seconds_since_success=None if success is None else round(now - success, 3),
        dead_letters=site.program.dead_letters.get(sink.name, 0),
        counts=dict(sink.counts),
        nodes=tuple(NodeStatus(**msgspec.structs.asdict(node)) for node in sink.nodes()),
    )
