"""The SCGI parser: requests out of any pieces, the scgi package as oracle, bad bytes refused."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scgi.util import ns_reads, parse_env

from habitat_like.http import scgi

LIMIT = 65536

names = st.text(
    st.characters(codec="latin-1", exclude_characters="\0"), min_size=1, max_size=20
).filter(lambda name: name not in ("CONTENT_LENGTH", "SCGI"))
values = st.text(st.characters(codec="latin-1", exclude_characters="\0"), max_size=40)
headers = st.dictionaries(names, values, max_size=8)


def parse(*pieces: bytes) -> scgi.Request | None:
    parser = scgi.RequestParser(LIMIT, LIMIT)
    request = None
    for piece in pieces:
        request = parser.feed(piece)
    return request


@given(headers, st.binary(max_size=200))
def test_a_request_reads_as_the_scgi_package_reads_it(fields: dict[str, str], body: bytes) -> None:
    data = scgi.encode_request(fields, body)
    stream = io.BytesIO(data)
    expected = parse_env(ns_reads(stream))
    request = parse(data)
    assert request is not None
    assert {
        k.decode("latin-1"): v.decode("latin-1") for k, v in request.headers.items()
    } == expected
    assert request.body == stream.read() == body


@given(headers, st.binary(max_size=60), st.data())
def test_pieces_of_any_size_make_the_same_request(
    fields: dict[str, str], body: bytes, data: st.DataObject
) -> None:
    whole = scgi.encode_request(fields, body)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    parser = scgi.RequestParser(LIMIT, LIMIT)
    for piece in pieces[:-1]:
        assert parser.feed(piece) is None
    request = parser.feed(pieces[-1])
    assert request is not None
    assert request.body == body
    assert len(request.headers) == len(fields) + 2


def test_every_byte_boundary() -> None:
    whole = scgi.encode_request({"REQUEST_METHOD": "POST", "PATH_INFO": "/message"}, b'{"a":1}')
    for cut in range(1, len(whole)):
        request = parse(whole[:cut], whole[cut:])
        assert request is not None
        assert request.body == b'{"a":1}'


def test_bytes_after_the_body_are_no_part_of_it() -> None:
    request = parse(scgi.encode_request({}, b"body") + b"more")
    assert request is not None
    assert request.body == b"body"


@given(st.binary(max_size=300))
def test_any_bytes_give_a_request_or_wait_or_a_refusal(data: bytes) -> None:
    try:
        request = parse(data)
    except scgi.ScgiError as error:
        assert error.status in (400, 413, 431)  # noqa: PT017 (either outcome is right)
    else:
        assert request is None or isinstance(request.body, bytes)


def netstring(block: bytes) -> bytes:
    return b"%d:%b," % (len(block), block)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"x:", "netstring's length"),
        (b"GET / HTTP/1.1\r\n", "netstring's length"),
        (b":", "netstring's length"),
        (b"-5:", "netstring's length"),
        (b"012:", "netstring's length"),
        (b"12345678901234567:", "too many digits"),
        (b"3:abcd", "end with a comma"),
        (netstring(b""), "CONTENT_LENGTH"),
        (netstring(b"CONTENT_LENGTH\x000"), "pairs"),
        (netstring(b"CONTENT_LENGTH\0"), "pairs"),
        (netstring(b"SCGI\x001\0CONTENT_LENGTH\x000\0"), "first header"),
        (netstring(b"CONTENT_LENGTH\x000\0"), "no header SCGI"),
        (netstring(b"CONTENT_LENGTH\x000\0SCGI\x002\0"), "no header SCGI"),
        (netstring(b"CONTENT_LENGTH\0\0SCGI\x001\0"), "not a number"),
        (netstring(b"CONTENT_LENGTH\x00+5\0SCGI\x001\0"), "not a number"),
        (netstring(b"CONTENT_LENGTH\x001_0\0SCGI\x001\0"), "not a number"),
        (netstring(b"CONTENT_LENGTH\x000\0SCGI\x001\0\0v\0"), "no name"),
        (
            netstring(b"CONTENT_LENGTH\x000\0SCGI\x001\0CONTENT_LENGTH\x009\0"),
            "CONTENT_LENGTH appears twice",
        ),
        (
            netstring(b"CONTENT_LENGTH\x000\0SCGI\x001\0\x1b[2J\0a\0\x1b[2J\0b\0"),
            r"the header \?\[2J appears twice",
        ),
    ],
)
def test_what_breaks_the_specification_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(scgi.ScgiError, match=says) as caught:
        parse(data)
    assert caught.value.status == 400


def test_headers_over_the_limit_are_refused_before_they_are_read() -> None:
    with pytest.raises(scgi.HeadersTooLarge) as caught:
        parse(b"65537:")
    assert caught.value.status == 431


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(scgi.BodyTooLarge) as caught:
        parse(netstring(b"CONTENT_LENGTH\x0065537\0SCGI\x001\0"))
    assert caught.value.status == 413


def test_an_http_field_on_several_lines_is_joined() -> None:
    request = parse(netstring(b"CONTENT_LENGTH\x000\0SCGI\x001\0HTTP_VIA\0a\0HTTP_VIA\0b\0"))
    assert request is not None
    assert request.get(b"HTTP_VIA") == "a, b"


def test_a_reply_reads_back() -> None:
    data = scgi.encode_response(503, b"later\n", "text/plain", {"Retry-After": "5"})
    status, fields, body = scgi.decode_response(data)
    assert (status, fields["retry-after"], body) == (503, "5", b"later\n")
    assert fields["status"] == "503 Service Unavailable"


@pytest.mark.parametrize("data", [b"", b"Status: 200 OK\r\n", b"Content-Length: 5\r\n\r\nabc"])
def test_a_reply_that_is_cut_off_is_told(data: bytes) -> None:
    with pytest.raises(scgi.ScgiError):
        scgi.decode_response(data)
