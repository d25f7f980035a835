"""Settings: the configuration in force, and the switches that act at once."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any

from flask import Blueprint, flash, g, redirect, request, url_for

from habitat_like.config.file import effective
from habitat_like.console.pages import PageError, page, this_program
from habitat_like.console.rights import needs
from habitat_like.console.users import OPERATOR
from habitat_like.steering.switches import LOG_LEVELS, MAX_SLOW, Steering, SteeringError

blueprint = Blueprint("settings", __name__)

#: Seconds that a reload may take; unloading a sink takes up to 10.
RELOAD_TIMEOUT = 15.0


@blueprint.app_template_filter("setting")
def show(value: Any) -> str:
    """A configuration value as written in the file."""
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value)) or "none"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {show(one)}' for key, one in value.items())}}}"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


@page(blueprint, "/settings", "settings.html")
@needs(OPERATOR)
def settings() -> dict[str, Any]:
    """The switches as they stand, and the configuration with secrets masked."""
    return {
        "switches": this_program().steering.snapshot(),
        "log_levels": LOG_LEVELS,
        "max_slow": MAX_SLOW,
        "configuration": effective(this_program().config),
        "configuration_file": this_program().config_path,
    }


@blueprint.post("/settings/maintenance")
def maintenance() -> Any:
    """Begin or end maintenance."""
    on = request.form.get("on") == "1"
    message = request.form.get("message", "").strip()
    this_steering().set_maintenance(on, message if on else "", by=who())
    return done("Maintenance is on: uploads are refused." if on else "Maintenance is off.")


@blueprint.post("/settings/log-level")
def log_level() -> Any:
    """Set the log's level."""
    level = request.form.get("level", "")
    this_steering().set_log_level(level, by=who())
    return done(f"The log level is {level}.")


@blueprint.post("/settings/slow-log")
def slow_log() -> Any:
    """Log requests that took so many seconds, or none."""
    given = request.form.get("seconds", "").strip()
    try:
        seconds = float(given) if given else None
    except ValueError:
        raise SteeringError(f"slow log: {given[:32]!r} is not a number of seconds") from None
    this_steering().set_slow_log(seconds, by=who())
    if seconds is None:
        return done("Slow requests are not logged.")
    return done(f"Requests that take {seconds:g} s or longer are logged.")


@blueprint.post("/settings/archive-log")
def archive_log() -> Any:
    """Log each batch that goes to the archive, or none."""
    on = request.form.get("on") == "1"
    this_steering().set_archive_log(on, by=who())
    return done(f"Batches of the archive are {'logged' if on else 'not logged'}.")


@blueprint.post("/settings/reload")
def reload() -> Any:
    """Read the configuration file again."""
    asked = this_program().ask_reload(who())
    try:
        outcome = asked.result(RELOAD_TIMEOUT)
    except TimeoutError:
        return done("The reload is taking a while; the log will show the result.")
    except CancelledError:
        raise PageError(503, "The gateway is shutting down.") from None
    if outcome.refused is not None:
        raise SteeringError(f"reload refused, the old configuration stays: {outcome.refused}")
    for problem in outcome.problems:
        flash(problem, "error")
    if outcome.restart:
        flash(f"These keys need a restart: {', '.join(outcome.restart)}.", "warning")
    return done(f"Reloaded; changed: {', '.join(outcome.changed) or 'nothing'}.")


@blueprint.errorhandler(SteeringError)
def refused(error: SteeringError) -> Any:
    """Show on the page itself what was refused."""
    flash(str(error), "error")
    return redirect(url_for("settings.settings"), 303)


def this_steering() -> Steering:
    """The switches of the current request's program."""
    return this_program().steering


def who() -> str:
    """Who asks, for the log."""
    return f"console {g.user}"


def done(text: str) -> Any:
    """Back to the page, with ``text`` on it."""
    flash(text, "done")
    return redirect(url_for("settings.settings"), 303)
