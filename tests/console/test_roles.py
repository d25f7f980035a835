"""What a viewer may see, and what an operator may do: every route of the console, tried by both."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from werkzeug.routing import Rule

from habitat_like.config.keys import Config, ConsoleConfig
from habitat_like.console import users
from habitat_like.console.app import create_app
from habitat_like.export.forms import FORMS
from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.journal.file import open_file
from habitat_like.main.program import Program
from tests.conftest import HabitatFactory
from tests.support.console import PASSWORD, USER, Visitor, basic, with_console
from tests.support.flights import sentence
from tests.support.gateway import ARCHIVE_SINK, Habitat
from tests.support.messages import INFO, TELEM, WHERE
from tests.support.wait import eventually

VIEWER = "victor"
#: Where every message comes from. No other address has this text in it.
ADDRESS = "198.51.100.177"
#: What only operators may look at.
CLOSED = {"settings.settings"}
#: Addresses of pages that are nothing without more: {message} and {letter} are put in.
EXAMPLES = {
    "static": ["/static/console.css"],
    "messages.messages": ["/messages", "/messages?suspicious=1"],
    "messages.message": ["/messages/{message}"],
    "packets.packet": ["/packets/{message}"],
    "exports.download": [
        f"/messages/download?format={name}" for name, form in FORMS.items() if not form.is_binary
    ],
    "exports.progress": ["/downloads/00000000000000000000000000000000.json"],
    "dead_letters.dead_letter": ["/dead-letters/{letter}", "/dead-letters/{broken}"],
    "stations.station": ["/station?callsign=M0ZDR"],
    "flights.payload": ["/payloads/FLYER"],
    "flights.one_flight": ["/payloads/FLYER/flights/{moment}"],
    "flights.flight_map": ["/payloads/FLYER/flights/{moment}/map.json"],
    "flights.altitude": ["/plots/flight-altitude.svg?payload=FLYER&moment={moment}"],
    "flights.distance": ["/plots/flight-distance.svg?payload=FLYER&moment={moment}"],
    "flights.value": ["/plots/flight-value.svg?payload=FLYER&moment={moment}&value=field_7"],
    "stations.station_day": ["/plots/station-day.svg?callsign=M0ZDR"],
    "stations.station_week": ["/plots/station-week.svg?callsign=M0ZDR"],
    "statistics.table": ["/statistics/messages.csv", "/statistics/stations.csv"],
}
#: What a viewer may send: a form with which nobody changes anything for others.
OWN = {"sessions.login", "sessions.logout"}

app = create_app(Program(Config(console=ConsoleConfig(password_file="users"))))
RULES = sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint)


class Site(NamedTuple):
    """A console with an operator and a viewer, and things to see."""

    gateway: Habitat
    names: dict[str, str]

    def visitor(self, name: str) -> Visitor:
        """A user who is signed in."""
        made = Visitor(self.gateway)
        assert made.sign_in(name).status == 303
        return made


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    gateway = with_console()
    path = gateway.directory / "users"
    users.write(path, VIEWER, PASSWORD, role=users.VIEWER)
    try:
        gateway.start()
        now = int(time.time())
        clock = time.strftime("%H:%M:%S", time.gmtime(now - 60))
        flyer = {**TELEM, "data": {"string": sentence(f"FLYER,1,{clock},52.25,0.5,1000,7")}}
        for one in (TELEM, INFO, WHERE, flyer):
            # A station may tell its address in its data, too.
            data = {**one["data"], "ip": ADDRESS} if one is TELEM else one["data"]
            body = {**one, "time_created": now - 60, "time_uploaded": now, "data": data}
            sent = gateway.scgi(
                "POST", "/message", json.dumps(body), params={"REMOTE_ADDR": ADDRESS}
            )
            assert sent.status == 200, sent.text
        gateway.wait_until_archived()
        eventually(lambda: gateway.status()["statistics"]["behind"] == 0, "all is counted")
        documents = gateway.documents("M0ZDR")
        (flight,) = eventually(lambda: gateway.documents("FLYER"), "the packet is parsed")
        assert {one["ip"] for one in documents} == {ADDRESS}
        with open_file(str(gateway.journal_path)) as connection:
            refused = [json.dumps(documents[0]).encode(), f"from {ADDRESS}".encode()]
            letters = DeadLetters(connection)
            letters.add(ARCHIVE_SINK, [(n, one, "refused") for n, one in enumerate(refused, 1)])
            letter, broken = letters.numbers(2)
        message = next(one["_id"] for one in documents if one["type"] == "RECEIVED_TELEM")
        names = {"message": message, "letter": str(letter), "broken": str(broken)}
        yield Site(gateway, {**names, "moment": str(flight["time_created"])})
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def operator(site: Site) -> Visitor:
    return site.visitor(USER)


@pytest.fixture(scope="module")
def viewer(site: Site) -> Visitor:
    return site.visitor(VIEWER)


def examples(rule: Rule, site: Site) -> list[str]:
    """Addresses of a page, with or without ``.json``."""
    page = rule.endpoint.removesuffix("_json")
    found = EXAMPLES.get(page)
    if found is None:
        assert not rule.arguments, f"{rule.endpoint}: write an example of its address"
        found = [rule.rule.removesuffix(".json") if page != rule.endpoint else rule.rule]
    if page != rule.endpoint:
        found = [".json?".join(one.split("?")) if "?" in one else f"{one}.json" for one in found]
    return [f"/console{one.format(**site.names)}" for one in found]


def readable() -> list[Rule]:
    return [rule for rule in RULES if "GET" in (rule.methods or ())]


def writable() -> list[Rule]:
    return [rule for rule in RULES if (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}]


@pytest.mark.parametrize("rule", readable(), ids=lambda rule: rule.endpoint)
def test_a_viewer_sees_everything_but_addresses_and_settings(
    site: Site, operator: Visitor, viewer: Visitor, rule: Rule
) -> None:
    for address in examples(rule, site):
        # The operator first: what is kept for all users must not tell a viewer more.
        whole = operator.get(address)
        assert whole.status in (200, 303), f"{address}: {whole.status}: {whole.text[:200]}"
        shown = viewer.get(address)
        if rule.endpoint.removesuffix("_json") in CLOSED:
            assert shown.status == 403
            assert "ask an operator" in shown.text
        else:
            assert shown.status == whole.status
            assert ADDRESS.encode() not in shown.body, address


def test_an_operator_sees_the_addresses(site: Site, operator: Visitor) -> None:
    seen = [
        "/console/station?callsign=M0ZDR",
        "/console/stations.json",
        "/console/messages.json",
        "/console/messages/{message}",
        "/console/messages/download?format=csv",
        "/console/dead-letters/{letter}",
        "/console/dead-letters/{broken}",
        "/console/dead-letters/export",
    ]
    for address in seen:
        assert ADDRESS in operator.get(address.format(**site.names)).text, address


@pytest.mark.parametrize("rule", writable(), ids=lambda rule: rule.endpoint)
def test_a_viewer_changes_nothing(site: Site, viewer: Visitor, rule: Rule) -> None:
    if rule.endpoint in OWN:
        return
    path = f"/console{rule.rule}"
    assert not rule.arguments, f"{rule.endpoint}: write an example of its address"
    before = site.gateway.status()
    refused = viewer.post(path, on="1", level="debug", seconds="1", id="1", all="yes")
    assert refused.status == 403
    assert f"{VIEWER} is a viewer, and can&#39;t change anything" in refused.text
    after = site.gateway.status()
    assert (after["state"], after["dead_letters"]) == (before["state"], before["dead_letters"])


def test_a_viewer_is_offered_nothing_to_change(site: Site, viewer: Visitor) -> None:
    for address in ("dead-letters", "dead-letters/{letter}", "overview"):
        page = viewer.page(f"/console/{address.format(**site.names)}")
        assert page.count("<form") == page.count('action="/console/logout"') == 1
        assert "/console/settings" not in page
        assert '<span class="tag">viewer</span>' in page


def test_a_viewer_signs_out(site: Site) -> None:
    visitor = site.visitor(VIEWER)
    assert visitor.post("/console/logout").status == 303
    assert visitor.get("/console/overview").status == 303


def test_a_viewers_script_reads_and_downloads(site: Site) -> None:
    script = Visitor(site.gateway)
    sent = basic(VIEWER, PASSWORD)
    page = script.get("/console/messages.json", sent).json()
    assert [one["ip"] for one in page["messages"]] == [None] * 5
    lines = script.get("/console/messages/download?format=ndjson", sent).text.splitlines()
    assert [json.loads(line)["ip"] for line in lines] == [None] * 5
    refused = script.get("/console/settings.json", sent)
    assert refused.status == 403
    assert refused.json() == {
        "error": f"{VIEWER} is a viewer, and can't see this: ask an operator."
    }


# -- who is what


def test_passwd_sets_the_role_and_keeps_it(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    path = gateway.directory / "users"
    gateway.config["console"] = {"password_file": str(path)}

    def passwd(*arguments: str, password: str = PASSWORD) -> dict[str, str]:
        done = gateway.cli("console", "passwd", *arguments, stdin=f"{password}\n")
        assert done.returncode == 0, done.stderr
        return {name: user.role for name, user in users.read(path).items()}

    assert passwd("alice") == {"alice": "operator"}
    assert path.read_text().count(":") == 1, "as it was before there were roles"
    assert passwd("--role", "viewer", "bob") == {"alice": "operator", "bob": "viewer"}
    assert passwd("bob", password="another one")["bob"] == "viewer"
    assert passwd("--role", "operator", "bob")["bob"] == "operator"


def test_a_change_of_the_role_ends_the_session() -> None:
    gateway = with_console()
    try:
        gateway.start()
        visitor = Visitor(gateway)
        visitor.sign_in()
        assert visitor.get("/console/settings").status == 200
        users.write(gateway.directory / "users", USER, PASSWORD, role=users.VIEWER)
        assert visitor.get("/console/settings").status == 303
        visitor.sign_in()
        assert visitor.get("/console/settings").status == 403
    finally:
        gateway.close()


def test_users_of_the_web_server_are_operators_unless_the_file_says_otherwise() -> None:
    gateway = with_console()
    gateway.config["console"]["trust_proxy_auth"] = True
    users.write(gateway.directory / "users", VIEWER, PASSWORD, role=users.VIEWER)
    try:
        gateway.start()
        for name, status in (("carol", 200), (USER, 200), (VIEWER, 403)):
            seen = gateway.scgi("GET", "/console/settings", params={"REMOTE_USER": name})
            assert seen.status == status, name
    finally:
        gateway.close()


@pytest.mark.parametrize("role", ["", "admin", "operator:x"])
def test_an_unknown_role_in_the_file_is_told(habitat: HabitatFactory, role: str) -> None:
    gateway = habitat(start=False)
    path = gateway.directory / "users"
    users.write(path, "alice", PASSWORD)
    path.write_text(f"{path.read_text().strip()}:{role}\n")
    gateway.config["console"] = {"password_file": str(path)}
    checked = gateway.cli("check").stdout
    assert (f"{path} line 1: {role!r} is no role (operator, viewer)" in checked) is bool(role)


@pytest.mark.parametrize("password", ["x", "seven77"])
def test_a_short_password_is_refused_in_one_line(habitat: HabitatFactory, password: str) -> None:
    gateway = habitat(start=False)
    gateway.config["console"] = {"password_file": str(gateway.directory / "users")}
    done = gateway.cli("console", "passwd", "alice", stdin=f"{password}\n")
    assert done.returncode == 2
    assert "The password is too short: it needs 8 characters or more" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (gateway.directory / "users").exists()
