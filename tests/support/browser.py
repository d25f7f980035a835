"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.support.net import program
from tests.support.wait import PATIENCE, eventually

#: As root there is no sandbox; the rest keeps it from calling its maker.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# In milliseconds, what a page may take to show what a test waits for.
expect.set_options(timeout=PATIENCE * 1000)

LAPTOP = {"width": 1280, "height": 800}
TELEPHONE = {"width": 390, "height": 844}


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium"), args=list(_ARGUMENTS)
        )
        try:
            yield browser
        finally:
            browser.close()


def wait_for_image(image: Locator) -> None:
    """Wait until an image is shown, be it another one: a page that renews itself has new ones."""

    def is_shown() -> Any:
        image.scroll_into_view_if_needed()
        return image.evaluate("image => image.complete && image.naturalWidth > 0")

    eventually(is_shown, "the image is shown")


class Person:
    """Somebody before a browser, who notes what a person would not see.

    ``complaints`` are what the browser wrote to its console, scripts that failed, answers that are
    errors, and requests to other hosts than ``url``'s.
    """

    def __init__(self, browser: Browser, url: str, **settings: Any) -> None:
        self.url = url
        self.complaints: list[str] = []
        self._context: BrowserContext = browser.new_context(
            base_url=url, accept_downloads=True, **{"viewport": LAPTOP, **settings}
        )
        self._context.set_default_timeout(PATIENCE * 1000)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._on_request)

    def close(self) -> None:
        """Leave."""
        self._context.close()

    def sign_in(self, name: str, password: str) -> None:
        """Begin, and wait for the overview."""
        self.page.goto("/console/")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Overview", level=1).wait_for()

    def offences(self) -> list[str]:
        """What of the page breaks a rule of WCAG 2.1 A or AA, as far as axe can tell."""
        rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa"]}}
        found = Axe().run(self.page, options=rules).response["violations"]
        return [
            f"{rule['id']}: {node['html']}: {node['failureSummary']}"
            for rule in found
            for node in rule["nodes"]
        ]

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"asked another host: {request.url}")
