"""Nothing that a client sends is taken for something else: an address, a path, a header, a line."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.http import scgi
from habitat_like.log import JsonFormatter, TextFormatter
from tests.conftest import HabitatFactory, NginxFactory
from tests.support.gateway import own_actions
from tests.support.messages import GOOD, TELEM
from tests.support.reply import one_line
from tests.support.site import Site
from tests.support.wait import eventually

#: Ends a line, begins a header, colours a terminal (in 7 and in 8 bits), turns the text around.
EVIL = "x\r\nSet-Cookie: a=b\n\x1b[31m\x9b31m\u202e\u2028\x00<script>"

# addresses and paths


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "Client-IP",
        "True-Client-IP",
        "Remote-Addr",
        "REMOTE_ADDR",
        "Http-Remote-Addr",
    ],
)
def test_no_header_changes_the_address_that_is_archived(site: Site, name: str) -> None:
    value = "for=203.0.113.66" if name == "Forwarded" else "203.0.113.66"
    assert site.accepted(TELEM, {name: value})["ip"] == "127.0.0.1"


@pytest.mark.parametrize("name", ["Path-Info", "Document-Uri", "Script-Name", "Request-Uri"])
def test_no_header_changes_the_action(site: Site, name: str) -> None:
    reply = site.front.request("GET", "/nowhere", headers={name: "/status"})
    assert reply.status == 404
    assert site.front.request("GET", "/healthz", headers={name: "/nowhere"}).status == 200


@pytest.mark.parametrize("name", ["Request-Method", "X-Http-Method-Override", "X-Http-Method"])
def test_no_header_changes_the_method(site: Site, name: str) -> None:
    assert site.front.request("GET", "/message", headers={name: "POST"}).status == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "[::1]"])
def test_the_host_that_a_client_names_is_in_no_answer(site: Site, host: str) -> None:
    for path in ("/", "/nowhere", "/status", "/metrics"):
        reply = site.front.request("GET", path, headers={"Host": host})
        assert reply.status == (404 if path == "/nowhere" else 200)
        assert host not in reply.text + str(reply.headers)


# answers


@pytest.mark.parametrize(
    "message",
    [
        {**TELEM, "type": EVIL},
        {**TELEM, "callsign": EVIL},
        {**TELEM, "time_created": EVIL},
        {**TELEM, "data": {"string": "AAAA", EVIL: [1]}},
        {**TELEM, "data": {"string": EVIL}},
        {EVIL: 1},
    ],
    ids=lambda message: next(key for key in message if message[key] != TELEM.get(key)),
)
def test_a_refusal_is_one_plain_line(site: Site, message: dict[str, Any]) -> None:
    reply = site.post(message)
    assert reply.status == 400
    assert one_line(reply).isprintable()
    assert "set-cookie" not in reply.headers


OWN = """
from habitat_like.http import Response, action

@action(methods=("GET",))
def moved(application, ip, args):
    from urllib.parse import unquote
    return Response(301, b"there\\n", "text/plain", {"Location": unquote(args.query)})
"""


def test_an_actions_header_can_not_be_made_two(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    front = nginx(habitat(own_actions("moved"), own=OWN))
    reply = front.request("GET", "/moved?/elsewhere")
    assert (reply.status, reply.headers["location"]) == (301, "/elsewhere")
    for split in ("%0D%0ASet-Cookie:%20a=b", "%0ASet-Cookie:%20a=b", "%0D%0A%0D%0Abody", "%00"):
        reply = front.request("GET", f"/moved?/elsewhere{split}")
        assert reply.status == 500
        assert "set-cookie" not in reply.headers
        assert "location" not in reply.headers


@pytest.mark.parametrize("split", ["\r\n", "\n", "\r", "\0"])
def test_a_reply_with_a_line_break_in_a_header_is_never_encoded(split: str) -> None:
    text = f"a{split}b: c"
    for content_type, headers in (
        (text, {}),
        ("text/plain", {"X": text}),
        ("text/plain", {text: "x"}),
    ):
        with pytest.raises(ValueError, match="line break"):
            scgi.encode_response(200, b"", content_type, headers)


# the log


def record(message: str, extra: dict[str, Any], raised: str | None = None) -> logging.LogRecord:
    """A record of the log with an ``extra``, and with an exception of that text."""
    logger = logging.Logger("habitat_like.test")
    info = None
    if raised is not None:
        try:
            raise ValueError(raised)
        except ValueError:
            info = sys.exc_info()
    return logger.makeRecord("n", logging.INFO, "f", 1, message, (), info, extra=extra)


text = st.text(max_size=40) | st.sampled_from([EVIL, "\n2026-01-01 00:00:00 info    stopped"])


@given(text, text)
def test_a_record_is_one_line_that_steers_no_terminal(message: str, value: str) -> None:
    entry = record(message, {"why": value})
    line = TextFormatter(colour=False).format(entry)
    assert line.isprintable()
    line = JsonFormatter().format(entry)
    assert line.isprintable()
    assert (json.loads(line)["message"], json.loads(line)["why"]) == (message, value)


@given(text)
def test_a_traceback_holds_nothing_that_looks_like_another_record(raised: str) -> None:
    entry = record("action failed", {}, raised)
    first, *below = TextFormatter(colour=False).format(entry).split("\n")
    assert first.endswith(" action failed")
    assert below
    assert all(line.startswith("  ") and line.isprintable() for line in below)
    assert JsonFormatter().format(entry).isprintable()


def test_what_a_client_sends_adds_no_line_to_the_log(habitat: HabitatFactory) -> None:
    gateway = habitat({"log": {"format": "text"}})
    eventually(lambda: "archive ready" in gateway.log)  # the last line of a start
    before = gateway.log.splitlines()
    assert gateway.scgi("POST", "/message", GOOD.replace(b"M0ZDR", b"\\nM0ZDR")).status == 400
    name = b"A\n\x1b[31mB"
    block = b"CONTENT_LENGTH\x000\x00SCGI\x001\x00%b\x001\x00%b\x002\x00" % (name, name)
    assert b"400" in gateway.send_raw(b"%d:%b," % (len(block), block))
    (line,) = eventually(lambda: gateway.log.splitlines()[len(before) :])
    assert "malformed requests" in line
    assert line.isprintable()
