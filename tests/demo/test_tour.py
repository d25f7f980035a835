"""From `make demo` on, in a browser: the map, a flight, its page, its downloads, and a viewer."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Download, expect

from tests.demo.running import Demo
from tests.support.browser import LAPTOP, TELEPHONE, Person, chromium
from tests.support.wait import PATIENCE, eventually
from tools.demo.scene import BIRDS

BIRD = BIRDS[0]
VIEWER, PASSWORD = "victor", "only looking"
PAGES = (
    *("overview", "map", "payloads", f"payloads/{BIRD}", "stations", "messages"),
    *("packets", "networks", "dead-letters", "statistics", "settings"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def url(demo: Demo) -> str:
    """Where the demonstration is, once its past is uploaded."""

    def whole() -> bool:
        flights = demo.page(f"payloads/{BIRD}.json")
        return flights["reading"] is None and len(flights["flights"]) == 2

    eventually(whole, "two flights", timeout=3 * PATIENCE)
    host, port = demo.address()
    return f"http://{host}:{port}"


Visit = Callable[..., Person]


@pytest.fixture
def visit(browser: Browser, demo: Demo, url: str) -> Iterator[Visit]:
    """Signs somebody in, who meets no error and no other host."""
    made: list[Person] = []

    def come(name: str = "operator", **settings: Any) -> Person:
        person = Person(browser, url, **settings)
        made.append(person)
        person.sign_in(name, demo.password if name == "operator" else PASSWORD)
        return person

    yield come
    for one in made:
        assert one.complaints == []
        one.close()


def test_a_flight_is_followed_live_on_the_map(visit: Visit) -> None:
    page = visit().page
    page.goto("/console/map")
    page.evaluate("window.same = true")
    expect(page.get_by_role("button", name=BIRD)).to_be_visible()
    expect(page.get_by_role("button", name="HERON")).to_be_visible()
    row = page.locator("#map-data tbody tr").filter(has_text=BIRD)
    expect(row).to_contain_text("m/s")
    seen: set[str] = set()

    def moves() -> bool:
        seen.add(re.sub(r"\d+s ago", "", row.inner_text()))
        return len(seen) >= 8

    eventually(moves, "eight positions, one after the other", timeout=3 * PATIENCE, pause=0.5)
    assert page.evaluate("window.same") is True


def test_from_the_map_to_the_flight_and_its_receivers(visit: Visit) -> None:
    person = visit()
    page = person.page
    page.goto("/console/map")
    page.locator("#map-data tbody").get_by_role("link", name=BIRD, exact=True).click()
    page.get_by_role("heading", name=BIRD, level=1).wait_for()
    expect(page.locator("tbody")).to_contain_text("landed")
    expect(page.locator("tbody")).to_contain_text("goes on")
    page.locator("tbody tr").filter(has_text="landed").get_by_role("link").click()
    page.get_by_role("heading", name=f"Flight of {BIRD}", level=1).wait_for()
    figures = page.locator("#map-data dl")
    for word in ("Launch", "Burst", "Landing"):
        expect(figures).to_contain_text(word)
    expect(figures).not_to_contain_text("not heard")
    expect(page.locator("#map-data")).to_contain_text("M0ZDR")
    expect(page.get_by_role("heading", name="Values")).to_be_visible()
    assert person.offences() == []


def is_whole(download: Download, tmp_path: Path) -> str:
    """Check that a file is what its name says, with the flight in it; how its name ends."""
    path = tmp_path / download.suggested_filename
    download.save_as(path)
    content = path.read_bytes()
    kind = path.suffix
    if kind in (".kml", ".gpx"):
        root = ET.fromstring(content)
        assert root.tag.endswith(f"}}{kind[1:]}")
    elif kind == ".geojson" or kind == ".json":
        assert json.loads(content)
    elif kind == ".ndjson":
        assert all(json.loads(line) for line in content.splitlines())
    elif kind == ".parquet":
        assert content[:4] == content[-4:] == b"PAR1"
        return kind
    assert BIRD.encode() in content
    return kind


def test_all_downloads_of_a_flight_are_whole(visit: Visit, demo: Demo, tmp_path: Path) -> None:
    page = visit().page
    flight = demo.page(f"payloads/{BIRD}.json")["flights"][-1]["page"]
    page.goto(flight)
    links = page.locator("a[data-download]")
    kinds = set()
    for number in range(links.count()):
        # Two at a time may run; each is waited for.
        with page.expect_download() as waiting:
            links.nth(number).click()
        kinds.add(is_whole(waiting.value, tmp_path))
        expect(page.locator("#downloads")).to_contain_text("is whole")
    assert kinds >= {".csv", ".ndjson", ".geojson", ".kml", ".gpx"}


def test_a_viewer_sees_the_flight_and_changes_nothing(visit: Visit, demo: Demo) -> None:
    demo.habitat("console", "passwd", "--role", "viewer", VIEWER, given=PASSWORD)
    person = visit(VIEWER)
    page = person.page
    page.goto("/console/map")
    expect(page.get_by_role("button", name=BIRD)).to_be_visible()
    expect(page.get_by_role("link", name="Stations")).to_be_visible()
    expect(page.get_by_role("link", name="Settings")).to_have_count(0)
    page.goto("/console/dead-letters")
    expect(page.get_by_text("in MHz, not in Hz?").first).to_be_visible()
    expect(page.get_by_role("button", name="Drop")).to_have_count(0)
    assert page.request.get("/console/settings").status == 403
    found = page.request.get("/console/messages.json").json()["messages"]
    assert {one["ip"] for one in found} == {None}


# Colours do not depend on the size.
@pytest.mark.parametrize(
    ("size", "theme"), [(LAPTOP, "light"), (TELEPHONE, "dark")], ids=["laptop", "telephone"]
)
def test_every_page_is_accessible_and_fits(visit: Visit, size: dict[str, int], theme: str) -> None:
    person = visit(viewport=size, color_scheme=theme)
    for name in PAGES:
        person.page.goto(f"/console/{name}")
        person.page.wait_for_load_state("networkidle")
        assert person.offences() == [], name
        width = person.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], name
