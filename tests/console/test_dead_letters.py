"""The console's pages of dead letters: see them, try again, save and drop them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from habitat_like.console.dead_letters import SIZE
from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.journal.file import open_file
from tests.conftest import HabitatFactory
from tests.support.console import Visitor, console_over, make_users
from tests.support.couch import CouchServer
from tests.support.gateway import ARCHIVE_SINK
from tests.support.messages import GOOD
from tests.support.wait import eventually

START = 1_700_000_000
REASON = "the archive refused the document: <forbidden>"
PAGE = "/console/dead-letters"


def document(number: int) -> bytes:
    return json.dumps(
        {
            "_id": f"{START + number:010d}-{number:024x}",
            "type": "RECEIVED_TELEM",
            "callsign": f"M0Z{number}",
            "time_created": START + number,
            "data": {"string": "JCRoYWJpdGF0"},
        }
    ).encode()


@pytest.fixture(scope="module")
def shared() -> Iterator[Visitor]:
    with console_over([]) as made:
        yield made


@contextlib.contextmanager
def table(visitor: Visitor) -> Iterator[DeadLetters]:
    with contextlib.closing(open_file(str(visitor.gateway.journal_path))) as connection:
        yield DeadLetters(connection)


@pytest.fixture
def visitor(shared: Visitor) -> Visitor:
    """Somebody signed in, and no dead letters yet."""
    with table(shared) as letters:
        letters.drop()
    return shared


def add(visitor: Visitor, count: int, *documents: bytes) -> list[int]:
    """New dead letters; their numbers."""
    made = [*(document(number) for number in range(count)), *documents]
    with table(visitor) as letters:
        letters.add(ARCHIVE_SINK, [(n + 1, one, REASON) for n, one in enumerate(made)])
        return letters.numbers(len(made))


def left(visitor: Visitor) -> list[int]:
    with table(visitor) as letters:
        return letters.numbers(1000)


def test_without_dead_letters_the_page_says_so(visitor: Visitor) -> None:
    assert "There are no dead letters" in visitor.page(PAGE)
    assert visitor.json(f"{PAGE}.json")["dead_letters"] == []
    assert visitor.get(f"{PAGE}/export").body == b""


def test_the_list_leads_through_all_of_them_and_back(visitor: Visitor) -> None:
    numbers = add(visitor, 2 * SIZE + 5)
    pages = [visitor.json(f"{PAGE}.json")]
    while pages[-1]["older"]:
        pages.append(visitor.json(f"{PAGE}.json?below={pages[-1]['older']}"))
    assert [one["id"] for page in pages for one in page["dead_letters"]] == numbers[::-1]
    assert [len(page["dead_letters"]) for page in pages] == [SIZE, SIZE, 5]
    assert [page["newer"] is not None for page in pages] == [False, True, True]
    assert visitor.json(f"{PAGE}.json?above={pages[2]['newer']}") == pages[1]
    assert visitor.json(f"{PAGE}.json?above={pages[1]['newer']}") == pages[0]
    assert pages[0]["sinks"] == {ARCHIVE_SINK: len(numbers)}
    newest = pages[0]["dead_letters"][0]
    assert newest["reason"] == REASON
    assert newest["callsign"] == f"M0Z{len(numbers) - 1}"
    assert newest["message"] == json.loads(document(len(numbers) - 1))["_id"]
    page = visitor.page(PAGE)
    assert "&lt;forbidden&gt;" in page
    assert f"{PAGE}?below={pages[0]['older']}" in page
    assert visitor.get(f"{PAGE}?below=x").status == 400


def test_each_has_a_page_with_its_document(visitor: Visitor) -> None:
    good, broken = add(visitor, 1, b"{broken \xff<b>")
    data = visitor.json(f"{PAGE}/{good}.json")
    assert data["document"] == json.loads(document(0))
    assert data["dead_letter"]["reason"] == REASON
    assert data["dead_letter"]["retry"] is False
    page = visitor.page(f"{PAGE}/{good}")
    assert "$$habitat" in page
    assert ARCHIVE_SINK in page
    assert visitor.json(f"{PAGE}/{broken}.json")["document"] is None
    page = visitor.page(f"{PAGE}/{broken}")
    assert "not a JSON object" in page
    assert "&lt;b&gt;" in page
    assert "There is no dead letter" in visitor.get(f"{PAGE}/999999.json").json()["error"]
    assert visitor.get(f"{PAGE}/{'9' * 19}").status == 404


def test_those_chosen_are_tried_again(visitor: Visitor) -> None:
    numbers = add(visitor, 3)
    reply = visitor.choose(f"{PAGE}/retry", "id", str(numbers[0]), str(numbers[2]))
    assert (reply.status, reply.headers["location"]) == (303, PAGE)
    assert "2 dead letters will be retried" in visitor.page(PAGE)
    chosen = f'"numbers":"{numbers[0]}, {numbers[2]}"'
    eventually(lambda: chosen in visitor.gateway.log)
    # The embedded archive takes them now.
    eventually(lambda: left(visitor) == [numbers[1]])
    assert {"M0Z0", "M0Z2"} <= {one["callsign"] for one in visitor.gateway.documents()}

    visitor.post(f"{PAGE}/retry", all="yes")
    eventually(lambda: left(visitor) == [])
    visitor.choose(f"{PAGE}/retry", "id", str(numbers[1]))
    assert "no longer there" in visitor.page(PAGE)


def test_dropping_asks_first(visitor: Visitor) -> None:
    numbers = add(visitor, 3)
    chosen = [str(number) for number in numbers[:2]]
    asked = visitor.choose(f"{PAGE}/drop", "id", *chosen)
    assert asked.status == 200
    assert "Drop 2 dead letters?" in asked.text
    for number in chosen:
        assert f'name="id" value="{number}"' in asked.text
    assert left(visitor) == numbers
    reply = visitor.choose(f"{PAGE}/drop", "id", *chosen, confirmed="yes")
    assert reply.status == 303
    assert left(visitor) == numbers[2:]
    assert "2 dead letters dropped" in visitor.page(PAGE)
    dropped = '"message":"dead letters dropped","user":"alice"'
    eventually(lambda: dropped in visitor.gateway.log)


def test_dropping_all_spares_those_that_came_after_the_question(visitor: Visitor) -> None:
    numbers = add(visitor, 450)
    asked = visitor.post(f"{PAGE}/drop", all="yes")
    assert "Drop all 450 dead letters?" in asked.text
    assert f'name="all" value="{numbers[-1]}"' in asked.text
    with table(visitor) as letters:
        letters.add(ARCHIVE_SINK, [(5000, document(5000), REASON)])
    visitor.post(f"{PAGE}/drop", all=str(numbers[-1]), confirmed="yes")
    assert left(visitor) == [numbers[-1] + 1]
    assert "450 dead letters dropped" in visitor.page(PAGE)


def test_nothing_is_changed_without_a_choice_or_the_forms_token(visitor: Visitor) -> None:
    numbers = add(visitor, 2)
    for action in ("retry", "drop"):
        assert visitor.post(f"{PAGE}/{action}").status == 303
        assert "Select at least one dead letter" in visitor.page(PAGE)
        reply = visitor.post(f"{PAGE}/{action}", token="wrong", all="yes", confirmed="yes")
        assert reply.status == 400
        assert visitor.get(f"{PAGE}/{action}").status == 405
    assert left(visitor) == numbers
    assert not any(one["retry"] for one in visitor.json(f"{PAGE}.json")["dead_letters"])


def test_the_export_is_that_of_the_command_line(visitor: Visitor) -> None:
    add(visitor, 230, b'{"_id":\n"x"}')
    reply = visitor.get(f"{PAGE}/export")
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert "dead-letters-" in reply.headers["content-disposition"]
    assert reply.text == visitor.gateway.cli("journal", "export", "--dead").stdout
    assert len(reply.body.splitlines()) == 231


def test_what_couchdb_refused_can_be_mended_and_tried_again(
    habitat: HabitatFactory, couch: CouchServer, database: str
) -> None:
    couch.create(database)
    rule = "function (doc) { if (doc.callsign) { throw({forbidden: 'no <stations>'}); } }"
    path = f"/{database}/_design/rule"
    made = couch.request("PUT", path, {"validate_doc_update": rule}).json()
    gateway = habitat({"archive": {"uri": couch.uri(database)}}, start=False)
    gateway.config["console"] = {"password_file": make_users(gateway.directory / "users")}
    gateway.start()
    visitor = Visitor(gateway)
    visitor.sign_in()
    assert gateway.scgi("POST", "/message", GOOD).status == 200

    def refused() -> list[dict[str, Any]]:
        letters: list[dict[str, Any]] = visitor.json(f"{PAGE}.json")["dead_letters"]
        return letters

    (letter,) = eventually(refused)
    assert "no <stations>" in letter["reason"]
    assert letter["callsign"] == "M0ZDR"
    couch.request("DELETE", f"{path}?rev={made['rev']}")
    visitor.choose(f"{PAGE}/retry", "id", str(letter["id"]))
    eventually(lambda: not refused())
    assert visitor.json(f"/console/messages/{letter['message']}.json")["message"]["ip"]
