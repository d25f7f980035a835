"""The console as its users see it: Chromium, nginx, the gateway, CouchDB, real uploads."""

from __future__ import annotations

import base64
import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.support.browser import TELEPHONE, Person, chromium, wait_for_image
from tests.support.console import PASSWORD, USER, unhurried, with_console
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.messages import INFO, TELEM, WHERE
from tests.support.nginx import Nginx
from tests.support.reply import Reply
from tests.support.wait import eventually

DATABASE = "console"
#: Has the database refuse what one station sends.
GUARD = (
    "function (doc) { if (doc.callsign === 'G0BAD') {"
    " throw({forbidden: 'this station is not ours'}); } }"
)
PAYLOAD = "$$habitat,123,"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(couch_server: CouchServer) -> Iterator[Habitat]:
    """A gateway with messages of three stations in CouchDB."""
    if not couch_server.running():
        couch_server.start()
    made = unhurried(with_console(archive={"uri": couch_server.uri(DATABASE)}))
    try:
        made.start()
        now = int(time.time())
        for callsign in ("M0ZDR", "2E0ABC", "DL1XYZ"):
            upload(made, INFO, callsign, now - 60)
            upload(made, WHERE, callsign, now - 60)
            upload(made, TELEM, callsign, now - 50)
        made.wait_until_archived()
        eventually(lambda: made.status()["statistics"]["behind"] == 0, "all is counted")
        yield made
    finally:
        made.close()
        if couch_server.running():
            couch_server.delete(DATABASE)


def upload(gateway: Habitat | Nginx, message: dict[str, Any], callsign: str, created: int) -> Reply:
    """Send a message as a station with a right clock does."""
    body = {
        **message,
        "callsign": callsign,
        "time_created": created,
        "time_uploaded": int(time.time()),
    }
    ask = gateway.scgi if isinstance(gateway, Habitat) else gateway.request
    return ask("POST", "/message", json.dumps(body))


def follow(person: Person, name: str) -> None:
    """Choose a page in the navigation."""
    person.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
    expect(person.page.get_by_role("heading", level=1)).to_have_text(name)


def rows(person: Person) -> Locator:
    """The rows of the first table."""
    return person.page.locator("table").first.locator("tbody tr")


# -- signing in and out


def test_signing_in_and_out(person: Person) -> None:
    page = person.page
    expect(page).to_have_url(f"{person.url}/console/overview")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_contain_text("signed out")
    page.goto("/console/overview")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_wrong_password_is_told(browser: Browser, front: Nginx) -> None:
    person = Person(browser, front.url)
    person.page.goto("/console/")
    person.page.get_by_label("Name").fill(USER)
    person.page.get_by_label("Password").fill("wrong")
    person.page.get_by_role("button", name="Sign in").click()
    expect(person.page.get_by_role("status")).to_contain_text("Wrong name or password")
    person.close()


def test_who_is_not_signed_in_any_more_is_asked_again_and_led_back(person: Person) -> None:
    follow(person, "Statistics")
    person.page.context.clear_cookies()
    person.page.get_by_role("link", name="last 7 days").click()
    person.page.get_by_label("Name").fill(USER)
    person.page.get_by_label("Password").fill(PASSWORD)
    person.page.get_by_role("button", name="Sign in").click()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Statistics")
    expect(person.page).to_have_url(f"{person.url}/console/statistics?range=week")


# -- from an upload to each page


def test_the_overview_says_how_uploads_flow(person: Person) -> None:
    page = person.page
    expect(page.get_by_text("All is well")).to_be_visible()
    expect(page.locator("dt:text-is('Stations heard') + dd")).to_have_text("3")
    expect(page.locator("dt:text-is('Archive') + dd")).to_have_text("works")
    for image in page.locator(".plot img").all():
        wait_for_image(image)


def test_a_station_has_a_page(person: Person) -> None:
    follow(person, "Stations")
    person.page.get_by_label("Callsign or name").fill("2e0")
    person.page.keyboard.press("Enter")
    expect(rows(person)).to_have_count(1)
    person.page.get_by_role("link", name="2E0ABC").click()
    expect(person.page.get_by_role("heading", level=1)).to_contain_text("2E0ABC")
    main = person.page.locator("main")
    expect(main).to_contain_text("FT-817")
    expect(main).to_contain_text("52.1")


def test_a_message_is_found_and_read(person: Person) -> None:
    follow(person, "Messages")
    person.page.get_by_label("Callsign").fill("dl1xyz")
    person.page.get_by_label("Type").fill("RECEIVED_TELEM")
    person.page.get_by_role("button", name="Show").click()
    expect(rows(person)).to_have_count(1)
    rows(person).first.get_by_role("link").first.click()
    expect(person.page.locator("main")).to_contain_text(PAYLOAD)
    expect(person.page.locator("main")).to_contain_text("24 24 68 61 62 69 74 61 74")


def test_receptions_of_one_packet_stand_together(person: Person) -> None:
    follow(person, "Packets")
    packet = rows(person).filter(has_text=PAYLOAD)
    expect(packet).to_have_count(1)
    for callsign in ("M0ZDR", "2E0ABC", "DL1XYZ"):
        expect(packet).to_contain_text(callsign)
    packet.get_by_role("link").first.click()
    expect(rows(person)).to_have_count(3)


def test_pages_of_messages_go_on_where_the_last_ended(person: Person, gateway: Habitat) -> None:
    begin = int(time.time()) - 4000
    sent = [{**TELEM, "callsign": "M0PAGE", "time_created": begin + n} for n in range(120)]
    for one in sent:
        one["time_uploaded"] = int(time.time())
    assert gateway.scgi("POST", "/messages", json.dumps(sent)).status == 200
    gateway.wait_until_archived()
    follow(person, "Messages")
    person.page.get_by_label("Callsign").fill("M0PAGE")
    with person.page.expect_navigation():
        person.page.get_by_role("button", name="Show").click()
    seen: list[str] = []
    while True:
        links = rows(person).locator("td:first-child a")
        seen += [str(link.get_attribute("href")) for link in links.all()]
        # What comes in meanwhile doesn't move the pages.
        assert upload(gateway, TELEM, "M0PAGE", begin + 1000 + len(seen)).status == 200
        gateway.wait_until_archived()
        older = person.page.get_by_role("link", name="Older")
        if not older.count():
            break
        with person.page.expect_navigation():
            older.first.click()
    assert len(seen) == len(set(seen)) == 120


# -- downloads


@pytest.mark.parametrize("form", ["CSV", "NDJSON", "JSON"])
def test_what_is_shown_can_be_downloaded(person: Person, form: str, tmp_path: Path) -> None:
    follow(person, "Messages")
    person.page.get_by_label("Callsign").fill("M0ZDR")
    person.page.get_by_role("button", name="Show").click()
    expect(rows(person)).to_have_count(3)
    with person.page.expect_download() as waiting:
        person.page.get_by_role("link", name=form, exact=True).click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    assert file.suffix == f".{form.lower()}"
    text = file.read_text()
    if form == "CSV":
        found: list[dict[str, Any]] = list(csv.DictReader(text.splitlines()))
    elif form == "NDJSON":
        found = [json.loads(line) for line in text.splitlines()]
    else:
        found = json.loads(text)
    assert [one["callsign"] for one in found] == ["M0ZDR"] * 3
    expect(person.page.locator("#downloads")).to_contain_text("3 messages")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_part_of_it_can_be_downloaded_in_another_format(
    browser: Browser, front: Nginx, scheme: str
) -> None:
    person = Person(browser, front.url, viewport=TELEPHONE, color_scheme=scheme, bypass_csp=True)
    person.sign_in(USER, PASSWORD)
    person.page.goto("/console/messages?callsign=M0ZDR")
    person.page.get_by_text("More formats").click()
    assert person.offences() == []
    assert not person.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    person.page.get_by_label("Format").select_option("gpx")
    person.page.get_by_label("Box").fill("-10,50,10,60")
    with person.page.expect_download() as waiting:
        person.page.get_by_role("button", name="Download").click()
    assert waiting.value.suggested_filename.endswith(".gpx")
    assert "<name>M0ZDR</name>" in waiting.value.path().read_text()
    expect(person.page.locator("#downloads")).to_contain_text("is whole: 1 messages")
    assert person.complaints == []
    person.close()


# -- dead letters


@pytest.fixture
def guard(couch_server: CouchServer) -> Iterator[Callable[[], None]]:
    """CouchDB refuses one station's messages, until this is called."""
    path = f"/{DATABASE}/_design/guard"
    made = couch_server.request("PUT", path, {"validate_doc_update": GUARD})
    assert made.status == 201, made

    def lift() -> None:
        couch_server.request("DELETE", f"{path}?rev={made.json()['rev']}")

    yield lift
    lift()


def refused(person: Person, gateway: Habitat, packet: str) -> Locator:
    """The row of a dead letter that an upload of ``packet`` becomes."""
    # Each test has a packet of its own: the same one, at the same second, would be a repeat.
    message = {**TELEM, "data": {"string": base64.b64encode(packet.encode()).decode()}}
    assert upload(gateway, message, "G0BAD", int(time.time())).status == 200
    eventually(lambda: gateway.status()["dead_letters"] == 1, "there is a dead letter")
    follow(person, "Dead letters")
    letter = rows(person).filter(has_text="this station is not ours")
    expect(letter).to_contain_text("G0BAD")
    return letter


def test_a_dead_letter_is_mended_and_tried_again(
    person: Person, gateway: Habitat, guard: Callable[[], None]
) -> None:
    letter = refused(person, gateway, "$$mended")
    follow(person, "Overview")
    expect(person.page.locator("main")).to_contain_text("1 message was refused for good")
    person.page.go_back()
    guard()
    letter.get_by_role("checkbox").check()
    with person.page.expect_navigation():
        person.page.get_by_role("button", name="Retry selected").click()
    eventually(lambda: gateway.status()["dead_letters"] == 0, "it was archived")
    person.page.reload()
    expect(person.page.locator("main")).to_contain_text("There are no dead letters")
    follow(person, "Messages")
    expect(rows(person).filter(has_text="G0BAD")).to_have_count(1)


@pytest.mark.usefixtures("guard")
def test_a_dead_letter_is_dropped_after_a_question(person: Person, gateway: Habitat) -> None:
    refused(person, gateway, "$$dropped").get_by_role("checkbox").check()
    person.page.get_by_role("button", name="Drop selected").click()
    # By its whole name: "Drop" is a button of the page before, too, which may still be there.
    person.page.get_by_role("button", name="Drop for good").click()
    expect(person.page.locator("main")).to_contain_text("There are no dead letters")


# -- maintenance


def test_maintenance_is_begun_seen_and_ended(person: Person, front: Nginx) -> None:
    page = person.page
    page.on("dialog", lambda dialog: dialog.accept())
    now = int(time.time())
    assert upload(front, TELEM, "M0ZDR", now - 3).status == 200
    follow(person, "Settings")
    page.get_by_label("Message to stations").fill("back at noon")
    page.get_by_role("button", name="Begin maintenance").click()
    expect(page.get_by_role("status")).to_contain_text("uploads are refused")
    refused = upload(front, TELEM, "M0ZDR", now - 2)
    assert (refused.status, "back at noon" in refused.text) == (503, True)
    follow(person, "Overview")
    expect(page.locator("main")).to_contain_text("back at noon")
    follow(person, "Settings")
    page.get_by_role("button", name="End maintenance").click()
    expect(page.get_by_role("status")).to_contain_text("Maintenance is off")
    assert upload(front, TELEM, "M0ZDR", now - 2).status == 200


# -- for everybody


def everything(person: Person) -> list[str]:
    """The addresses of the pages in the navigation, and of one of each kind below them."""
    person.page.goto("/console/overview")
    found = [str(link.get_attribute("href")) for link in person.page.locator("nav.tabs a").all()]
    found.append("/console/parsing")
    for name in ("stations", "messages", "packets"):
        person.page.goto(f"/console/{name}")
        link = person.page.locator("tbody tr a").first
        found.append(str(link.get_attribute("href")))
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_telephone_and_is_accessible(
    browser: Browser, front: Nginx, scheme: str
) -> None:
    """By the rules of WCAG 2.1 A and AA that axe can look at, contrast among them."""
    # The rules are looked at by a script, which our policy would keep out.
    person = Person(browser, front.url, viewport=TELEPHONE, color_scheme=scheme, bypass_csp=True)
    person.page.goto("/console/login")
    assert person.offences() == []
    person.sign_in(USER, PASSWORD)
    for address in everything(person):
        person.page.goto(address)
        wide = person.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, f"{address} has to be scrolled sideways"
        assert person.offences() == [], address
    assert person.complaints == []
    person.close()


def test_everything_works_without_javascript(browser: Browser, front: Nginx) -> None:
    person = Person(browser, front.url, java_script_enabled=False)
    person.sign_in(USER, PASSWORD)
    follow(person, "Messages")
    person.page.get_by_label("Callsign").fill("2E0ABC")
    person.page.get_by_role("button", name="Show").click()
    expect(rows(person)).to_have_count(3)
    with person.page.expect_download() as waiting:
        person.page.get_by_role("link", name="NDJSON").click()
    assert len(waiting.value.path().read_text().splitlines()) == 3
    follow(person, "Settings")
    person.page.get_by_label("Level").select_option("warning")
    person.page.get_by_role("button", name="Set").first.click()
    expect(person.page.get_by_role("status")).to_contain_text("warning")
    person.page.get_by_label("Level").select_option("debug")
    person.page.get_by_role("button", name="Set").first.click()
    assert person.complaints == []
    person.close()


def test_the_keyboard_leads_past_the_navigation(person: Person) -> None:
    person.page.reload()
    person.page.keyboard.press("Tab")
    expect(person.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(person.page.locator("main")).to_be_focused()
