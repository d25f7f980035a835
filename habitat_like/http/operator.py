"""The operator's pages: what the gateway is, how it fares. They wait for nothing."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec

from habitat_like import __version__
from habitat_like.http.actions import JSON, Action, Response, unavailable
from habitat_like.http.site import Site
from habitat_like.message_server import JournalSink
from habitat_like.metrics import Collector

READ = ("GET", "HEAD")


def routes(site: Site) -> dict[str, Action]:
    """The operator's pages by path."""
    pages = {
        "": lambda *_: index(site),
        "status": lambda *_: Response(200, msgspec.json.encode(status(site)), JSON),
        "metrics": lambda *_: metrics(site),
        "healthz": lambda *_: Response(),
        "readyz": lambda *_: readiness(site),
    }
    found = {name: Action(name, call, READ, fast=True) for name, call in pages.items()}
    # Until a console is mounted in its place.
    found["console"] = Action("console", no_console, READ, fast=True, subpaths=True)
    return found


def no_console(*_: object) -> Response:
    """404, and how to get a console."""
    text = "the console is off; make a user with 'habitat console passwd', and set"
    return Response(404, f"{text} console.password_file\n".encode())


def index(site: Site) -> Response:
    """What this is, for whoever finds it."""
    names = "".join(
        f"  {' '.join(action.methods)} /{name}\n" for name, action in site.actions.items()
    )
    text = (
        f"habitat_like {__version__}: takes messages from field stations into an archive.\n"
        f"Actions:\n{names}"
        "Documentation: docs/http.md in the habitat_like distribution\n"
    )
    return Response(200, text.encode())


def readiness(site: Site) -> Response:
    """200 while a station would be served; the archive may be down."""
    problem = site.problem()
    return unavailable(problem) if problem else Response(200, b"ready\n")


def status(site: Site) -> dict[str, Any]:
    """Counters, backlog, archive state, uptime and threads."""
    program = site.program
    journal = program.journal
    now = time.time()
    sinks = {}
    for path, sink in site.server.sinks.items():
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
    uploads = getattr(program, "hisparc", None)
    statistics = getattr(program, "statistics", None)
    archive = next((entry for path, entry in sinks.items() if path.endswith("ArchiveSink")), None)
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
        "hisparc": uploads and uploads.activity.snapshot(now),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }


def metrics(site: Site) -> Response:
    """The Prometheus text format."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415 (slow)

    return Response(
        200, generate_latest(Collector(lambda: status(site), site.metrics)), CONTENT_TYPE_LATEST
    )
