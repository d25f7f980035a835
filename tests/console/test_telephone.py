"""The console at the width of a telephone: where one is, and what need not be scrolled sideways."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from habitat_like.console.app import PAGES
from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.journal.file import open_file
from tests.support.browser import LAPTOP, TELEPHONE, Person, chromium, wait_for_image
from tests.support.console import PASSWORD, USER, with_console
from tests.support.gateway import ARCHIVE_SINK, Habitat
from tests.support.messages import INFO, TELEM, WHERE
from tests.support.nginx import Nginx
from tests.support.wait import eventually

#: As long as a callsign can be.
LONG = "A-STATION-WITH-A-NAME-AS-LONG-AS-THE-NAME-OF-ONE-IS-ALLOWED-TO-BE"[:64]
NAMES = [name for _, name in PAGES]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    """A gateway with stations, messages, a network and a dead letter."""
    made = with_console(networks={"weather": {}})
    try:
        made.start()
        now = int(time.time())
        for callsign in ("M0ZDR", LONG):
            for one in (TELEM, INFO, WHERE):
                times = {"time_created": now - 60, "time_uploaded": now}
                body = json.dumps({**one, "callsign": callsign, **times})
                assert made.scgi("POST", "/message", body).status == 200
        made.wait_until_archived()
        eventually(lambda: made.status()["statistics"]["behind"] == 0, "all is counted")
        with open_file(str(made.journal_path)) as connection:
            document = json.dumps(made.documents("M0ZDR")[0]).encode()
            DeadLetters(connection).add(ARCHIVE_SINK, [(1, document, "the archive refused it")])
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def telephone(browser: Browser, front: Nginx) -> Iterator[Person]:
    """Somebody with a telephone, signed in, who sees no error in the end."""
    made = Person(browser, front.url, viewport=TELEPHONE)
    try:
        made.sign_in(USER, PASSWORD)
        yield made
        assert made.complaints == []
    finally:
        made.close()


@pytest.mark.parametrize("name", NAMES)
def test_the_navigation_shows_where_one_is(telephone: Person, name: str) -> None:
    page = telephone.page
    page.goto("/console/overview")
    menu = page.get_by_role("navigation", name="Pages")
    expect(menu).to_have_count(1)
    menu.locator("summary").click()
    with page.expect_navigation():
        menu.get_by_role("link", name=name, exact=True).click()
    here = menu.locator("summary")
    expect(here).to_have_text(name)
    expect(here).to_be_in_viewport(ratio=1)
    expect(menu.get_by_role("link", name=name, exact=True)).to_be_hidden()


def test_on_a_laptop_all_pages_are_tabs(browser: Browser, front: Nginx) -> None:
    person = Person(browser, front.url, viewport=LAPTOP)
    person.sign_in(USER, PASSWORD)
    navigation = person.page.get_by_role("navigation", name="Pages")
    expect(navigation).to_have_count(1)
    assert navigation.get_by_role("link").all_inner_texts() == NAMES
    expect(navigation.locator("[aria-current=page]")).to_have_text("Overview")
    person.close()


def test_no_table_has_to_be_scrolled_sideways(telephone: Person) -> None:
    page = telephone.page
    page.goto("/console/overview")
    found = [str(link.get_attribute("href")) for link in page.locator("nav.menu a").all()]
    found.append("/console/parsing")
    for name in ("stations", "messages", "packets", "dead-letters"):
        page.goto(f"/console/{name}")
        found.append(str(page.locator("tbody tr a").first.get_attribute("href")))
    for address in found:
        page.goto(address)
        page.locator("main details").evaluate_all("all => all.forEach(one => one.open = true)")
        wide = page.evaluate(
            "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
            ".map(e => e.getAttribute('aria-label'))"
        )
        assert wide == [], address
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), address


def test_a_card_says_what_its_numbers_are(telephone: Person) -> None:
    page = telephone.page
    page.goto("/console/stations?search=M0ZDR")
    told = page.locator("tbody td[data-head]").evaluate_all(
        "all => all.map(e => getComputedStyle(e, '::before').content.replaceAll('\"', '').trim())"
    )
    assert told == ["Name", "Today", "Total", "Clock", "Receiver", "Location"]
    page.get_by_role("link", name="Total").click()
    expect(page.locator("th[aria-sort] a")).to_contain_text("Total")


def test_a_station_is_shown_with_what_it_said(telephone: Person) -> None:
    page = telephone.page
    page.goto("/console/station?callsign=M0ZDR")
    last = page.get_by_role("region", name="Last messages")
    expect(last).to_contain_text("$$habitat,123,")
    expect(last).not_to_contain_text(re.compile(r"[0-9]{10}-[0-9a-f]{24}"))
    last.get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Message")


@pytest.mark.parametrize("viewport", [TELEPHONE, LAPTOP], ids=["telephone", "laptop"])
def test_text_in_plots_is_large_enough_to_be_read(
    browser: Browser, front: Nginx, viewport: dict[str, int]
) -> None:
    """As large as it is shown, at the width that the page gives the plot."""
    person = Person(browser, front.url, viewport=viewport)
    person.sign_in(USER, PASSWORD)
    person.page.goto("/console/station?callsign=M0ZDR")
    image = person.page.locator(".plot img").first
    wait_for_image(image)
    # The page may renew itself at any time, and has a new image then.
    source, scale = eventually(
        lambda: image.evaluate(
            "image => image.complete && image.naturalWidth > 0"
            " && [image.currentSrc, image.clientWidth / image.naturalWidth]"
        )
    )
    person.page.goto(source)
    sizes = person.page.locator("text:not(:empty)").evaluate_all(
        "texts => texts.map(text => parseFloat(getComputedStyle(text).fontSize))"
    )
    assert len(sizes) > 8
    assert min(sizes) * scale >= 12
    person.close()
