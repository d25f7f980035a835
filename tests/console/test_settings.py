"""The console's settings: what they show, and that each switch acts at once."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import HabitatFactory
from tests.support.console import Visitor, make_users, with_console
from tests.support.control import connect, last_line
from tests.support.gateway import Habitat
from tests.support.reply import unavailable
from tests.support.station import body
from tests.support.wait import eventually


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    made = with_console()
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def visitor(gateway: Habitat) -> Visitor:
    made = Visitor(gateway)
    made.sign_in()
    return made


def switch(visitor: Visitor, name: str, **fields: str) -> str:
    """Move a switch; the page that follows."""
    reply = visitor.post(f"/console/settings/{name}", **fields)
    assert (reply.status, reply.headers["location"]) == (303, "/console/settings")
    return visitor.page("/console/settings")


def test_the_configuration_in_force_is_shown_without_passwords(gateway: Habitat) -> None:
    gateway.config["archive"]["uri"] = "couchdb://me:hunter2@127.0.0.1:1/db"
    try:
        visitor = Visitor(gateway.restart())
        visitor.sign_in()
        seen = visitor.json("/console/settings.json")
        assert seen["configuration"]["archive"]["uri"] == "couchdb://me:***@127.0.0.1:1/db"
        page = visitor.page("/console/settings")
        assert "couchdb://me:***@127.0.0.1:1/db" in page
        assert "hunter2" not in page
    finally:
        gateway.config["archive"]["uri"] = f"sqlite:{gateway.directory / 'archive.sqlite'}"
        gateway.restart()


def test_settings_of_sinks_and_networks_are_shown_as_they_are_written() -> None:
    parser = {"habitat_like.telemetry.ParserSink": {"payloads": None, "name": "parser"}}
    made = with_console(sinks=["habitat_like.archive.ArchiveSink", parser])
    made.config["networks"] = {"weather": {"unknown": "suspicious"}}
    try:
        visitor = Visitor(made.start())
        visitor.sign_in()
        page = visitor.page("/console/settings")
    finally:
        made.close()
    assert "habitat_like.archive.ArchiveSink, {habitat_like.telemetry.ParserSink: {" in page
    assert "name: parser" in page
    assert "{unknown: suspicious}" in page


def test_maintenance_is_begun_and_ended(gateway: Habitat, visitor: Visitor) -> None:
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    page = switch(visitor, "maintenance", on="1", message="back at noon")
    assert "Stations get 503: “back at noon”" in page
    assert "back at noon" in unavailable(gateway.scgi("POST", "/message", body(2)))
    assert visitor.json("/console/settings.json")["switches"]["maintenance"]["status"] == 503
    assert "Maintenance is off" in switch(visitor, "maintenance", on="0")
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    eventually(lambda: '"by":"console alice"' in gateway.log)


def test_a_redirect_that_can_not_be_is_refused(visitor: Visitor) -> None:
    page = switch(visitor, "maintenance", on="1", message="307 ftp://x")
    assert 'class="notice error"' in page
    assert visitor.json("/console/settings.json")["switches"]["maintenance"] is None


@pytest.mark.parametrize(
    ("name", "fields", "key", "value"),
    [
        ("log-level", {"level": "error"}, "log_level", "error"),
        ("log-level", {"level": "debug"}, "log_level", "debug"),
        ("slow-log", {"seconds": "0.25"}, "slow_log", 0.25),
        ("slow-log", {"seconds": ""}, "slow_log", None),
        ("archive-log", {"on": "1"}, "archive_log", True),
        ("archive-log", {"on": "0"}, "archive_log", False),
    ],
)
def test_a_switch_acts_at_once(
    visitor: Visitor, name: str, fields: dict[str, str], key: str, value: object
) -> None:
    switch(visitor, name, **fields)
    assert visitor.json("/console/settings.json")["switches"][key] == value


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("log-level", {"level": "loud"}, "is not one of debug, info, warning, error"),
        ("slow-log", {"seconds": "-1"}, "is not between 0 and 3600 seconds"),
        ("slow-log", {"seconds": "soon"}, "is not a number of seconds"),
        ("slow-log", {"seconds": "nan"}, "is not between 0 and 3600 seconds"),
    ],
)
def test_what_can_not_be_is_said_and_changes_nothing(
    visitor: Visitor, name: str, fields: dict[str, str], why: str
) -> None:
    before = visitor.json("/console/settings.json")["switches"]
    assert why in switch(visitor, name, **fields)
    assert visitor.json("/console/settings.json")["switches"] == before


def test_a_reload_says_what_changed(gateway: Habitat, visitor: Visitor) -> None:
    gateway.config["gateway"]["max_body"] = 2_000_000
    gateway.write_config()
    assert "changed: gateway.max_body" in switch(visitor, "reload")
    gateway.config["gateway"]["workers"] = 3
    gateway.write_config()
    assert "need a restart: gateway.workers" in switch(visitor, "reload")
    gateway.config_path.write_text("gateway: {max_bodi: 1}\n")
    assert "reload refused" in switch(visitor, "reload")
    gateway.write_config()


def test_a_reload_that_comes_too_late_holds_up_no_stop(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    console = {"password_file": make_users(tmp_path / "users")}
    gateway = habitat({"console": console, "gateway": {"shutdown_timeout": 30}})
    visitor = Visitor(gateway)
    visitor.sign_in()
    token = visitor.token()
    text = gateway.config_path.read_text()
    gateway.config_path.unlink()
    os.mkfifo(gateway.config_path)
    with ThreadPoolExecutor() as pool, connect(gateway) as first, connect(gateway) as second:
        wait_for_reload(first)  # the main thread reads the file, which says nothing yet
        late = pool.submit(visitor.post, "/console/settings/reload", token)
        wait_for_reload(second)
        gateway.signal(signal.SIGTERM)
        gateway.config_path.write_text(text)
        assert gateway.wait() == 0, gateway.log
        assert last_line(first)["changed"] == []
        assert last_line(second) == {"error": "the gateway is shutting down"}
        assert late.result().status == 503


def wait_for_reload(control: socket.socket) -> None:
    """Ask for a reload that doesn't end yet."""
    control.sendall(b'{"command": "reload"}\n')
    assert b"progress" in control.recv(1000)


def test_who_is_not_signed_in_moves_nothing(gateway: Habitat) -> None:
    stranger = Visitor(gateway)
    stranger.token()
    for name in ("maintenance", "log-level", "slow-log", "archive-log", "reload"):
        assert stranger.post(f"/console/settings/{name}", on="1").status == 401
    assert gateway.status()["state"] == "ready"
