"""The console as its users see it: Chromium, nginx, the gateway, real uploads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import TELEPHONE, Person, chromium
from tests.support.console import PASSWORD, USER, make_users
from tests.support.gateway import Habitat
from tests.support.nginx import Nginx


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    made = Habitat()
    made.config["console"] = {"password_file": make_users(made.directory / "users")}
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(scope="module")
def front(gateway: Habitat) -> Iterator[Nginx]:
    made = Nginx(gateway)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def person(browser: Browser, front: Nginx) -> Iterator[Person]:
    """Somebody who is signed in, and sees no error in the end."""
    made = Person(browser, front.url)
    try:
        made.sign_in(USER, PASSWORD)
        yield made
        assert made.complaints == []
    finally:
        made.close()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_telephone(browser: Browser, front: Nginx, scheme: str) -> None:
    person = Person(browser, front.url, viewport=TELEPHONE, color_scheme=scheme)
    person.sign_in(USER, PASSWORD)
    for link in person.page.locator("nav a").all():
        address = link.get_attribute("href")
        assert address
        person.page.goto(address)
        wide = person.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, f"{address} has to be scrolled sideways"
    assert person.complaints == []
    person.close()
