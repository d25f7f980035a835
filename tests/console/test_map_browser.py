"""The map and the pages of flights as their users see them: Chromium, nginx, real uploads."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from habitat_like.archive import open_archive
from habitat_like.config.keys import ArchiveConfig
from tests.support.archive import encode
from tests.support.browser import TELEPHONE, Person, chromium, wait_for_image
from tests.support.console import PASSWORD, USER, with_console
from tests.support.flights import END, Archived, sentence
from tests.support.gateway import Habitat
from tests.support.nginx import Nginx
from tests.support.wait import eventually

SINKS = ["habitat_like.archive.ArchiveSink", "habitat_like.telemetry.ParserSink"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@contextlib.contextmanager
def flown(**console: str) -> Iterator[Habitat]:
    """A gateway that parses packets, with flights of today in its archive."""
    gateway = with_console(sinks=SINKS)
    gateway.config["console"] |= console
    now = int(time.time())
    made = Archived()
    made.add_stations(now - 3600)
    made.add_flight("habitat", now - END + 2000, until=END - 2000)
    made.add_sonde("S1234567", now - 5000, (51.5, 3.0), until=4900)
    config = ArchiveConfig(uri=gateway.config["archive"]["uri"])
    try:
        with contextlib.closing(open_archive(config)) as archive:
            archive.prepare()
            assert archive.store(encode(made.documents)) == []
        yield gateway.start()
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    with flown() as made:
        yield made


def upload(front: Nginx, name: str, number: int, latitude: float, altitude: int) -> None:
    """Send a sentence as a receiver does."""
    now = int(time.time())
    clock = time.strftime("%H:%M:%S", time.gmtime(now))
    string = sentence(f"{name},{number},{clock},{latitude:.5f},0.50000,{altitude}")
    message = {
        "callsign": "M0ZDR",
        "type": "RECEIVED_TELEM",
        "time_created": now,
        "time_uploaded": now,
        "data": {"string": string},
    }
    assert front.request("POST", "/message", json.dumps(message)).status == 200


def test_a_flight_is_followed_live(person: Person, front: Nginx) -> None:
    """From uploads to the map and its table, without a reload."""
    page = person.page
    page.goto("/console/map")
    expect(page.get_by_role("button", name="habitat")).to_be_visible()
    page.evaluate("window.same = true")
    upload(front, "LIVE-1", 1, 52.0, 1000)
    mark = page.get_by_role("button", name="LIVE-1")
    expect(mark).to_be_visible()
    row = page.locator("#map-data tbody tr").filter(has_text="LIVE-1")
    expect(row).to_contain_text("1\u202f000 m")
    expect(row).to_contain_text("M0ZDR")
    before = mark.bounding_box()
    upload(front, "LIVE-1", 2, 52.8, 1500)
    expect(row).to_contain_text("1\u202f500 m")
    eventually(lambda: mark.bounding_box() != before, "the mark has moved")
    assert page.evaluate("window.same") is True


def test_by_keyboard_a_payload_tells_where_it_is(person: Person) -> None:
    page = person.page
    page.goto("/console/map?payload=habitat")
    mark = page.get_by_role("button", name="habitat")
    expect(mark).to_be_visible()
    mark.focus()
    page.keyboard.press("Enter")
    popup = page.locator(".leaflet-popup")
    expect(popup).to_contain_text("Altitude")
    expect(popup).to_contain_text("Heard")
    popup.get_by_role("link", name="habitat").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("habitat")


def test_the_map_moves_by_keyboard_and_its_address_tells_where(person: Person) -> None:
    page = person.page
    page.goto("/console/map")
    expect(page.get_by_role("button", name="habitat")).to_be_visible()
    page.get_by_role("button", name="Zoom in").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash.length > 1")
    there = page.evaluate("location.hash")
    page.reload()
    expect(page.get_by_role("button", name="habitat")).to_be_attached()
    assert page.evaluate("location.hash") == there


def test_the_world_and_the_tracks_are_drawn(person: Person) -> None:
    """Not a blank: land, sea and the colours of altitudes are among the pixels."""
    page = person.page
    page.goto("/console/map?payload=habitat")
    expect(page.get_by_role("button", name="habitat")).to_be_visible()
    page.wait_for_function("() => document.querySelectorAll('.leaflet-tile-loaded').length > 3")
    script = """() => {
          const found = new Set();
          for (const canvas of document.querySelectorAll('.map canvas')) {
            const { width, height } = canvas;
            const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
            for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255)
              found.add([data[at], data[at + 1], data[at + 2]].join());
          }
          return [...found];
        }"""
    wanted = {
        "246,244,238",  # land
        *("54,92,141", "31,161,135"),  # 5 to 10 km, 15 to 20
    }
    # A tile that is there, and a track, are drawn with the next frame.
    eventually(lambda: wanted <= set(page.evaluate(script)), "all is drawn")


def test_from_the_list_to_a_flight_and_its_plots(person: Person) -> None:
    page = person.page
    page.goto("/console/payloads")
    page.get_by_role("link", name="S1234567").click()
    page.locator("main tbody tr").first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Flight of S1234567")
    expect(page.get_by_role("button", name="S1234567")).to_be_visible()
    expect(page.locator("#map-data")).to_contain_text("PA3XYZ")
    images = page.locator(".plot img")
    expect(images.first).to_be_visible()
    for image in images.all():
        wait_for_image(image)
    page.get_by_label("Station").select_option("PA3XYZ")
    expect(page).to_have_url(re.compile("[?&]station=PA3XYZ"))


PAGES = ("/console/map", "/console/payloads", "/console/payloads/HABITAT")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["telephone", "laptop"])
def test_every_page_is_accessible(browser: Browser, front: Nginx, scheme: str, size: str) -> None:
    more = {"viewport": TELEPHONE} if size == "telephone" else {}
    person = Person(browser, front.url, color_scheme=scheme, bypass_csp=True, **more)
    person.sign_in(USER, PASSWORD)
    person.page.goto(PAGES[-1])
    flight = person.page.locator("main tbody tr").first.get_by_role("link").first
    for address in (*PAGES, str(flight.get_attribute("href"))):
        person.page.goto(address)
        if address != "/console/payloads":
            expect(person.page.get_by_role("button", name="habitat")).to_be_attached()
            expect(person.page.locator("#map-data")).not_to_contain_text("Still reading")
        wide = person.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, f"{address} has to be scrolled sideways"
        assert person.offences() == [], address
    assert person.complaints == []
    person.close()


def test_without_javascript_the_table_says_it_all(browser: Browser, front: Nginx) -> None:
    person = Person(browser, front.url, java_script_enabled=False)
    person.sign_in(USER, PASSWORD)
    person.page.goto("/console/map?payload=S1234567")
    expect(person.page.locator("main")).to_contain_text("The map itself needs JavaScript")
    expect(person.page.locator("#map-data tbody tr")).to_contain_text("S1234567")
    person.page.get_by_role("textbox", name="Payload").fill("habitat")
    person.page.get_by_role("button", name="Show").click()
    expect(person.page.locator("#map-data tbody tr")).to_contain_text("habitat")
    assert person.complaints == []
    person.close()


def png() -> bytes:
    """An image of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    header = bytes([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0])
    pixel = zlib.compress(b"\0\xff\0\0")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    )


@contextlib.contextmanager
def tile_server() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server of tiles on another port, and the paths and referrers that it was asked with."""
    asked: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Referer")))
            body = png()
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_tiles_are_let_in_where_they_are_configured_and_nowhere_else(browser: Browser) -> None:
    with tile_server() as (origin, asked), contextlib.ExitStack() as stack:
        template = f"{origin}/{{z}}/{{x}}/{{y}}.png"
        gateway = stack.enter_context(flown(tiles=template, tiles_attribution="© the tile maker"))
        front = Nginx(gateway)
        stack.callback(front.close)
        front.start()
        person = Person(browser, front.url)
        stack.callback(person.close)
        person.sign_in(USER, PASSWORD)
        person.page.goto("/console/map")
        expect(person.page.locator(".leaflet-control-attribution")).to_contain_text(
            "© the tile maker"
        )
        person.page.wait_for_function(
            "() => [...document.querySelectorAll('img.leaflet-tile')]"
            ".some(image => image.naturalWidth === 1)"
        )
        assert all(path.endswith(".png") for path, _ in asked)
        # The tile server learns the console's host, as such servers ask for, and no more.
        assert {referrer for _, referrer in asked} == {f"{front.url}/"}
        allowed = f"asked another host: {origin}/"
        assert [one for one in person.complaints if not one.startswith(allowed)] == []
        policies = {
            path: str(person.page.request.get(path).headers["content-security-policy"])
            for path in ("/console/map", "/console/overview")
        }
        assert f"img-src 'self' {origin};" in policies["/console/map"]
        assert origin not in policies["/console/overview"]
