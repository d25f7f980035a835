"""POST /messages as a station sees it: arrays and lines of messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.messages import TELEM
from tests.support.reply import one_line
from tests.support.site import MAX_BODY, Site

ONE, TWO, THREE = ({**TELEM, "callsign": f"batch{n}", "time_created": n} for n in (1, 2, 3))

BROKEN = {**TELEM, "callsign": "not good"}


def as_array(trees: list[Any]) -> bytes:
    return json.dumps(trees, indent=2).encode()


def as_lines(trees: list[Any]) -> bytes:
    return b"".join(json.dumps(tree).encode() + b"\n" for tree in trees)


def as_windows_lines(trees: list[Any]) -> bytes:
    return b"\r\n\r\n".join(json.dumps(tree).encode() for tree in trees)


FORMS = pytest.mark.parametrize("form", [as_array, as_lines, as_windows_lines])


@FORMS
def test_a_good_batch_is_200_with_the_archived_ids_in_order(site: Site, form: Any) -> None:
    reply = site.post(form([ONE, TWO, THREE, ONE]), "/messages")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    answer = reply.json()
    assert set(answer) == {"accepted", "results"}
    assert answer["accepted"] == 4
    assert all(list(result) == ["id"] for result in answer["results"])
    ids = [result["id"] for result in answer["results"]]
    assert ids[0] == ids[3]
    for number in (1, 2, 3):
        assert [one["_id"] for one in site.archived(f"BATCH{number}")] == [ids[number - 1]]


@FORMS
def test_a_batch_with_some_refused_is_207_and_the_others_are_durable(site: Site, form: Any) -> None:
    mine = [{**TELEM, "callsign": f"some-{form.__name__}", "time_created": n} for n in (1, 2)]
    reply = site.post(form([BROKEN, mine[0], {}, 7, mine[1], "x"]), "/messages")
    assert reply.status == 207
    results = reply.json()["results"]
    assert reply.json()["accepted"] == 2
    assert [list(result) for result in results] == [
        ["error"],
        ["id"],
        ["error"],
        ["error"],
        ["id"],
        ["error"],
    ]
    assert results[0]["error"].startswith("callsign: ")
    found = [one["_id"] for one in site.archived(f"SOME-{form.__name__}".upper())]
    assert sorted(found) == sorted([results[1]["id"], results[4]["id"]])


@FORMS
def test_a_batch_with_all_refused_is_400(site: Site, form: Any) -> None:
    before = site.written()
    reply = site.post(form([BROKEN, {}]), "/messages")
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["accepted"] == 0
    assert len(reply.json()["results"]) == 2
    assert site.written() == before


def test_a_batch_of_one_object_is_a_batch(site: Site) -> None:
    for tree in ({**TELEM, "callsign": "alone"},):
        for body in (json.dumps(tree).encode(), b" [ %b ] " % json.dumps(tree).encode()):
            reply = site.post(body, "/messages")
            assert (reply.status, reply.json()["accepted"]) == (200, 1)


def test_an_empty_array_is_a_batch_of_none(site: Site) -> None:
    reply = site.post(b"[]", "/messages")
    assert (reply.status, reply.json()) == (200, {"accepted": 0, "results": []})


@pytest.mark.parametrize("body", [b"", b" \r\n ", b"[", b"[1,]", b"[] []", b"]", b"[{}", b"[,]"])
def test_a_batch_that_can_not_be_read_is_400(site: Site, body: bytes) -> None:
    before = site.written()
    assert site.post(body, "/messages").status == 400
    assert site.written() == before


def test_a_body_of_more_parts_than_can_be_messages_is_refused_whole(site: Site) -> None:
    before = site.written()
    for body in (b"1\n" * 30_000, b"[" + b"1," * 30_000 + b"1]"):
        reply = site.post(body, "/messages")
        assert reply.status == 400
        assert "too many" in one_line(reply)
    assert site.written() == before


def test_one_line_that_is_not_json_spoils_no_other_line(site: Site) -> None:
    lines = as_lines([{**TELEM, "callsign": "lines", "time_created": n} for n in (1, 2)])
    first, second = lines.splitlines()
    reply = site.post(b"\n".join([first, b"{", b"\xff", second]), "/messages")
    assert reply.status == 207
    assert [next(iter(one)) for one in reply.json()["results"]] == ["id", "error", "error", "id"]
    assert len(site.archived("LINES")) == 2


def test_a_large_batch_is_taken_whole(site: Site) -> None:
    trees = [
        {"callsign": "large", "type": "LISTENER_INFO", "time_created": n, "time_uploaded": n}
        | {"data": {}}
        for n in range(900)
    ]
    body = as_lines(trees)
    assert 65536 < len(body) < MAX_BODY
    reply = site.post(body, "/messages")
    assert (reply.status, reply.json()["accepted"]) == (200, 900)
    ids = [result["id"] for result in reply.json()["results"]]
    assert sorted(one["_id"] for one in site.archived("LARGE")) == ids
