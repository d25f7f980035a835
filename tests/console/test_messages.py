"""The console's pages of messages, over both archives."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from habitat_like import times
from tests.support.console import Visitor, console_over, with_console
from tests.support.couch import CouchServer
from tests.support.messages import GOOD
from tests.support.net import free_port

START = 1_700_000_000
TEXT = "$$HAB,1,<b>52.1</b>\n"


def document(number: int, **more: Any) -> dict[str, Any]:
    """Three messages a second, of two stations and two types."""
    created = START + number // 3
    telemetry = number % 2 == 0
    data = {"string": base64.b64encode(TEXT.encode()).decode()} if telemetry else {"name": "Ann"}
    return {
        "_id": f"{created:010d}-{number:024x}",
        "type": "RECEIVED_TELEM" if telemetry else "LISTENER_INFO",
        "callsign": "M0ZDR" if number % 4 < 2 else "A/P-1",
        "ip": "203.0.113.7",
        "time_created": created,
        "time_uploaded": created + 2,
        "data": data,
        "gateway": "a1",
        **more,
    }


#: 130 messages, of which number 7 is suspicious.
DOCUMENTS = [document(n, **({"suspicious": "dated 1980"} if n == 7 else {})) for n in range(130)]
RIGHT = [one for one in DOCUMENTS if "suspicious" not in one]
ODD = [
    document(
        1000,
        _id="0000000001-broken",
        time_created=1,
        data={"string": "not base64!"},
        type="RECEIVED_TELEM",
    ),
    document(
        1001,
        _id="0000000002-bytes",
        time_created=2,
        data={"string": "/wABAgM="},
        type="RECEIVED_TELEM",
    ),
    document(
        1002,
        _id="0000000003-tree",
        time_created=3,
        type="OWN",
        data={"a": {"b": [1, {"c": "<script>"}]}, "long": "x" * 5000, "many": list(range(3000))},
    ),
    document(1003, _id="0000000004-huge", time_created=4, type="OWN", data={"x": "y" * 300_000}),
    document(1004, _id="0000000005/foreign", time_created=5, type="OWN", data=None, callsign=None),
]


@pytest.fixture(scope="module", params=["sqlite", "couch"])
def visitor(request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody signed in."""
    uri = None
    if request.param == "couch":
        couch: CouchServer = request.getfixturevalue("couch_server")
        if not couch.running():
            couch.start()
        uri = couch.uri("console-messages")
    with console_over(DOCUMENTS + ODD, uri) as made:
        yield made


def listed(visitor: Visitor, **filter_: str) -> dict[str, Any]:
    data: dict[str, Any] = visitor.json(f"/console/messages.json?{urlencode(filter_)}")
    return data


def ids(documents: list[dict[str, Any]]) -> list[str]:
    return [one["_id"] for one in documents]


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_pages_lead_through_all_messages_and_back(visitor: Visitor, order: str) -> None:
    wanted = ids(RIGHT) if order == "asc" else ids(RIGHT)[::-1]
    fixed = {"order": order, "since": str(START)}
    pages = [listed(visitor, **fixed)]
    while pages[-1]["next"]:
        pages.append(listed(visitor, **fixed, after=pages[-1]["next"]))
    assert [one["_id"] for page in pages for one in page["messages"]] == wanted
    assert [len(page["messages"]) for page in pages] == [50, 50, 29]
    assert [page["previous"] is not None for page in pages] == [False, True, True]

    for page in pages[-1:0:-1]:
        back = listed(visitor, **fixed, before=page["previous"])
        there = pages[pages.index(page) - 1]
        assert back["messages"] == there["messages"]
        assert back["next"] == there["next"]
        assert back["previous"] == there["previous"]


def test_a_page_before_one_near_the_beginning_is_a_whole_one(visitor: Visitor) -> None:
    tenth = RIGHT[-10]
    page = listed(visitor, before=f"{tenth['time_created']},{tenth['_id']}")
    assert ids(page["messages"]) == ids(RIGHT)[:-51:-1]
    assert page["previous"] is None


def test_filters_are_those_of_the_command_line(visitor: Visitor) -> None:
    assert ids(listed(visitor, callsign="a/p-1", type="listener_info")["messages"]) == [
        one["_id"]
        for one in RIGHT[::-1]
        if (one["callsign"], one["type"]) == ("A/P-1", "LISTENER_INFO")
    ]
    narrow = {"since": "2023-11-14T22:13:22Z", "until": str(START + 3)}
    assert ids(listed(visitor, **narrow)["messages"]) == ids(DOCUMENTS[6:9:2])[::-1]
    suspicious = listed(visitor, **narrow, suspicious="1")["messages"]
    assert ids(suspicious) == ids(DOCUMENTS[6:9])[::-1]
    assert listed(visitor, callsign="NOBODY")["messages"] == []
    assert "No message matches" in visitor.page("/console/messages?callsign=NOBODY")


def test_the_filter_stays_in_every_address_of_the_page(visitor: Visitor) -> None:
    page = visitor.page("/console/messages?type=RECEIVED_TELEM&since=2023-11-14&suspicious=1")
    main = page[page.index("<main") :]
    links = [html.unescape(link) for link in re.findall(r'href="([^"]*)"', main)]
    following = [link for link in links if "after=" in link]
    downloads = [link for link in links if "/download?" in link]
    assert len(following) == 1
    assert len(downloads) == 3
    for link in following + downloads:
        for part in ("type=RECEIVED_TELEM", "since=2023-11-14", "suspicious=1"):
            assert part in link
    assert 'value="2023-11-14"' in page


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("since", "soonish", "is not a time"),
        ("until", "99999999999999", "milliseconds"),
        ("callsign", "a b", "1 to 64 characters"),
        ("type", "<x>", "is not a type name"),
        ("order", "up", "newest first"),
    ],
)
def test_a_mistake_is_told_at_its_field(visitor: Visitor, field: str, text: str, said: str) -> None:
    query = urlencode({field: text})
    reply = visitor.get(f"/console/messages.json?{query}")
    assert reply.status == 400
    assert said in reply.json()["problems"][field]
    page = visitor.get(f"/console/messages?{query}")
    assert page.status == 400
    if field != "order":
        assert f'aria-describedby="{field}-problem"' in page.text
        assert f'id="{field}-problem"' in page.text
        assert f'value="{html.escape(text)}"' in page.text


def test_times_the_wrong_way_round_and_places_that_are_none(visitor: Visitor) -> None:
    reply = visitor.get("/console/messages.json?since=20&until=10")
    assert "before the other time" in reply.json()["problems"]["until"]
    reply = visitor.get("/console/messages.json?after=nowhere")
    assert (reply.status, "not a position in the list" in reply.json()["error"]) == (400, True)


def test_a_message_has_a_page_with_all_its_fields(visitor: Visitor) -> None:
    one = DOCUMENTS[8]
    data = visitor.json(f"/console/messages/{one['_id']}.json")
    assert data["message"] == one
    assert data["payload"]["text"] == TEXT
    assert data["payload"]["bytes"] == len(TEXT)
    assert data["payload"]["hex"][0].startswith("0000  24 24 48 41")
    page = visitor.page(f"/console/messages/{one['_id']}")
    for text in ("203.0.113.7", "a1", "14 November 2023", str(one["time_created"])):
        assert text in page
    assert "&lt;b&gt;52.1" in page
    assert "<b>52.1" not in page
    assert f'href="/console/packets/{one["_id"]}"' in page


def test_a_suspicious_message_says_why(visitor: Visitor) -> None:
    assert "dated 1980" in visitor.page(f"/console/messages/{DOCUMENTS[7]['_id']}")


def test_payloads_that_are_no_text(visitor: Visitor) -> None:
    data = visitor.json("/console/messages/0000000001-broken.json")
    assert "not valid base64" in data["payload"]["problem"]
    assert "not valid base64" in visitor.page("/console/messages/0000000001-broken")
    data = visitor.json("/console/messages/0000000002-bytes.json")
    assert data["payload"]["text"] is None
    assert data["payload"]["hex"][0].startswith("0000  ff 00 01 02 03")
    assert "ff 00 01 02 03" in visitor.page("/console/messages?until=10")


def test_other_data_is_shown_as_a_tree_that_is_never_too_long(visitor: Visitor) -> None:
    page = visitor.page("/console/messages/0000000003-tree")
    assert "&lt;script&gt;" in page
    assert "x" * 2000 not in page.split("<details>")[0]
    assert re.search(r"2.\d{3} more; the JSON has them", page)
    huge = visitor.page("/console/messages/0000000004-huge")
    assert "too long to be shown" in huge
    assert len(huge) < 20_000
    whole = visitor.json("/console/messages/0000000004-huge.json")
    assert len(whole["message"]["data"]["x"]) == 300_000


def test_documents_of_other_programs_can_be_shown(visitor: Visitor) -> None:
    assert "0000000005/foreign" in visitor.page("/console/messages/0000000005/foreign")
    assert visitor.get("/console/messages?until=10").status == 200


def test_times_of_other_programs_are_shown_as_they_are() -> None:
    times = ["soon", [1], 1e300, True, None]
    others = [document(n, _id=f"{n}", callsign="X", time_uploaded=t) for n, t in enumerate(times)]
    with console_over(others) as visitor:
        assert "soon" in visitor.page("/console/station?callsign=X")
        for number in range(len(times)):
            visitor.page(f"/console/messages/{number}")


def test_a_message_that_is_not_there(visitor: Visitor) -> None:
    for path in ("/console/messages/1234567890-0", "/console/messages/_design/habitat-time"):
        assert visitor.get(path).status == 404
        assert "There is no message" in visitor.get(f"{path}.json").json()["error"]


def test_without_the_archive_the_form_is_still_there() -> None:
    with console_over([]) as visitor:
        visitor.gateway.config["archive"]["uri"] = f"couchdb://127.0.0.1:{free_port()}/x"
        visitor.gateway.restart()
        for path in ("messages", "packets"):
            reply = visitor.get(f"/console/{path}")
            assert reply.status == 503
            assert "The archive can't be read now: CouchDB at" in reply.text
            assert 'name="since"' in reply.text
        assert visitor.get("/console/messages/x").status == 503
        assert visitor.get("/console/messages/download?format=csv").status == 503


def test_a_list_and_its_filter_are_in_utc_wherever_the_gateway_stands() -> None:
    gateway = with_console()
    gateway.environ["TZ"] = "Asia/Tokyo"
    try:
        gateway.start()
        assert gateway.scgi("POST", "/message", GOOD).status == 200
        gateway.wait_until_archived()
        visitor = Visitor(gateway)
        visitor.sign_in()
        page = visitor.page("/console/messages")
        (shown,) = re.findall(r"<time[^>]*>([-0-9]{10} [:0-9]{8} UTC)</time>", page)
        (document,) = gateway.documents()
        assert shown == times.show_utc(document["time_created"])
        until = times.show_utc(document["time_created"] + 1).removesuffix(" UTC")
        for since in (shown, shown.removesuffix(" UTC")):
            query = urlencode({"since": since, "until": until})
            found = visitor.json(f"/console/messages.json?{query}")["messages"]
            assert [one["_id"] for one in found] == [document["_id"]]
        assert "Times are UTC." in page
    finally:
        gateway.close()
