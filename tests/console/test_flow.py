"""The console's overview, stations and statistics, of a real gateway with real uploads."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest

from habitat_like.console.drawing import MAX_POINTS
from tests.support.console import Visitor, with_console
from tests.support.docs import table, text
from tests.support.gateway import Habitat
from tests.support.messages import INFO, TELEM, WHERE
from tests.support.net import free_port
from tests.support.wait import PATIENCE, away_from_midnight, eventually

#: More than one page of the list of stations holds.
MANY = 105
NAME = "<script>alert('&')</script>"


def upload(gateway: Habitat, *messages: dict[str, Any]) -> None:
    """Have messages accepted."""
    now = int(time.time())
    timed = [{"time_created": now, "time_uploaded": now, **message} for message in messages]
    reply = gateway.scgi("POST", "/messages", json.dumps(timed))
    assert reply.status == 200, reply


def wait_until_counted(gateway: Habitat) -> None:
    """Wait until the statistics have all that was uploaded."""
    eventually(lambda: gateway.status()["statistics"]["behind"] == 0, "all is counted")


def signed_in(gateway: Habitat) -> Visitor:
    made = Visitor(gateway)
    assert made.sign_in().status == 303
    return made


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    """A gateway to which many stations sent something."""
    made = with_console()
    away_from_midnight()
    try:
        made.start()
        plain = {"type": "RECEIVED_TELEM", "data": TELEM["data"]}
        upload(made, *({**plain, "callsign": f"ST{number:03}"} for number in range(MANY)))
        ahead = int(time.time()) + 7200
        upload(
            made,
            {
                "callsign": "M0ZDR/P",
                "type": "LISTENER_INFO",
                "data": {**INFO["data"], "name": NAME},
            },
            {"callsign": "M0ZDR/P", "type": "LISTENER_TELEM", "data": WHERE["data"]},
            {**plain, "callsign": "FAST", "time_created": ahead, "time_uploaded": ahead},
        )
        assert made.scgi("POST", "/message", "no JSON").status == 400
        wait_until_counted(made)
        made.wait_until_archived()
        # Requests are counted in rounds of their own.
        seen = signed_in(made)
        eventually(
            lambda: seen.json("/console/overview.json")["requests_today"].get("400") == 1,
            "the refusal is counted",
        )
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def visitor(gateway: Habitat) -> Visitor:
    return signed_in(gateway)


@pytest.fixture(scope="module")
def stricken() -> Iterator[Habitat]:
    """A gateway whose archive is down, and whose journal is soon full."""
    uri = f"couchdb://127.0.0.1:{free_port()}/habitat"
    made = with_console(archive={"uri": uri}, journal={"max_backlog": 3})
    try:
        made.start()
        for number in range(3):
            upload(made, {**TELEM, "callsign": f"ST{number}"})
        eventually(lambda: made.status()["archive"]["state"] == "waiting", "the outage is met")
        wait_until_counted(made)
        yield made
    finally:
        made.close()


@pytest.fixture
def elsewhere(stricken: Habitat) -> Visitor:
    """Who asks what is refused, where a test that counts such requests does not count it."""
    return signed_in(stricken)


# -- overview


def test_the_overview_tells_that_data_flows(visitor: Visitor) -> None:
    page = visitor.json("/console/overview.json")
    # How full the disk of this machine is, is another thing.
    assert [one["text"] for one in page["troubles"] if "disk" not in one["text"]] == []
    assert page["state"] == "ready"
    assert page["archive"]["state"] == "ok"
    assert page["messages"]["ever"] == MANY + 3
    assert page["messages"]["last_heard"] == pytest.approx(time.time(), abs=3600)
    assert page["backlog"] == {
        "messages": 0, "at_most": 1_000_000, "trend": "empty", "per_minute": 0, "full_in": None,
    }  # fmt: skip
    assert page["stations"] == {"heard": MANY + 2, "silent": 0, "silent_last": []}
    assert page["requests_today"]["400"] == 1
    assert {disk["place"] for disk in page["disks"]} == {"archive and journal"}
    html = visitor.page("/console/overview")
    for figure in ("serving", "nothing waiting", "works", "in the last 10 minutes", f"{MANY + 3}"):
        assert figure in html
    assert 'data-refresh="10"' in html


def test_the_overview_tells_first_what_is_wrong(stricken: Habitat) -> None:
    visitor = signed_in(stricken)
    page = visitor.json("/console/overview.json")
    told = [one["text"] for one in page["troubles"] if one["level"] == "error"]
    assert "Uploads are refused (503): the backlog is full" in told[0]
    assert told[1].startswith("The archive can't be used for ")
    assert "3 messages wait in the journal; nothing is lost." in told[1]
    html = visitor.page("/console/overview")
    assert html.index("the backlog is full") < html.index("<dl")
    assert "All is well" not in html


def test_maintenance_stands_first(visitor: Visitor) -> None:
    visitor.post("/console/settings/maintenance", on="1", message="back at noon")
    try:
        page = visitor.json("/console/overview.json")
        assert page["maintenance"]["message"] == "back at noon"
        first = page["troubles"][0]
        assert first["text"].startswith("Maintenance has been on for ")
        assert "stations get a 503, “back at noon”" in first["text"]
        assert first["page"] == "/console/settings"
    finally:
        visitor.post("/console/settings/maintenance", on="0")
    assert visitor.json("/console/overview.json")["maintenance"] is None


def test_without_statistics_there_is_an_overview_all_the_same(stricken: Habitat) -> None:
    visitor = signed_in(stricken)
    with sqlite3.connect(stricken.journal_path, timeout=PATIENCE) as file:
        file.execute("ALTER TABLE station RENAME TO elsewhere")
    try:
        page = visitor.json("/console/overview.json")
        assert page["troubles"][0]["text"].startswith("The statistics can't be read: ")
        assert (page["messages"], page["plots"]) == (None, {})
        assert page["backlog"]["messages"] == 3
        assert "The statistics can&#39;t be read" in visitor.page("/console/overview")
        reply = visitor.get("/console/stations")
        assert reply.status == 503
        assert "no such table: station" in reply.text
    finally:
        with sqlite3.connect(stricken.journal_path, timeout=PATIENCE) as file:
            file.execute("ALTER TABLE elsewhere RENAME TO station")


# -- stations


def test_stations_come_in_pages_that_follow_each_other(visitor: Visitor) -> None:
    for query in ("sort=callsign", "sort=name&order=desc", "", "sort=clock_offset&order=asc"):
        address, seen = f"/console/stations.json?{query}", []
        while address:
            page = visitor.json(address)
            seen += [one["callsign"] for one in page["stations"]]
            address = page["next"] and page["next"].replace("/stations?", "/stations.json?")
        assert len(seen) == len(set(seen)) == page["total"] == MANY + 2
        if query == "sort=callsign":
            assert seen == sorted(seen)


def test_stations_are_found_by_callsign_and_name(visitor: Visitor) -> None:
    def found(query: str) -> list[str]:
        return [
            one["callsign"] for one in visitor.json(f"/console/stations.json?{query}")["stations"]
        ]

    assert found("search=st10&sort=callsign") == ["ST100", "ST101", "ST102", "ST103", "ST104"]
    assert found("search=alert") == ["M0ZDR/P"]
    assert found("sort=clock_offset")[0] == "FAST"
    assert len(found("show=heard")) == 100
    assert found("show=silent") == []
    assert found(f"sort=messages&order=asc&after=%5B{10**30},%22A%22%5D") == []
    # Whoever was heard over a thousandth of a second ago is silent.
    silent = visitor.json("/console/stations.json?show=silent&silent_after=0.001")
    assert silent["total"] == MANY + 2
    assert {one["state"] for one in silent["stations"]} == {"silent"}


def test_the_list_of_stations_is_a_table_for_all(visitor: Visitor) -> None:
    page = visitor.page("/console/stations?sort=name&search=M0")
    assert page.count("aria-sort=") == 1
    assert 'aria-sort="ascending"' in page
    assert re.search(r'href="[^"]*sort=name&amp;[^"]*order=desc"', page), "no way back"
    assert "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;" in page
    assert NAME not in page
    assert "callsign=M0ZDR/P" in page or "callsign=M0ZDR%2FP" in page
    assert "2h ahead" in visitor.page("/console/stations?search=FAST")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sort=ip", "sort: one of callsign"),
        ("order=up", "order: one of desc, asc"),
        ("show=loud", "show: one of all, heard, silent"),
        ("silent_after=soon", "is not a length of time; write 90s"),
        ("after=x", "after: take the address"),
        ("after=%5B%7B%7D,1%5D", "after: take the address"),
        ("after=%5B1e999,%22A%22%5D", "after: take the address"),
    ],
)
def test_a_list_that_can_not_be_had_says_why(elsewhere: Visitor, query: str, says: str) -> None:
    reply = elsewhere.get(f"/console/stations.json?{query}")
    assert reply.status == 400
    assert says in reply.json()["error"]


def test_a_station_has_a_page(visitor: Visitor) -> None:
    page = visitor.json("/console/station.json?callsign=m0zdr/p")
    station = page["station"]
    assert (station["name"], station["state"], station["clock"]) == (NAME, "heard", "right")
    assert re.fullmatch(r"[0-9.]+° [NS], [0-9.]+° [EW], [0-9,]+ m", station["position"])
    assert {one["type"] for one in page["messages"]} == {"LISTENER_INFO", "LISTENER_TELEM"}
    assert page["archive_problem"] is None
    day = page["plots"]["station_day"]
    assert sum(map(sum, day["series"].values())) == 2
    html = visitor.page("/console/station?callsign=M0ZDR/P")
    assert station["position"] in html
    assert page["messages"][0]["id"] in html
    assert NAME not in html
    assert "Its clock is 2h ahead" in visitor.page("/console/station?callsign=FAST")


def test_a_station_that_was_never_heard_is_told_as_such(visitor: Visitor) -> None:
    reply = visitor.get("/console/station?callsign=NOBODY")
    assert reply.status == 404
    assert "No station &#39;NOBODY&#39; was heard." in reply.text


def test_a_station_s_page_needs_its_callsign(elsewhere: Visitor) -> None:
    assert elsewhere.get("/console/station").status == 400


def test_a_station_has_its_page_while_the_archive_is_down(stricken: Habitat) -> None:
    visitor = signed_in(stricken)
    page = visitor.json("/console/station.json?callsign=ST1")
    assert page["station"]["messages"] == 1
    assert page["messages"] == []
    assert "CouchDB" in page["archive_problem"]
    assert "The archive can't be read" in visitor.page("/console/station?callsign=ST1")
    reply = visitor.get("/console/station?callsign=NOBODY")
    assert reply.status == 404
    assert "the archive can&#39;t be read" in reply.text


# -- statistics


@pytest.mark.parametrize("name", ["day", "week", "month", "year"])
def test_statistics_of_each_range_hold_the_same_messages(visitor: Visitor, name: str) -> None:
    page = visitor.json(f"/console/statistics.json?range={name}")
    assert page["messages"] == page["ever"] == MANY + 3
    assert page["since_start"]["written"] == MANY + 3
    assert {one["type"]: one["messages"] for one in page["types"]} == {
        "RECEIVED_TELEM": MANY + 1,
        "LISTENER_INFO": 1,
        "LISTENER_TELEM": 1,
    }
    assert page["top"][0]["callsign"] == "M0ZDR/P"
    assert page["top"][0]["messages"] == 2
    assert page["stations"] == MANY + 2
    bad = [one for one in page["requests"] if one["status"] == 400]
    assert [(one["action"], one["meaning"], one["requests"]) for one in bad] == [
        ("message", "Bad Request", 1)
    ]
    drawn = page["plots"]["messages"]
    assert sum(map(sum, drawn["series"].values())) == MANY + 3
    assert drawn["times"][0] == page["since"]
    if name != "day":
        assert sum(page["plots"]["errors"]["series"]["400 Bad Request"]) == 1
    assert f'aria-current="true">{page["range_name"]}<' in visitor.page(
        f"/console/statistics?range={name}"
    )


def test_every_table_comes_as_csv(visitor: Visitor) -> None:
    page = visitor.json("/console/statistics.json?range=week")
    tables = {}
    for name, address in page["csv"].items():
        reply = visitor.get(address)
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/csv; charset=utf-8"
        assert f"habitat-{name}-week.csv" in reply.headers["content-disposition"]
        tables[name] = list(csv.DictReader(io.StringIO(reply.text)))
    assert sum(int(row["total"]) for row in tables["messages"]) == MANY + 3
    assert sum(int(row["messages"]) for row in tables["stations"]) == MANY + 3
    assert {row["type"]: row["ever"] for row in tables["types"]}["LISTENER_INFO"] == "1"
    assert [row["action"] for row in tables["requests"] if row["status"] == "400"] == ["message"]
    for name in ("latency", "backlog", "disk"):
        assert tables[name], name


def test_ranges_and_tables_that_there_are_not_are_refused(elsewhere: Visitor) -> None:
    reply = elsewhere.get("/console/statistics.json?range=age")
    assert (reply.status, reply.json()["error"]) == (400, "range: one of day, week, month, year")
    reply = elsewhere.get("/console/statistics/users.csv")
    assert reply.status == 404
    assert "There is no table" in reply.text


# -- plots and documentation

PAGES = (
    "/console/overview",
    "/console/stations",
    "/console/station?callsign=M0ZDR/P",
    "/console/statistics?range=year",
)


def of_json(page: str) -> str:
    """The address of a page's JSON."""
    path, mark, query = page.partition("?")
    return f"{path}.json{mark}{query}"


def test_every_plot_is_an_image_at_its_own_address(visitor: Visitor) -> None:
    figures = [
        one for page in PAGES for one in visitor.json(of_json(page)).get("plots", {}).values()
    ]
    assert len(figures) == 8
    for figure in figures:
        assert len(figure["times"]) <= MAX_POINTS
        reply = visitor.get(figure["src"])
        assert (reply.status, reply.headers["content-type"]) == (
            200,
            "image/svg+xml; charset=utf-8",
        )
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["cache-control"] == "private, max-age=60"
        shown = "".join(ET.fromstring(reply.body).itertext())
        assert figure["title"] in shown
        # Drawn once for all who ask within some seconds, which a busy machine may need for one.
        eventually(
            lambda: visitor.get(figure["src"]).body == visitor.get(figure["src"]).body,  # noqa: B023
            "it is one image",
        )
        small = visitor.get(figure["src"] + "&size=small")
        assert 'width="360"' in small.text


def test_plots_are_for_who_is_signed_in(gateway: Habitat) -> None:
    assert Visitor(gateway).get("/console/plots/backlog.svg").status in (303, 401)


def test_the_numbers_of_a_plot_stand_beside_it(visitor: Visitor) -> None:
    page = visitor.page("/console/station?callsign=ST001")
    assert page.count("<summary>The numbers</summary>") == 2
    assert page.count('<th scope="col" class="number">RECEIVED_TELEM</th>') == 2
    assert len(re.findall(r'<td class="number" data-head="RECEIVED_TELEM">1</td>', page)) == 2


@pytest.mark.parametrize("page", PAGES)
def test_the_json_of_a_page_is_documented(visitor: Visitor, page: str) -> None:
    address = of_json(page)
    assert of_json(page).partition("?")[0] in visitor.page(page)
    heading = (
        "#### " + address.removeprefix("/console/").partition(".json")[0].capitalize() + " JSON"
    )
    rows = table("docs/console.md", heading)
    documented = {key for row in rows for key in re.findall(r"`(\w+)`", row[0])}
    assert documented == visitor.json(address).keys()


def test_every_table_is_documented(visitor: Visitor) -> None:
    documented = {row[0].strip("`") for row in table("docs/console.md", "#### CSV")}
    tables = visitor.json("/console/statistics.json")["csv"]
    assert documented == {f"{name}.csv" for name in tables}
    assert "docs/console.md" in text("README.md")
