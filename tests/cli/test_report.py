"""``habitat report``: what happened on a day."""

from __future__ import annotations

import datetime
import html.parser
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from habitat_like.statistics.status import NetworkStatus
from tests.support.cli import Run, fails
from tests.support.messages import INFO
from tests.support.statistics import Site
from tests.support.wait import away_from_midnight

DAY = 86400
EVIL = "<script>alert('\u2028 & more')</script>"


@pytest.fixture
def site(config_file: str) -> Iterator[Site]:
    """The statistics of the configuration that ``run`` uses."""
    made = Site(Path(config_file).parent / "var" / "journal.sqlite")
    yield made
    made.close()


@pytest.fixture
def yesterday() -> int:
    """When the day before this one began, which goes on for a while."""
    away_from_midnight()
    return int(time.time()) // DAY * DAY - DAY


@pytest.fixture
def busy(site: Site, yesterday: int) -> Site:
    """Two days: on the first A and GONE are heard, on the second, yesterday, A and NEW."""
    site.clock.now = yesterday - 5000
    for callsign in ("A", "GONE"):
        site.upload({**INFO, "callsign": callsign, "data": {"name": EVIL}})
    site.count()
    site.clock.now = yesterday + 14 * 3600
    site.write("A")
    site.write("NEW")
    site.write("NEW")
    site.metrics.requests["message", 200] += 3
    site.metrics.requests["message", 400] += 2
    site.metrics.requests["message", 503] += 1
    site.metrics.latency.observe(0.003, 6)
    site.uploads = {
        "weather": NetworkStatus(7, {"WEATHER": 4}, 1, 2, {"content": 2, "wrong_key": 1}),
        "ttn": NetworkStatus(1, {"UPLINK": 1}),
    }
    site.count()
    with site.journal.dead_letters() as letters:
        letters.add("own.Sink", [(1, b"{}", f"forbidden: {EVIL}")])
    return site


def date(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


@pytest.mark.usefixtures("busy")
def test_the_text_tells_what_happened_and_first_what_is_wrong(run: Run, yesterday: int) -> None:
    done = run("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("report", "--day", date(yesterday)).stdout
    head, _, rest = done.stdout.partition("\n\nMessages: ")
    assert head.splitlines()[0] == f"habitat report for {date(yesterday)} (UTC), gateway a1"
    assert "! Requests that could not be served (status 5xx): 1." in head
    assert "! 1 message was refused for good and waits as a dead letter" in head
    assert "! 1 station heard in the 7 days before was not heard that day." in head
    assert rest.startswith(
        "3 (the day before: 2)\n  LISTENER_INFO   0  (2)\n  RECEIVED_TELEM  3  (0)"
    )
    assert "most in the hour from 14:00: 3" in rest
    assert "Stations: 2 heard, 1 new, 1 not heard" in rest
    assert re.search(rf"Not heard\n    GONE  .*  {date(yesterday - DAY)}\n", rest)
    assert re.search(r"New\n    NEW +14:00\n", rest)
    assert re.search(r"Most messages\n    NEW  2\n    A    1\n", rest)
    assert "Requests: 6, 3 of them refused\n  message  400  2\n  message  503  1\n" in rest
    assert (
        "Networks\n  ttn      1 request   1 observation\n"
        "  weather  7 requests  4 observations, 1 suspicious, 2 parts not accepted,"
        " 3 requests refused\n"
    ) in rest
    assert "answered within" in rest
    assert "largest backlog  " in rest
    assert "GB free" in rest


@pytest.mark.usefixtures("busy")
def test_today_is_told_as_far_as_it_went(run: Run) -> None:
    done = run("report", "--day", "today")
    assert "so far: until " in done.stdout
    assert "! No messages arrived." in done.stdout
    assert "Dead letters: 1, 1 in total\n  1  forbidden" in done.stdout


class Page(html.parser.HTMLParser):
    """The elements of a page, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [f"{key}={value}" for key, value in attrs if key in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.usefixtures("busy")
def test_the_page_needs_nothing_else_and_escapes_what_stations_sent(run: Run) -> None:
    done = run("report", "--format", "html")
    assert (done.returncode, done.stderr) == (0, "")
    page = Page(done.stdout)
    assert page.open == []
    assert page.fetched == []
    assert not {"script", "link", "style", "img", "iframe"} & set(page.tags)
    assert "url(" not in done.stdout
    assert done.stdout.count("&lt;script&gt;") >= 1
    for part in ("GONE", "NEW", "RECEIVED_TELEM", "not be served", "503", "weather"):
        assert part in done.stdout


def test_an_empty_journal_and_wrong_days(site: Site, run: Run) -> None:
    del site
    for form in ("text", "html"):
        done = run("report", "--format", form)
        assert (done.returncode, done.stderr) == (0, "")
        assert "No messages arrived." in done.stdout
    fails(run("report", "--day", "2100-01-01"), 2, "is in the future")
    fails(run("report", "--day", "someday"), 2, "is not a day")


def test_without_a_journal_it_says_what_to_do(run: Run) -> None:
    fails(run("report"), 1, "no journal at")
