"""Limits of body and headers, and bodies that can't be decoded, through a real nginx."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.support.messages import GOOD, TELEM
from tests.support.reply import one_line
from tests.support.site import MAX_BODY, MAX_HEADERS, Site


def test_a_body_over_the_limit_is_413(site: Site) -> None:
    before = site.written()
    room = MAX_BODY - len(json.dumps({**TELEM, "more": ""}))
    for padding, status in ((room, 200), (room + 1, 413), (room + 60_000, 413)):
        reply = site.post({**TELEM, "callsign": "padded", "more": "x" * (padding - 1)})
        assert reply.status == status, padding
        if status == 413:
            assert str(MAX_BODY) in one_line(reply)
    # Beyond the margin that nginx passes on, the answer is nginx's own.
    assert site.post({**TELEM, "more": "x" * 300_000}).status == 413
    assert site.written() == before + 1


def test_the_limit_holds_for_a_compressed_body(site: Site) -> None:
    before = site.written()
    for padding, status in ((60_000, 200), (200_000, 413), (50_000_000, 413)):
        tree = {**TELEM, "callsign": "zipped", "more": "x" * padding}
        body = gzip.compress(json.dumps(tree).encode())
        assert len(body) < MAX_BODY
        reply = site.post(body, headers={"Content-Encoding": "gzip"})
        assert reply.status == status, padding
        if status == 413:
            one_line(reply)
    assert site.written() == before + 1


BAD_CODINGS = {
    "gzip of nothing": ("gzip", gzip.compress(b""), 400),
    "not gzip": ("gzip", GOOD, 400),
    "empty": ("gzip", b"", 400),
    "cut off": ("gzip", gzip.compress(GOOD)[:-5], 400),
    "junk behind it": ("gzip", gzip.compress(GOOD) + b"junk", 400),
    "many members": ("gzip", gzip.compress(b"") * 1000, 400),
    "a wrong sum": ("gzip", gzip.compress(GOOD)[:-8] + bytes(8), 400),
    "another coding": ("br", GOOD, 415),
    "two codings": ("gzip, gzip", gzip.compress(gzip.compress(GOOD)), 415),
}


@pytest.mark.parametrize("name", BAD_CODINGS)
def test_a_body_that_can_not_be_decoded_is_refused(site: Site, name: str) -> None:
    coding, body, status = BAD_CODINGS[name]
    before = site.written()
    reply = site.post(body, headers={"Content-Encoding": coding})
    assert reply.status == status
    one_line(reply)
    assert site.written() == before


def test_headers_over_the_limit_are_431(site: Site) -> None:
    before = site.written()
    reply = site.post(TELEM, headers={"X-Long": "x" * MAX_HEADERS})
    assert reply.status == 431
    assert str(MAX_HEADERS) in one_line(reply)
    assert site.written() == before
    assert site.post(TELEM, headers={"X-Long": "x" * 1000}).status == 200
