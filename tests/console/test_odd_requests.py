"""Whatever is asked for in odd words, a page of the console answers, and never fails."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from habitat_like.config.keys import Config, ConsoleConfig
from habitat_like.console.app import create_app
from habitat_like.main import Program
from tests.support.console import PASSWORD, USER, Visitor, make_users, with_console
from tests.support.gateway import Habitat
from tests.support.messages import GOOD
from tests.support.reply import Reply

#: Values that trip up parsers: of addresses, numbers, times, places in a list, paths.
ODD = [
    "", " ", "\0", "\r\n", "/x\r\nSet-Cookie: a=b", "%0d%0a", "%", "%zz", "\ud7ff", "\x85",
    "\u2028", "//[", "http://[x", "http://[::1", "//evil.example", "/\t/evil.example", "/\\evil",
    "\\", "[", "]", "http://a:b@c:99999999/", "http://x:y", "x:", "//", "/../../message", "?",
    "#", "&", "=", "0", "-1", "1e999", "-1e999", "nan", "inf", "1" * 5000, "9" * 18, "9" * 19,
    "9223372036854775808", "0x1", "1_000", "\u0661", "\u00b2", "1970-01-01", "0000-00-00",
    "9999-12-31T23:59:60Z", "1d ago", "-99999999999999999999 days", "now", "yesterday", "[]",
    "{}", "null", '["a",1]', "1,a", "1-", "a" * 3000, "'", '"', "<script>", "{{7*7}}", "%s%n",
    "*", "(", "\U0001f600", "e\u0301", "~", "ndjson", "csv", "json",
]  # fmt: skip
#: What pages look for in an address or a form.
NAMES = [
    "next", "name", "password", "csrf_token", "callsign", "type", "since", "until", "suspicious",
    "search", "sort", "after", "before", "range", "silent_after", "format", "token", "size", "id",
    "all", "confirmed", "on", "message", "level", "seconds", "order", "limit", "step", "day",
    "page", "_anchor", "_method",
]  # fmt: skip
HEADERS = [
    "Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Content-Type", "Cookie",
    "Host", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "Origin", "Range",
    "Referer", "Transfer-Encoding", "X-Csrf-Token", "X-Forwarded-For", "X-Forwarded-Host",
]  # fmt: skip

texts = st.sampled_from(ODD) | st.text(st.characters(codec="utf-8"), max_size=20)
fields = st.lists(
    st.tuples(st.sampled_from(NAMES) | st.text(st.characters(codec="utf-8"), max_size=8), texts),
    max_size=6,
)
#: A header field's value as it can get here: what the web server takes, in Latin-1.
values = (st.sampled_from(ODD) | st.text(st.characters(codec="latin-1"), max_size=20)).map(
    lambda text: latin("".join(char for char in text if char.isprintable()))
)

bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    """A gateway with a console and a message."""
    made = with_console()
    try:
        made.start()
        assert made.scgi("POST", "/message", GOOD).status == 200
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def visitor(gateway: Habitat) -> Visitor:
    """Somebody who is signed in."""
    made = Visitor(gateway)
    made.sign_in()
    return made


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The address of every page by the method that it takes, with <...> where anything can be."""
    users = make_users(tmp_path_factory.mktemp("console") / "users")
    app = create_app(Program(Config(console=ConsoleConfig(password_file=users))))
    found: dict[str, list[str]] = {"GET": [], "POST": []}
    for rule in app.url_map.iter_rules():
        for method in found.keys() & (rule.methods or set()):
            found[method].append(rule.rule)
    assert len(found["GET"]) > 20
    assert len(found["POST"]) > 5
    return found


def latin(text: str) -> str:
    """Text in UTF-8 as the tests write an SCGI header: a character for each byte, no NUL."""
    return text.replace("\0", "").encode().decode("latin-1")


@pytest.fixture(autouse=True)
def no_traceback(gateway: Habitat) -> Iterator[None]:
    """What a page could not do is in the log, whatever its answer was."""
    before = len(gateway.log)
    yield
    assert "Traceback" not in gateway.log[before:]


def assert_answered(reply: Reply, asked: object) -> None:
    assert reply.status < 500, f"{asked}: {reply.status}: {reply.text[:300]}"


@bounded
@given(query=fields, part=texts, data=st.data())
def test_every_page_answers_an_odd_query(
    gateway: Habitat,
    visitor: Visitor,
    rules: dict[str, list[str]],
    query: list[tuple[str, str]],
    part: str,
    data: st.DataObject,
) -> None:
    rule = data.draw(st.sampled_from(rules["GET"]))
    path = latin("/console" + re.sub("<.*?>", lambda _: part.replace("?", ""), rule))
    for address in (f"{path}?{urlencode(query)}", f"{path}?{latin('&'.join(part))}"):
        assert_answered(visitor.get(address), address)


@pytest.mark.parametrize("page", ["overview", "login", "messages.json", "statistics/types.csv"])
@pytest.mark.parametrize("query", ["x=\xb2", "\x85", "next=/\xff", "type=\xc3", "callsign=\xe9"])
def test_bytes_that_are_no_utf_8_are_answered(
    gateway: Habitat, visitor: Visitor, page: str, query: str
) -> None:
    """A browser does not send such a query; a web server passes it on."""
    for asks in (visitor, Visitor(gateway)):
        assert_answered(asks.get(f"/console/{page}?{query}"), query)


@bounded
@given(form=fields, part=texts, data=st.data())
def test_every_form_answers_odd_fields(
    gateway: Habitat,
    visitor: Visitor,
    rules: dict[str, list[str]],
    form: list[tuple[str, str]],
    part: str,
    data: st.DataObject,
) -> None:
    rule = data.draw(st.sampled_from(rules["POST"]))
    sender = Visitor(gateway) if rule in ("/login", "/logout") else visitor
    path = latin("/console" + re.sub("<.*?>", lambda _: part.replace("?", ""), rule))
    sent = [(name, value) for name, value in form if name != "csrf_token"]
    assert_answered(sender.send(path, sent), (path, sent))
    assert_answered(sender.send(path, form, token=part), (path, form, part))


@bounded
@given(header=st.sampled_from(HEADERS), value=values, https=st.booleans(), signed_in=st.booleans())
def test_every_page_answers_odd_headers(
    gateway: Habitat, visitor: Visitor, header: str, value: str, https: bool, signed_in: bool
) -> None:
    asks = visitor if signed_in else Visitor(gateway, https=https)
    for path in ("/console/overview", "/console/login", "/console/nothing.json"):
        assert_answered(asks.get(path, {header: value}), (path, header, value))


@pytest.mark.parametrize("header", ["Referer", "Host", "Origin", "X-Csrf-Token", "Content-Type"])
@pytest.mark.parametrize(
    "value", ["http://[x", "//[", "https://[::1/", "[", "https://gateway.example:x/", ""]
)
def test_a_form_with_an_odd_header_is_answered(gateway: Habitat, header: str, value: str) -> None:
    visitor = Visitor(gateway, https=True)
    body = urlencode({"csrf_token": visitor.token(), "name": "x", "password": "x"})
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Cookie": str(visitor.cookie),
        "Host": "gateway.example",
        "Referer": "https://gateway.example/console/",
        header: value,
    }
    reply = gateway.scgi("POST", "/console/login", body, headers, params={"HTTPS": "on"})
    assert_answered(reply, (header, value))


@pytest.mark.parametrize(
    "host", ["a..b", ".", "x" * 64, "a" * 3000, "xn--a", "[", "a:b:c", "a b", ""]
)
@pytest.mark.parametrize("path", ["", "overview", "login", "nothing", "static/console.css"])
def test_an_odd_host_is_answered(gateway: Habitat, path: str, host: str) -> None:
    assert_answered(Visitor(gateway).get(f"/console/{path}", {"Host": host}), host)


@pytest.mark.parametrize(
    "credentials", [b"", b":", b"a", b"a:\xff", b"\xff\xfe:a", b"\0:\0", b"a:" * 999]
)
def test_odd_credentials_are_wrong_ones(gateway: Habitat, credentials: bytes) -> None:
    header = "Basic " + base64.b64encode(credentials).decode()
    reply = gateway.scgi("GET", "/console/overview.json", headers={"Authorization": header})
    assert_answered(reply, credentials)
    assert reply.status == 401


@pytest.mark.parametrize("target", ODD)
def test_an_odd_place_to_go_to_is_not_followed(gateway: Habitat, target: str) -> None:
    """Neither in the form nor in the address, before signing in or after it."""
    visitor = Visitor(gateway)
    address = f"/console/login?{urlencode({'next': target})}"
    replies = [visitor.post(address, name=USER, password=PASSWORD, next=target)]
    replies.append(visitor.get(address))
    for reply in replies:
        assert_answered(reply, target)
        assert (reply.status, reply.headers["location"]) == (303, "/console/overview")


@pytest.mark.parametrize(
    "target", ["/overview", "/station?callsign=A%2FB", "/messages?search=\u00d6", "/"]
)
def test_a_page_of_the_console_is_followed(gateway: Habitat, target: str) -> None:
    reply = Visitor(gateway).sign_in(next=target)
    assert reply.headers["location"] == "/console" + quote(target, safe="/?=%")
