"""People at the console: signed in, through nginx, over a connection that stays open."""

from __future__ import annotations

import contextlib
import html
import http.client
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from benchmarks import traffic
from benchmarks.place import BenchError
from habitat_like.console import users
from habitat_like.statistics.tables import DAY

USER, PASSWORD = "bench", "as good as any"
#: Seconds that somebody waits for an answer.
PATIENCE = 60.0
#: Seconds between one click of a person and the next, on average.
THINK = 1.0

_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
_PICTURE = re.compile(r'<img src="([^"]+)"')
_FRESH = re.compile(r"max-age=([0-9]+)")


def make_users(directory: Path) -> str:
    """A password file with the one user; returns its path."""
    path = directory / "users"
    users.write(path, USER, PASSWORD)
    return str(path)


class Visitor:
    """One person with a browser: signed in, and with a cache of pictures. For one thread."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._cookie = ""
        # Until when a browser would not ask again, monotonic, by address.
        self._cached: dict[str, float] = {}

    def __enter__(self) -> Visitor:
        """Sign in. Raises BenchError."""
        login = "/console/login"
        found = _TOKEN.search(self.page(login).decode())
        if found is None:
            raise BenchError(f"{login} has no form to sign in")
        form = {"name": USER, "password": PASSWORD, "csrf_token": found[1]}
        self._ask("POST", login, urlencode(form).encode(), 303)
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection; the next page makes another one."""
        self._connection.close()

    def page(self, path: str) -> bytes:
        """The page's body. Raises BenchError for another status than 200."""
        return self._ask("GET", path, None, 200)

    def json(self, path: str) -> Any:
        """The data of a page whose address ends in .json."""
        return json.loads(self.page(path))

    def pictures(self, page: bytes) -> list[str]:
        """The addresses of the pictures on a page."""
        return [html.unescape(one) for one in _PICTURE.findall(page.decode())]

    def click(self, path: str) -> None:
        """Look at a page with its pictures, but those that a browser still has."""
        page = self.page(path)
        now = time.monotonic()
        for picture in self.pictures(page):
            if self._cached.get(picture, 0) <= now:
                self.page(picture)

    def status(self, path: str) -> int:
        """What a page is answered with, whatever it is."""
        self._request("GET", path, None)
        reply = self._connection.getresponse()
        reply.read()
        return reply.status

    def download(self, path: str) -> Iterator[bytes]:
        """The pieces of a long answer, as they come. Raises BenchError."""
        self._request("GET", path, None)
        reply = self._connection.getresponse()
        if reply.status != 200:
            raise BenchError(f"GET {path} answered {reply.status}")
        while piece := reply.read1(1 << 16):
            yield piece

    def _ask(self, method: str, path: str, body: bytes | None, wanted: int) -> bytes:
        self._request(method, path, body)
        reply = self._connection.getresponse()
        text = reply.read()
        if reply.status != wanted:
            raise BenchError(f"{method} {path} answered {reply.status}: {text[-300:]!r}")
        if cookie := reply.headers.get("Set-Cookie"):
            self._cookie = cookie.partition(";")[0]
        if fresh := _FRESH.search(reply.headers.get("Cache-Control", "")):
            self._cached[path] = time.monotonic() + int(fresh[1])
        return text

    def _request(self, method: str, path: str, body: bytes | None) -> None:
        headers = {"Accept": "text/html,*/*", "Cookie": self._cookie}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)


def tour(visitor: Visitor) -> dict[str, str]:
    """The address of every page, by a name; with what there is to see in this archive."""
    listed = visitor.json("/console/messages.json")["messages"]
    # Far from both ends of what is archived, and apart from what was uploaded just now.
    end, middle_at = traffic.END, traffic.END - traffic.SPAN // 2
    middle = visitor.json(f"/console/messages.json?until={middle_at}")["messages"]
    packet = visitor.json(f"/console/packets.json?until={end}")
    letter = visitor.json("/console/dead-letters.json")
    stations = visitor.json("/console/stations.json?show=all&sort=callsign")
    station = stations["stations"][2]["callsign"]
    message = middle[0]
    place = quote(f"{message['time_created']},{message['_id']}")
    since, until = middle_at - 5 * DAY, middle_at + 5 * DAY
    pages = {
        "overview": "overview",
        "stations": "stations",
        "stations, by callsign": "stations?sort=callsign",
        "stations, by today": "stations?sort=messages_today",
        "stations, searched": "stations?search=77",
        "stations, silent": "stations?show=silent&sort=clock_offset",
        "stations, page 2": stations["next"].removeprefix("/console/"),
        "station": f"station?callsign={station}",
        "messages": "messages",
        "messages, of a station": f"messages?callsign={station}",
        "messages, of a type": "messages?type=LISTENER_INFO",
        "messages, of both": f"messages?callsign={station}&type=LISTENER_INFO",
        "messages, between": f"messages?since={since}&until={until}",
        "messages, oldest first": "messages?order=asc",
        "messages, far down": f"messages?after={place}",
        "messages, back": f"messages?before={place}",
        "message": f"messages/{quote(message['_id'])}",
        "newest message": f"messages/{quote(listed[0]['_id'])}",
        "packets": "packets",
        "packets, before": f"packets?until={end}",
        "packets, far down": f"packets?after={quote(packet['next'])}",
        "packet": f"packets/{quote(packet['packets'][0]['id'])}",
        "dead letters": "dead-letters",
        "dead letters, page 2": f"dead-letters?below={letter['older']}",
        "dead letter": f"dead-letters/{letter['dead_letters'][0]['id']}",
        **{f"statistics, {name}": f"statistics?range={name}" for name in _RANGES},
        "settings": "settings",
    }
    return {name: f"/console/{path}" for name, path in pages.items()}


_RANGES = ("day", "week", "month", "year")


def tables() -> dict[str, str]:
    """The addresses of the tables of the statistics, by a name; of the whole year."""
    names = ("messages", "types", "stations", "requests", "latency", "backlog", "disk")
    return {f"{name}.csv": f"/console/statistics/{name}.csv?range=year" for name in names}


class Crowd:
    """So many people who click through the pages in no order. Made and used by one thread."""

    def __init__(self, port: int, count: int, pages: list[str]) -> None:
        """Sign them all in, and let each see its first page. Raises BenchError."""
        self._pages = pages
        self._stack = contextlib.ExitStack()
        self._visitors = [self._stack.enter_context(Visitor(port)) for _ in range(count)]
        self._dice = random.Random(7)

    def close(self) -> None:
        """Let them go."""
        self._stack.close()

    @contextlib.contextmanager
    def clicking(self) -> Iterator[list[float]]:
        """They click while the body runs; the list gets the seconds that each page took."""
        ending = threading.Event()
        took: list[float] = []
        failed: list[Exception] = []
        seeds = [self._dice.random() for _ in self._visitors]

        def click(visitor: Visitor, seed: float) -> None:
            dice = random.Random(seed)
            try:
                visitor.hang_up()  # nginx may have done so meanwhile
                while not ending.wait(dice.uniform(0.5, 1.5) * THINK):
                    begin = time.perf_counter()
                    visitor.click(dice.choice(self._pages))
                    took.append(time.perf_counter() - begin)
            except (BenchError, OSError, http.client.HTTPException) as error:
                failed.append(error)

        threads = [
            threading.Thread(target=click, args=pair)
            for pair in zip(self._visitors, seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            yield took
        finally:
            ending.set()
            for thread in threads:
                thread.join()
        if failed:
            raise BenchError(f"somebody at the console: {failed[0]}")


@contextlib.contextmanager
def beside(work: Callable[[threading.Event], None], count: int = 1) -> Iterator[None]:
    """Do ``work`` on ``count`` threads while the body runs; it ends soon after its event is set."""
    ending = threading.Event()
    failed: list[Exception] = []

    def run() -> None:
        try:
            work(ending)
        except (BenchError, OSError, http.client.HTTPException) as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    if failed:
        raise BenchError(f"beside the load: {failed[0]}")
