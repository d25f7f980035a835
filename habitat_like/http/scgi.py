"""The SCGI wire format: bytes in, requests out; replies to bytes. No I/O.

Source: the SCGI specification (https://python.ca/scgi/protocol.txt) for requests and RFC 3875
section 6 (CGI) for replies. A request is a netstring of NUL-terminated names and values,
CONTENT_LENGTH first, followed by that many bytes of body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus

#: Digits of a netstring's length to read before rejecting the request as malformed.
MAX_LENGTH_DIGITS = 10
#: Headers are bytes of unknown encoding; latin-1 maps each to one character and back.
ENCODING = "latin-1"
_COMMA = ord(",")
_LONGEST_START = MAX_LENGTH_DIGITS + len(b":CONTENT_LENGTH\0") + 18 + 1
# How a request begins. Only ASCII digits: int() would accept signs, spaces and underscores. A body
# length of more than 18 digits is not a real size.
_START = re.compile(
    rb"([1-9][0-9]{0,%d}):CONTENT_LENGTH\0([0-9]{1,18})\0" % (MAX_LENGTH_DIGITS - 1)
)
# What would end a reply's header field and begin another one (RFC 9110 section 5.5).
_BREAK = re.compile(r"[\r\n\0]")


class ScgiError(Exception):
    """A request that can't be read; ``status`` is the HTTP status for the client."""

    status = HTTPStatus.BAD_REQUEST


class HeadersTooLarge(ScgiError):
    """The headers are over the limit."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class BodyTooLarge(ScgiError):
    """The body is over the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Request:
    """One whole request: ``headers`` as bytes, names as the web server sent them, and ``body``."""

    __slots__ = ("body", "headers")

    def __init__(self, headers: dict[bytes, bytes], body: bytes) -> None:
        self.headers = headers
        self.body = body

    def get(self, name: bytes, default: str = "") -> str:
        """The value of a header as text."""
        value = self.headers.get(name)
        return default if value is None else value.decode(ENCODING)


def parse(data: bytes, max_headers: int, max_body: int) -> Request | int:
    """The request in ``data``, or, if there is more to come, how many bytes to try again with.

    ``max_headers`` and ``max_body`` are limits in bytes. Bytes after the body are ignored: SCGI
    carries one request per connection. Raises ScgiError.
    """
    start = _START.match(data)
    if start is None:
        return _wait_or_refuse(data, max_headers)
    length, size = int(start[1]), int(start[2])
    if length > max_headers:
        raise HeadersTooLarge(f"headers: {length} bytes, over the limit of {max_headers} bytes")
    if size > max_body:
        raise BodyTooLarge(f"body: {size} bytes, over the limit of {max_body} bytes")
    comma = start.end(1) + 1 + length
    if len(data) <= comma:
        return comma + 1
    if data[comma] != _COMMA:
        raise ScgiError("SCGI: the headers' netstring does not end with a comma")
    block = data[start.end(1) + 1 : comma]
    parts = block.split(b"\0")
    pairs = iter(parts)
    headers = dict(zip(pairs, pairs, strict=False))
    if (
        2 * len(headers) + 1 != len(parts)
        or parts[-1]
        or b"" in headers
        or headers.get(b"SCGI") != b"1"
    ):
        headers = parse_headers(block)
    end = comma + 1 + size
    return end if len(data) < end else Request(headers, data[comma + 1 : end])


class RequestParser:
    """Reads one request from pieces of any size, with the limits of ``parse``.

    Used by one thread. Nothing is parsed twice, so reading a request takes linear time however
    small its pieces are.
    """

    __slots__ = ("_body_at", "_buffer", "_max_body", "_max_headers", "_needed")

    def __init__(self, max_headers: int, max_body: int, data: bytes = b"") -> None:
        """``data`` has arrived already; ``parse`` found that it is not a whole request."""
        self._max_headers = max_headers
        self._max_body = max_body
        self._buffer = bytearray(data)
        self._needed = 0
        self._body_at = 0

    @property
    def body_size(self) -> int:
        """How many bytes of the body have arrived, 0 before all headers are there."""
        if not self._body_at:
            start = _START.match(self._buffer)
            if start is None:
                return 0
            self._body_at = start.end(1) + 1 + int(start[1]) + 1
        return max(len(self._buffer) - self._body_at, 0)

    @property
    def received(self) -> bytes:
        """What has arrived."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> Request | None:
        """Take the next piece; returns the request once it is whole. Raises ScgiError."""
        self._buffer += data
        if len(self._buffer) < self._needed:
            return None
        request = parse(bytes(self._buffer), self._max_headers, self._max_body)
        if isinstance(request, int):
            self._needed = request
            return None
        return request


def peek(data: bytes) -> Request | None:
    """The request that ``data`` begins, without its body; None unless its head is complete."""
    start = _START.match(data)
    if start is None:
        return None
    first = start.end(1) + 1
    comma = first + int(start[1])
    if data[comma : comma + 1] != b",":
        return None
    try:
        return Request(parse_headers(data[first:comma]), b"")
    except ScgiError:
        return None


def _wait_or_refuse(data: bytes, max_headers: int) -> int:
    """What ``parse`` does with a beginning that is not (yet) a complete first header."""
    colon = data.find(b":", 0, MAX_LENGTH_DIGITS + 1)
    digits = data[: MAX_LENGTH_DIGITS if colon < 0 else colon]
    if not digits.isdigit() or (digits[:1] == b"0" and len(digits) > 1):
        raise ScgiError("SCGI: the request does not begin with a netstring's length")
    if colon < 0:
        if len(data) > MAX_LENGTH_DIGITS:
            raise ScgiError("SCGI: the netstring's length has too many digits")
        return len(data) + 1
    length = int(digits)
    if length > max_headers:
        raise HeadersTooLarge(f"headers: {length} bytes, over the limit of {max_headers} bytes")
    comma = colon + 1 + length
    if len(data) <= comma:
        # The first header is evaluated as soon as it is there, in whatever pieces it arrives.
        return len(data) + 1 if len(data) < _LONGEST_START else comma + 1
    if data[comma] != _COMMA:
        raise ScgiError("SCGI: the headers' netstring does not end with a comma")
    parse_headers(data[colon + 1 : comma])
    raise ScgiError("SCGI: CONTENT_LENGTH is not a number")


def parse_headers(block: bytes) -> dict[bytes, bytes]:
    """The headers in a netstring's content. Raises ScgiError if it breaks the specification.

    The specification forbids repeated names. Web servers still repeat an ``HTTP_`` one when the
    client sent the field on several lines; these are joined as RFC 9110 section 5.2 says.
    """
    parts = block.split(b"\0")
    if parts.pop() or len(parts) % 2:
        raise ScgiError("SCGI: headers are not pairs of NUL-terminated names and values")
    names = parts[::2]
    if not names or names[0] != b"CONTENT_LENGTH":
        raise ScgiError("SCGI: the first header is not CONTENT_LENGTH")
    headers = _join_repeated(names, parts[1::2])
    if b"" in headers:
        raise ScgiError("SCGI: a header has no name")
    if headers.get(b"SCGI") != b"1":
        raise ScgiError("SCGI: no header SCGI with the value 1")
    return headers


def _join_repeated(names: list[bytes], values: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in zip(names, values, strict=True):
        if name not in headers:
            headers[name] = value
        elif name.startswith(b"HTTP_"):
            headers[name] += b", " + value
        else:
            shown = "".join(c if c.isprintable() else "?" for c in name[:64].decode(ENCODING))
            raise ScgiError(f"SCGI: the header {shown} appears twice")
    return headers


def encode_request(headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request, as a web server sends them; CONTENT_LENGTH and SCGI are added."""
    pairs = {"CONTENT_LENGTH": str(len(body)), "SCGI": "1", **headers}
    block = "".join(f"{name}\0{value}\0" for name, value in pairs.items()).encode(ENCODING)
    return b"%d:%b,%b" % (len(block), block, body)


def encode_response(
    status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a reply (RFC 3875 section 6.3).

    Raises ValueError for a line break in a header, and for values of other types.
    """
    fields = [("Content-Type", content_type), *(headers or {}).items()]
    if any(_BREAK.search(f"{name}{value}") for name, value in fields):
        raise ValueError("a header of the reply has a line break in it")
    more = "".join(f"{name}: {value}\r\n" for name, value in fields[1:])
    head = (
        f"Status: {status:d} {_phrase(status)}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode(ENCODING) + body


def encode_head(status: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes before a reply's body; ``status`` is code and phrase, such as ``200 OK``.

    Raises ValueError for a line break, which would begin another header.
    """
    lines = [("Status", status), *headers]
    if any(char in text for line in lines for text in line for char in "\r\n\0"):
        raise ValueError("a header has a line break in it")
    return "".join(f"{name}: {value}\r\n" for name, value in lines).encode(ENCODING) + b"\r\n"


def decode_response(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of a whole reply. Raises ScgiError."""
    head, blank, body = data.partition(b"\r\n\r\n")
    headers = {}
    for line in head.decode(ENCODING).split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            raise ScgiError("the reply has a header line without a colon")
        headers[name.strip().lower()] = value.strip()
    status = headers.get("status", "200")[:3]
    if not blank or not status.isdigit():
        raise ScgiError("the reply is cut off")
    if len(body) < int(headers.get("content-length", "0")):
        raise ScgiError("the reply's body is cut off")
    return int(status), headers, body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
