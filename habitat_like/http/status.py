"""What ``/status`` tells: counters, backlog, archive state, uptime and threads."""

from __future__ import annotations

import threading
import time
from typing import Any

from habitat_like import __version__
from habitat_like.http.site import Site
from habitat_like.message_server import JournalSink


def status(site: Site) -> dict[str, Any]:
    """Counters, backlog, archive state, uptime and threads."""
    program = site.program
    journal = program.journal
    now = time.time()
    sinks = {}
    loaded = site.server.sinks
    for path, sink in loaded.items():
        if not isinstance(sink, JournalSink):
            continue
        state = sink.state
        cursor = journal.cursors.get(path, 0)
        sinks[path] = {
            "state": "stopping" if sink.stopping else "waiting" if state.problem else "ok",
            "problem": state.problem,
            "problem_since": state.problem_since,
            "backlog": journal.last_seq - cursor,
            "cursor": cursor,
            "messages": state.messages,
            "batches": state.batches,
            "retries": state.retries,
            "last_success": state.last_success,
            "seconds_since_success": state.last_success and round(now - state.last_success, 3),
            "dead_letters": program.dead_letters.get(path, 0),
        }
    problem = site.problem()
    disk_free, disk_size = journal.disk() or (None, None)
    statistics = program.statistics
    archive = next((sinks[name] for name, sink in loaded.items() if sink.is_archive), None)
    return {
        "version": __version__,
        "instance": program.config.gateway.machine_code,
        "state": problem or "ready",
        "maintenance": site.steering.describe_maintenance(),
        "started": program.started,
        "uptime": round(now - program.started, 3),
        "requests": site.metrics.by_action(),
        "access_refused": site.access.refused,
        "messages": {
            "accepted": site.metrics.messages,
            "written": site.metrics.written,
        },
        "connections": site.connections,
        "backlog": journal.backlog,
        "max_backlog": program.config.journal.max_backlog,
        "journal": {
            "path": str(journal.path),
            "last_seq": journal.last_seq,
            "bytes": journal.size(),
            "disk_free": disk_free,
            "disk_size": disk_size,
        },
        "archive": archive,
        "sinks": sinks,
        "dead_letters": sum(program.dead_letters.values()),
        "statistics": statistics and statistics.status(),
        "networks": program.networks.status(now),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }
