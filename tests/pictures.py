"""Takes the pictures of the console in docs/pictures: ``python -m tests.pictures [NAME ...]``.

A gateway is given a day of made-up messages by way of a journal whose clock is set back, and then
a few minutes of uploads, so that each plot has something to show. Those of the map and of a flight
are taken of `make demo`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from habitat_like.journal.journal import Journal
from habitat_like.message.types import Registry
from tests.demo.running import Demo
from tests.support.browser import LAPTOP, TELEPHONE, Person, chromium
from tests.support.checkout import checkout
from tests.support.console import PASSWORD, USER, make_users
from tests.support.gateway import Habitat
from tests.support.net import ROOT
from tests.support.nginx import Nginx
from tests.support.wait import eventually
from tools.demo.scene import BIRDS

PICTURES = ROOT / "docs" / "pictures"
DAY = 86400
#: Seconds of uploads before the pictures are taken.
RUNNING = 200.0

Shot = tuple[str, str, bool, bool]
#: Path below /console, name of the picture, and whether it is taken on a telephone, or in the dark.
SHOTS = (
    ("overview", "overview", False, False),
    ("overview", "overview-telephone", True, False),
    ("stations", "stations", False, True),
    ("station?callsign=G4KDH", "station", False, False),
    ("messages", "messages", False, False),
    ("packets", "packets", False, True),
    ("statistics?range=day", "statistics", False, False),
    ("settings", "settings", True, True),
)

#: Those of the demonstration. {flight} is yesterday's of its first payload.
FLIGHTS = (
    ("map?since=6h", "map", False, False),
    ("map?since=6h", "map-telephone", True, True),
    ("{flight}", "flight", False, True),
)
#: Seconds of the demonstration before they are taken: its balloon bursts after 90.
DESCENT = 600.0

PLACES = (
    ("Cambridge", 52.2, 0.1),
    ("Delft", 52.0, 4.4),
    ("Brno", 49.2, 16.6),
    ("Lyon", 45.8, 4.8),
    ("Bergen", 60.4, 5.3),
)
RADIOS = ("RTL-SDR", "FT-817", "Airspy Mini", "IC-7300")
NAMES = ("Anna", "Ben", "Chiara", "Daniel", "Eva", "Filip", "Greta", "Hugo", "Ines", "Jan")
ANTENNAS = ("Yagi, 7 elements", "collinear", "turnstile", "dipole")


class Stations:
    """Made-up stations, and the flights that they hear."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
        self.calls = ["G4KDH"] + [
            self._random.choice(["M0", "2E0", "DL1", "F5", "PA3", "OK2", "LA4"])
            + "".join(self._random.choices(letters, k=3))
            for _ in range(38)
        ]

    def day(self, end: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """A day's messages until ``end`` with the times at which they came in."""
        for moment in range(end - DAY, end, 60):
            hour = moment % DAY / 3600
            flying = 1 + 2 * max(0.0, math.sin((hour - 6) / 24 * 2 * math.pi))
            if moment % 900 == 0:
                for call in self.calls:
                    yield moment, self.about(call, moment)
            for message in self.packet(moment, round(flying * 4)):
                yield moment, message

    def about(self, call: str, moment: int) -> dict[str, Any]:
        """What a station tells of itself, or where it is."""
        place, latitude, longitude = PLACES[sum(call.encode()) % len(PLACES)]
        late = 17 * (call.startswith("F5") and call < "F5K")
        if moment % 1800:
            data: dict[str, Any] = {
                "name": NAMES[sum(call.encode()) % len(NAMES)],
                "location": place,
                "radio": RADIOS[len(call) * 3 % 4],
                "antenna": ANTENNAS[sum(call.encode()) % 4],
            }
            return self._message(call, "LISTENER_INFO", data, moment, late)
        minute = {"hour": moment % DAY // 3600, "minute": moment % 3600 // 60, "second": 0}
        data = {"latitude": latitude, "longitude": longitude, "altitude": 90, "time": minute}
        return self._message(call, "LISTENER_TELEM", data, moment, late)

    def packet(self, moment: int, hearing: int) -> Iterator[dict[str, Any]]:
        """One packet as several stations hear it."""
        flight = moment // 60
        clock = time.strftime("%H:%M:%S", time.gmtime(moment))
        line = f"$$HAB1,{flight % 1440},{clock},{51 + flight % 700 / 900:.4f},0.1284,{flight % 31}"
        string = base64.b64encode(f"{line}*5F1C\n".encode()).decode()
        for call in self._random.sample(self.calls[:-2], min(hearing, 30)):
            data = {
                "string": string,
                "frequency": 434075000 + self._random.randrange(400),
                "snr": round(self._random.uniform(-2, 17), 1),
            }
            yield self._message(call, "RECEIVED_TELEM", data, moment, 0)

    @staticmethod
    def _message(
        call: str, kind: str, data: dict[str, Any], moment: int, ahead: int
    ) -> dict[str, Any]:
        times = {"time_created": moment + ahead, "time_uploaded": moment + ahead}
        return {"callsign": call, "type": kind, **times, "data": data}


def fill(gateway: Habitat, stations: Stations) -> None:
    """Write a day of messages into the journal of a gateway that does not run."""
    now = 0
    journal = Journal(gateway.journal_path, clock=lambda: now)
    with contextlib.closing(journal):
        registry = Registry()
        for moment, message in stations.day(int(time.time()) // 60 * 60):
            if moment != now:
                now = moment
            parsed = registry.parse(json.dumps(message).encode(), "192.0.2.7", moment)
            journal.write([parsed.document(b'"north"')])


def run(gateway: Habitat, stations: Stations) -> None:
    """Upload for a few minutes."""
    begin = time.time()

    def goes_on() -> bool:
        moment = int(time.time())
        for message in stations.packet(moment, 2):
            assert gateway.scgi("POST", "/message", json.dumps(message)).status == 200
        return time.time() > begin + RUNNING

    eventually(goes_on, "a few minutes of uploads", timeout=2 * RUNNING, pause=12)


def shoot(browser: Browser, url: str, user: tuple[str, str], shot: Shot) -> None:
    """Take a picture."""
    path, name, telephone, dark = shot
    settings: dict[str, Any] = {"viewport": TELEPHONE if telephone else LAPTOP}
    settings["color_scheme"] = "dark" if dark else "light"
    person = Person(browser, url, **settings)
    person.sign_in(*user)
    person.page.goto(f"/console/{path}")
    person.page.wait_for_load_state("networkidle")
    # What the map still read from the archive.
    person.page.reload()
    person.page.wait_for_load_state("networkidle")
    person.page.screenshot(path=PICTURES / f"{name}.png")
    assert person.complaints == []
    person.close()


def take_of_stations(browser: Browser, shots: list[Shot]) -> None:
    """Take pictures of a gateway with made-up stations."""
    stations = Stations()
    with contextlib.ExitStack() as stack:
        gateway = Habitat({"gateway": {"machine_code": "north"}})
        stack.callback(gateway.close)
        gateway.config["console"] = {"password_file": make_users(gateway.directory / "users")}
        fill(gateway, stations)
        gateway.start()
        front = Nginx(gateway)
        stack.callback(front.close)
        front.start()
        run(gateway, stations)
        for shot in shots:
            shoot(browser, front.url, (USER, PASSWORD), shot)


def take_of_flights(browser: Browser, shots: list[Shot]) -> None:
    """Take pictures of the demonstration, once its balloon comes down."""
    with tempfile.TemporaryDirectory() as place:
        demo = Demo(checkout(Path(place) / "checkout"))
        try:
            host, port = demo.address()
            begin = time.monotonic()
            eventually(lambda: time.monotonic() > begin + DESCENT, timeout=2 * DESCENT, pause=5)
            path = f"payloads/{BIRDS[0]}.json"
            eventually(lambda: demo.page(path)["reading"] is None, "the archive is read")
            flight = demo.page(path)["flights"][-1]["page"].removeprefix("/console/")
            for shot in shots:
                user = ("operator", demo.password)
                here = (shot[0].format(flight=flight), *shot[1:])
                shoot(browser, f"http://{host}:{port}", user, here)
        finally:
            demo.stop()


def main(names: list[str]) -> None:
    """Take all pictures, or those of these ``names``."""
    PICTURES.mkdir(exist_ok=True)
    with chromium() as browser:
        for take, shots in ((take_of_stations, SHOTS), (take_of_flights, FLIGHTS)):
            if wanted := [shot for shot in shots if not names or shot[1] in names]:
                take(browser, wanted)


if __name__ == "__main__":
    main(sys.argv[1:])
