"""What the tests in a browser share: the module's gateway behind nginx, and somebody signed in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Person
from tests.support.console import PASSWORD, USER
from tests.support.gateway import Habitat
from tests.support.nginx import Nginx


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
