"""Packets: receptions put together, and the console's pages of them, over both archives."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habitat_like.console.packets import SIZE
from habitat_like.console.receptions import GAP, Grouping, Packet, chain
from tests.support.console import Visitor, console_over
from tests.support.couch import CouchServer

START = 1_700_000_000


def reception(number: int, time: int, packet: str, **more: Any) -> dict[str, Any]:
    data = {"string": base64.b64encode(packet.encode()).decode(), **more.pop("data", {})}
    return {
        "_id": f"{time:010d}-{number:024x}",
        "type": "RECEIVED_TELEM",
        "callsign": f"RX{number % 7}",
        "time_created": time,
        "time_uploaded": time + 1,
        "data": data,
        **more,
    }


def names(packets: list[Packet]) -> list[list[str]]:
    return [[one["_id"] for one in packet.receptions] for packet in packets]


def together(receptions: list[dict[str, Any]]) -> list[list[str]]:
    """All packets of receptions that are newest first, made the simple way."""
    packets: list[list[dict[str, Any]]] = []
    for one in receptions:
        for packet in packets:
            last = packet[-1]
            same = last["data"]["string"] == one["data"]["string"]
            if same and last["time_created"] - one["time_created"] <= GAP:
                packet.append(one)
                break
        else:
            packets.append([one])
    return [[one["_id"] for one in packet] for packet in packets]


received = st.lists(
    # Often exactly as far from each other as a packet may last, and a second more.
    st.tuples(
        st.builds(
            lambda steps, more: steps * GAP // 2 + more, st.integers(0, 20), st.integers(0, 1)
        ),
        st.sampled_from("ABCDEFGH"),
    ),
    max_size=60,
).map(
    lambda drawn: sorted(
        (reception(n, START + at, packet) for n, (at, packet) in enumerate(drawn)),
        key=lambda one: (one["time_created"], one["_id"]),
        reverse=True,
    )
)


@settings(max_examples=60)
@given(received, st.integers(1, 5))
def test_pages_have_each_packet_once_and_whole(receptions: list[dict[str, Any]], size: int) -> None:
    found: list[list[str]] = []
    after = None
    while True:
        behind = [one for one in receptions if after is None or _place(one) < after]
        newer = [
            one
            for one in receptions
            if after and after <= _place(one) and one["time_created"] <= after[0] + GAP
        ]
        grouping = Grouping(size, newer)
        more = not all(grouping.take(one) for one in behind)
        page = grouping.page(more=more)
        assert all(packet.whole for packet in page.packets)
        assert len(page.packets) <= size
        found += names(page.packets)
        if page.next is None:
            break
        after = page.next
    assert sorted(found) == sorted(together(receptions))


@settings(max_examples=60)
@given(received, st.data())
def test_the_packet_of_any_reception_is_the_same(
    receptions: list[dict[str, Any]], data: st.DataObject
) -> None:
    for packet in together(receptions):
        chosen = data.draw(st.sampled_from(packet))
        one = next(one for one in receptions if one["_id"] == chosen)
        newer = [
            other for other in receptions[::-1] if other["time_created"] >= one["time_created"]
        ]
        older = [other for other in receptions if other["time_created"] <= one["time_created"]]
        assert names([chain(one, newer, older)]) == [packet]


def _place(one: dict[str, Any]) -> tuple[int, str]:
    return one["time_created"], one["_id"]


def test_a_packet_that_may_go_on_is_not_called_whole() -> None:
    grouping = Grouping(2)
    assert grouping.take(reception(1, START + 3 * GAP, "old"))
    assert grouping.take(reception(2, START, "young"))
    page = grouping.page(more=True)
    assert [packet.whole for packet in page.packets] == [True, False]
    assert page.next == (START, f"{START:010d}-{2:024x}")


# -- the pages

#: Three stations hear each packet, the last of them much later; packets overlap.
HEARD = [
    reception(
        10 * number + station,
        START + 2 * number + (0, 1, 50)[station],
        f"$$HAB,{number}",
        data={"frequency": 434_075_000.5 + station, **({"snr": 7.5} if station else {})},
    )
    for number in range(120)
    for station in range(3)
]
OTHERS = [
    reception(9000, START - 1000, "$$HAB,5"),
    reception(9001, START - 2000, "x", type="LISTENER_INFO"),
    reception(9002, START - 3000, "x", data={"string": "broken!"}),
]


@pytest.fixture(scope="module", params=["sqlite", "couch"])
def visitor(request: pytest.FixtureRequest) -> Iterator[Visitor]:
    uri = None
    if request.param == "couch":
        couch: CouchServer = request.getfixturevalue("couch_server")
        if not couch.running():
            couch.start()
        uri = couch.uri("console-packets")
    with console_over(HEARD + OTHERS, uri) as made:
        yield made


def test_every_packet_is_listed_once_with_who_heard_it(visitor: Visitor) -> None:
    packets: list[dict[str, Any]] = []
    path = "/console/packets.json"
    pages = 0
    while path:
        page = visitor.json(path)
        assert len(page["packets"]) <= SIZE
        packets += page["packets"]
        pages += 1
        path = page["next"] and f"/console/packets.json?after={page['next']}"
    assert pages == 3
    assert [one["summary"] for one in packets[:120]] == [f"$$HAB,{n}" for n in range(119, -1, -1)]
    for number, one in zip(range(119, -1, -1), packets, strict=False):
        assert (one["receptions"], one["whole"]) == (3, True)
        assert one["first"] == START + 2 * number
        assert one["last"] == START + 2 * number + 50
        assert one["stations"] == [f"RX{(10 * number + n) % 7}" for n in range(3)]
    # The same bytes much earlier are another packet; broken base64 is one of its own.
    assert [(one["summary"], one["receptions"]) for one in packets[120:]] == [
        ("$$HAB,5", 1),
        ("string: broken!", 1),
    ]


def test_the_list_can_begin_at_any_time(visitor: Visitor) -> None:
    page = visitor.json(f"/console/packets.json?until={START - 500}")
    assert [one["id"] for one in page["packets"]] == [OTHERS[0]["_id"], OTHERS[2]["_id"]]
    reply = visitor.get("/console/packets?since=soonish")
    assert (reply.status, "is not a time" in reply.text) == (400, True)
    assert visitor.get("/console/packets?after=x").status == 400
    assert "No packets heard in this time" in visitor.page("/console/packets?until=10")
    page_text = visitor.page("/console/packets")
    assert "$$HAB,119" in page_text
    assert "Older" in page_text


@pytest.mark.parametrize("station", range(3))
def test_a_packet_has_a_page_with_its_receptions(visitor: Visitor, station: int) -> None:
    heard = HEARD[60 : 60 + 3]
    data = visitor.json(f"/console/packets/{heard[station]['_id']}.json")
    assert data["whole"]
    assert data["payload"]["text"] == "$$HAB,20"
    assert [one["id"] for one in data["receptions"]] == [one["_id"] for one in heard]
    assert [one["delay"] for one in data["receptions"]] == [0, 1, 50]
    assert [one["snr"] for one in data["receptions"]] == [None, 7.5, 7.5]
    assert data["receptions"][0]["frequency"] == 434_075_000.5
    page = visitor.page(f"/console/packets/{heard[station]['_id']}")
    for text in ("$$HAB,20", "Heard by 3 stations", "+50 s", "434.0750 MHz", "7.5 dB"):
        assert text in page


def test_messages_without_a_packet_have_no_such_page(visitor: Visitor) -> None:
    reply = visitor.get(f"/console/packets/{OTHERS[1]['_id']}.json")
    assert (reply.status, "carries no packet" in reply.json()["error"]) == (404, True)
    assert visitor.get("/console/packets/nothing").status == 404
    assert "not valid base64" in visitor.page(f"/console/packets/{OTHERS[2]['_id']}")
