"""The operator's pages: what the gateway is and how it is doing. They wait for nothing."""

from __future__ import annotations

import msgspec

from habitat_like import __version__
from habitat_like.http.actions import Action
from habitat_like.http.response import JSON, Response, unavailable
from habitat_like.http.site import Site
from habitat_like.http.status import status
from habitat_like.statistics.metrics import Collector

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
    found = {name: Action(name, call, READ, "fast") for name, call in pages.items()}
    # Until a console is mounted there.
    found["console"] = Action("console", no_console, READ, "fast", subpaths=True)
    return found


def no_console(*_: object) -> Response:
    """404, and how to get a console."""
    text = "the console is off; create a user with 'habitat console passwd', and set"
    return Response(404, f"{text} console.password_file\n".encode())


def index(site: Site) -> Response:
    """What this server is, for anyone who finds it."""
    names = "".join(
        f"  {' '.join(action.methods)} /{name}\n" for name, action in site.actions.items()
    )
    paths = "" if site.router is None else "".join(f"  {path}\n" for path in site.router.paths)
    networks = f"Networks:\n{paths}" if paths else ""
    text = (
        f"habitat_like {__version__}: takes messages from field stations and archives them.\n"
        f"Actions:\n{names}{networks}"
        "Documentation: docs/http.md in the habitat_like distribution\n"
    )
    return Response(200, text.encode())


def readiness(site: Site) -> Response:
    """200 while stations are served, even if the archive is down."""
    problem = site.problem()
    return unavailable(problem) if problem else Response(200, b"ready\n")


def metrics(site: Site) -> Response:
    """The Prometheus text format."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415 (slow)

    collector = Collector(lambda: status(site), site.metrics, site.program.networks.metrics)
    return Response(200, generate_latest(collector), CONTENT_TYPE_LATEST)
