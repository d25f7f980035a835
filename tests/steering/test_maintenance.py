"""Maintenance: its file, what stations are told, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.steering.maintenance import (
    DEFAULT_MESSAGE,
    REDIRECTS,
    MaintenanceError,
    parse,
    parse_leniently,
)
from tests.conftest import HabitatFactory, NginxFactory
from tests.networks.hisparc.support import LIST
from tests.support import scgi
from tests.support.gateway import OWN, Habitat, own_actions
from tests.support.log import wait_for_log
from tests.support.reply import unavailable
from tests.support.station import answer, archived, body, bulk, upload
from tests.support.wait import eventually

# -- the file's text


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("", 503, DEFAULT_MESSAGE),
        (" \n ", 503, DEFAULT_MESSAGE),
        ("back at noon\n", 503, "back at noon"),
        ("503", 503, DEFAULT_MESSAGE),
        ("503 back at noon\r\n", 503, "back at noon"),
        ("503\nnew disk,\nback at noon", 503, "new disk, back at noon"),
        ("2026-11-21 is a holiday", 503, "2026-11-21 is a holiday"),
        ("a\x1b[31mb\tc", 503, "a [31mb c"),
        ("301 https://other.example/", 301, "moved to https://other.example/"),
        ("308 http://[2001:db8::1]:8080/m?x=1\nuntil noon", 308, "until noon"),
    ],
)
def test_the_text_says_status_and_message(text: str, status: int, message: str) -> None:
    found = parse(text)
    assert (found.status, found.message) == (status, message)
    assert found.reason == f"maintenance: {message}"


@pytest.mark.parametrize(
    "line",
    [
        "200 OK",
        "404 gone",
        "500",
        "301",
        "301 ",
        "302 other.example",
        "307 /message",
        "307 //other.example/message",
        "307 ftp://other.example/",
        "307 javascript:alert(1)",
        "307 https://",
        "307 https:///message",
        "307 https://other.example/ two",
        "307 https://other.example/\x01",
        "307 https://other.example/\x7f",
        "307 https://other.example/\u00e4",
        "307 https://[::1/",
    ],
)
def test_a_bad_first_line_is_part_of_the_message(line: str) -> None:
    with pytest.raises(MaintenanceError):
        parse(line)
    found, problem = parse_leniently(line)
    assert problem
    assert "\n" not in problem
    assert (found.status, found.location) == (503, None)
    assert found.message == " ".join("".join(c if c.isprintable() else " " for c in line).split())


@given(st.one_of(st.text(), st.from_regex(r"30[0-9] https?://\S+[\s\S]*")))
def test_any_text_gives_an_answer_that_can_be_sent(text: str) -> None:
    found, _ = parse_leniently(text)
    assert found.status == 503 or found.status in REDIRECTS
    assert (found.location is not None) == (found.status in REDIRECTS)
    assert found.message.isprintable()
    assert found.message
    if found.location is not None:
        assert found.location.isascii()
        assert found.location.isprintable()
        assert found.location.startswith(("http://", "https://"))


# -- a gateway in maintenance


def file_of(gateway: Habitat) -> str:
    path = gateway.directory / "maintenance"
    return path.read_text() if path.exists() else ""


def put(gateway: Habitat, text: str | None) -> None:
    """Write the file, or remove it, and wait until the gateway has seen it."""
    path = gateway.directory / "maintenance"
    if text is None:
        path.unlink()
    else:
        # At once: the gateway must not find it empty.
        new = path.with_name("maintenance.new")
        new.write_text(text)
        new.rename(path)
    eventually(lambda: (gateway.status()["maintenance"] is None) == (text is None))


def test_on_and_off_by_the_file_with_an_upload_in_each(habitat: HabitatFactory) -> None:
    gateway = habitat(own_actions("lane"), start=False, own=OWN)
    (gateway.directory / "stations.csv").write_text(LIST)
    gateway.config["networks"] = {"hisparc": {"station_list": "stations.csv"}}
    gateway.start()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    put(gateway, "back at noon\n")
    for path in ("/message", "/messages", "/lane", "/upload"):
        assert unavailable(gateway.scgi("POST", path, bulk([2, 3]))) == "back at noon", path
    assert gateway.status()["state"] == "maintenance: back at noon"
    assert "maintenance: back at noon" in unavailable(gateway.scgi("GET", "/readyz"))
    for page in ("/", "/status", "/metrics", "/healthz"):
        assert gateway.scgi("GET", page).status == 200, page
    assert "\nhabitat_maintenance 1.0\n" in gateway.scgi("GET", "/metrics").text
    # What was taken before goes on into the archive.
    assert archived(gateway) == [1]
    put(gateway, None)
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    assert gateway.scgi("GET", "/readyz").status == 200
    assert archived(gateway) == [1, 2]
    assert wait_for_log(gateway, "maintenance begins")[0]["by"] == "the maintenance file"
    assert wait_for_log(gateway, "maintenance ended")[0]["by"] == "the maintenance file"


def test_on_and_off_by_ctl_with_an_upload_in_each(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    done = gateway.cli("ctl", "maintenance", "on", "--message", "back at noon")
    assert (done.returncode, done.stderr) == (0, "")
    assert "503" in done.stdout
    assert "back at noon" in done.stdout
    # At once, not with the next look at the file.
    assert unavailable(gateway.scgi("POST", "/message", body(2))) == "back at noon"
    assert file_of(gateway).strip() == "back at noon"
    done = gateway.cli("ctl", "maintenance", "off")
    assert (done.returncode, done.stderr) == (0, "")
    assert gateway.scgi("POST", "/message", body(3)).status == 200
    assert not file_of(gateway)
    assert archived(gateway) == [1, 3]
    (entry,) = wait_for_log(gateway, "maintenance begins")
    assert entry["by"].startswith("ctl uid ")


def test_a_redirect_reaches_the_station_through_nginx(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat()
    front = nginx(gateway)
    address = "https://other.example/message?from=a"
    for status in (301, 308):
        done = gateway.cli("ctl", "maintenance", "on", "--message", f"{status} {address}")
        assert done.returncode == 0, done.stderr
        reply = front.request("POST", "/message", body(1))
        assert (reply.status, reply.headers["location"]) == (status, address)
        assert "retry-after" not in reply.headers
    assert gateway.cli("ctl", "maintenance", "on").returncode == 0
    reply = front.request("POST", "/message", body(1))
    assert unavailable(reply) == DEFAULT_MESSAGE
    assert front.request("GET", "/status").status == 200
    assert gateway.cli("ctl", "maintenance", "off").returncode == 0
    assert front.request("POST", "/message", body(1)).status == 200


@pytest.mark.parametrize("kill", [False, True])
def test_it_lasts_over_a_restart(habitat: HabitatFactory, kill: bool) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert gateway.cli("ctl", "maintenance", "on", "--message", "new disk").returncode == 0
    if kill:
        gateway.kill()
    else:
        assert gateway.stop() == 0
    gateway.start(ready=False)
    # From the first request on.
    eventually(lambda: gateway.scgi("GET", "/healthz").status == 200)
    assert unavailable(gateway.scgi("POST", "/message", body(2))) == "new disk"
    assert gateway.cli("ctl", "maintenance", "off").returncode == 0
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    assert archived(gateway) == [1, 2]


def test_a_bad_line_is_refused_by_ctl_and_told_of_the_file(habitat: HabitatFactory) -> None:
    gateway = habitat()
    done = gateway.cli("ctl", "maintenance", "on", "--message", "200 OK")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert not file_of(gateway)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    put(gateway, "200 OK")
    assert unavailable(gateway.scgi("POST", "/message", body(2))) == "200 OK"
    (entry,) = wait_for_log(gateway, "the maintenance file can't be used as it is")
    assert "200" in entry["why"]
    # A directory is no file: what was, stays.
    put(gateway, None)
    (gateway.directory / "maintenance").mkdir()
    wait_for_log(gateway, "the maintenance file can't be used", 2)
    assert gateway.scgi("POST", "/message", body(2)).status == 200


def test_what_came_before_is_still_answered_and_kept(habitat: HabitatFactory) -> None:
    gateway = habitat(own_actions("wait_and_push"), own=OWN)
    go = gateway.directory / "go"
    with gateway.connect() as slow, gateway.connect() as half:
        slow.sendall(scgi.encode("POST", f"/wait_and_push?{go}", body(1)))
        eventually((gateway.directory / "go.began").exists)
        request = upload(2)
        half.sendall(request[:-10])
        eventually(lambda: gateway.connections() == 2)
        assert gateway.cli("ctl", "maintenance", "on").returncode == 0
        go.touch()
        assert answer(slow).status == 200
        # This one was not yet there when maintenance began.
        half.sendall(request[-10:])
        assert answer(half).status == 503
    assert archived(gateway) == [1]
