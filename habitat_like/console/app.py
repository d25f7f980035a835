"""The console's Flask application: its parts, its headers, what it does with errors."""

from __future__ import annotations

import datetime
import logging
import time
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app, g, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException

from habitat_like import __version__, times
from habitat_like.console import (
    dead_letters,
    exports,
    flights,
    maps,
    messages,
    networks,
    overview,
    packets,
    plots,
    sessions,
    settings,
    stations,
    statistics,
)
from habitat_like.console.archives import Archives
from habitat_like.console.kept import Kept
from habitat_like.console.pages import (
    PageError,
    address,
    close_statistics,
    json_response,
    this_program,
)
from habitat_like.console.policy import POLICY
from habitat_like.console.records import Records
from habitat_like.console.rights import is_operator, may
from habitat_like.console.users import UsersError
from habitat_like.console.views import Views
from habitat_like.http.mount import Mount
from habitat_like.statistics.words import show_days, size

if TYPE_CHECKING:
    from habitat_like.http.process import Process

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
#: Threads that make pages.
THREADS = 4
#: The parts, each a module with a blueprint.
PARTS = (
    sessions,
    overview,
    maps,
    flights,
    stations,
    messages,
    exports,
    packets,
    networks,
    dead_letters,
    statistics,
    settings,
)
#: The pages in the navigation.
PAGES = (
    ("overview.overview", "Overview"),
    ("maps.live", "Map"),
    ("flights.payloads", "Payloads"),
    ("stations.stations", "Stations"),
    ("messages.messages", "Messages"),
    ("packets.packets", "Packets"),
    ("networks.networks", "Networks"),
    ("dead_letters.dead_letters", "Dead letters"),
    ("statistics.totals", "Statistics"),
    ("settings.settings", "Settings"),
)


def mount(program: Process) -> Mount:
    """The console over a ``program``, ready to be mounted.

    A password file that can't be used is told in the log, and by every page until it can.
    """
    app = create_app(program)
    try:
        _ = app.extensions["login_guard"].secret
    except UsersError as error:
        log.error("the console answers 503", extra={"why": str(error)})
    count = program.gateway.metrics.count_mounted
    interrupt = app.extensions["archives"].interrupt
    return Mount("console", app, THREADS, program.config.gateway.timeout, count, interrupt)


def create_app(program: Process) -> Flask:
    """The application over a running ``program``."""
    config = program.config.console
    app = Flask("habitat_like.console")
    app.config.update(
        MAX_CONTENT_LENGTH=program.config.gateway.max_body,
        PERMANENT_SESSION_LIFETIME=datetime.timedelta(seconds=config.session_lifetime),
        SESSION_COOKIE_NAME="habitat_console",
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
        TEMPLATES_AUTO_RELOAD=False,
        WTF_CSRF_TIME_LIMIT=None,  # a token lasts as long as its session
    )
    login_guard = sessions.LoginGuard(config)
    app.session_interface = sessions.CookieSessions(login_guard)
    app.extensions["login_guard"] = login_guard
    app.extensions["program"] = program
    app.extensions["archives"] = archives = Archives(program.config.archive)
    app.extensions["kept"] = Kept()
    app.extensions["views"] = views = Views(program, archives)
    app.extensions["records"] = Records(views)
    app.before_request(sessions.refuse_odd_host)
    app.before_request(sessions.look_for_users)
    app.before_request(sessions.drop_odd_referrer)
    CSRFProtect(app)
    app.before_request(sessions.guard)
    app.after_request(_finish)
    app.teardown_appcontext(close_statistics)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(PageError, _problem)
    app.register_error_handler(UsersError, _users_error)
    for part in PARTS:
        app.register_blueprint(part.blueprint)
    app.add_url_rule("/", "start", lambda: redirect(url_for("overview.overview"), 303))
    app.context_processor(_context)
    app.template_filter("age")(_age)
    app.template_filter("moment")(_moment)
    app.template_filter("count")(_count)
    app.template_filter("size")(size)
    app.template_filter("numbers")(plots.numbers)
    app.template_filter("length_of_time")(times.show_age)
    app.template_filter("days")(show_days)
    app.template_filter("milliseconds")(_milliseconds)
    app.template_filter("rate")(_rate)
    app.template_filter("metres")(_metres)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    return app


def _context() -> dict[str, Any]:
    """What every template may use."""
    here = [name for endpoint, name in PAGES if endpoint.partition(".")[0] == request.blueprint]
    return {
        "here": here[0] if here else None,
        "pages": [one for one in PAGES if g.get("user") and may(one[0], "GET")],
        "is_operator": is_operator(),
        "json_here": _json_here(),
        "instance": this_program().config.gateway.machine_code,
        "user": g.get("user"),
        "version": __version__,
        "now": time.time(),
        "may_leave": not (request.environ.get("REMOTE_USER") and g.get("user")),
    }


def _json_here() -> str | None:
    """The address of the present page's data, None where it has none."""
    endpoint = f"{request.endpoint}_json"
    if endpoint not in current_app.view_functions:
        return None
    return address(endpoint, request.args.to_dict(), **(request.view_args or {}))


def _finish(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    if response.mimetype == "image/svg+xml":
        # An image has its style inside itself, and no script.
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'"
        )
    return response


def _error(status: int, text: str, headers: Any = None) -> tuple[Any, int, Any]:
    if request.path.endswith(".json"):
        return json_response({"error": text}, status), status, headers or {}
    page = render_template("error.html", status=status, text=text)
    return page, status, headers or {}


def _problem(problem: PageError) -> Any:
    wait = problem.retry_after
    return _error(problem.status, str(problem), {"Retry-After": str(wait)} if wait else None)


def _users_error(error: UsersError) -> Any:
    log.error(str(error))
    return Response(f"the console can't tell who you are: {error}\n", 503, mimetype="text/plain")


def _http_error(error: HTTPException) -> Any:
    if isinstance(error, CSRFError):
        return _error(
            400, "This form has expired, or did not come from this console. Go back and try again."
        )
    status = error.code or 500
    text = {404: "There is no such page.", 405: "This page doesn't accept that."}
    headers = [item for item in error.get_headers() if item[0] == "Allow"]
    return _error(status, text.get(status, error.description or error.name), headers)


def _age(seconds: object) -> str:
    """How long ago a UNIX time was; what is no time, in somebody else's document, is as it is."""
    if seconds is None:
        return "never"
    if not isinstance(seconds, int | float):
        return str(seconds)
    ago = time.time() - seconds
    return "just now" if -1 < ago < 1 else f"{times.show_age(ago)} ago" if ago > 0 else "ahead"


def _moment(seconds: object) -> str:
    """UNIX seconds as a machine reads them."""
    return times.show_utc(seconds, "%Y-%m-%dT%H:%M:%SZ")


def _count(number: float | None) -> str:
    """A number with its thousands apart, by a narrow space that doesn't break."""
    if number is None:
        return "-"
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _milliseconds(seconds: float | None) -> str:
    """A short time, such as ``1.2 ms``."""
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms"


def _rate(metres: float | None) -> str:
    """A rate of ascent, such as ``+5.1 m/s``."""
    return "-" if metres is None else f"{metres:+.1f} m/s" if abs(metres) >= 0.05 else "0.0 m/s"


def _metres(metres: float | None) -> str:
    """A height or a distance, such as ``12 345 m``, or ``123.4 km`` from 100 km on."""
    if metres is None:
        return "-"
    return f"{metres / 1000:.1f} km" if metres >= 100_000 else f"{_count(round(metres))} m"
