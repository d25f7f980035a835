"""The SCGI wire format: bytes in, requests out; replies to bytes. No I/O.

Source: the SCGI specification (https://python.ca/scgi/protocol.txt) for requests and RFC 3875
section 6 (CGI) for replies. A request is a netstring of NUL-terminated names and values,
CONTENT_LENGTH first, and then as many bytes of body.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

#: Digits of a netstring's length that are read before the request is given up as malformed.
MAX_LENGTH_DIGITS = 10
#: Headers are bytes of unknown encoding; latin-1 maps each to one character and back.
ENCODING = "latin-1"


class ScgiError(Exception):
    """A request that can't be read; ``status`` is the HTTP status that tells the client so."""

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


class RequestParser:
    """Reads one request out of pieces of any size. Used by one thread.

    ``max_headers`` and ``max_body`` are limits in bytes. Bytes after the body are ignored: SCGI
    carries one request a connection.
    """

    __slots__ = ("_body_at", "_buffer", "_end", "_headers", "_max_body", "_max_headers")

    def __init__(self, max_headers: int, max_body: int) -> None:
        self._max_headers = max_headers
        self._max_body = max_body
        self._buffer: bytes | bytearray = b""
        self._headers: dict[bytes, bytes] | None = None
        self._body_at = 0
        # Where the part that is now waited for ends, so that nothing is parsed again for each
        # piece: reading a request costs linear time however small its pieces are.
        self._end = 0

    def feed(self, data: bytes) -> Request | None:
        """Take the next piece; returns the request once it is whole. Raises ScgiError."""
        if self._buffer:
            if not isinstance(self._buffer, bytearray):
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        else:
            self._buffer = data
        if len(self._buffer) < self._end:
            return None
        if self._headers is None and not self._read_headers():
            return None
        if len(self._buffer) < self._end:
            return None
        assert self._headers is not None  # noqa: S101 (_read_headers has just set it)
        return Request(self._headers, bytes(self._buffer[self._body_at : self._end]))

    @property
    def started(self) -> bool:
        """Whether any byte has come."""
        return bool(self._buffer)

    def _read_headers(self) -> bool:
        """Read the headers if they are there; then ``_end`` is where the body ends."""
        buffer = self._buffer
        colon = buffer.find(b":", 0, MAX_LENGTH_DIGITS + 1)
        digits = bytes(buffer[: MAX_LENGTH_DIGITS if colon < 0 else colon])
        if not digits.isdigit() or (digits[:1] == b"0" and len(digits) > 1):
            raise ScgiError("SCGI: the request does not begin with a netstring's length")
        if colon < 0:
            if len(buffer) > MAX_LENGTH_DIGITS:
                raise ScgiError("SCGI: the netstring's length has too many digits")
            return False
        length = int(digits)
        if length > self._max_headers:
            raise HeadersTooLarge(
                f"headers: {length} bytes, over the limit of {self._max_headers} bytes"
            )
        comma = colon + 1 + length
        if len(buffer) <= comma:
            self._end = comma + 1
            return False
        if buffer[comma] != 0x2C:
            raise ScgiError("SCGI: no comma ends the headers' netstring")
        headers = parse_headers(bytes(buffer[colon + 1 : comma]))
        size = _content_length(headers)
        if size > self._max_body:
            raise BodyTooLarge(f"body: {size} bytes, over the limit of {self._max_body} bytes")
        self._headers = headers
        self._body_at = comma + 1
        self._end = self._body_at + size
        return True


def parse_headers(block: bytes) -> dict[bytes, bytes]:
    """The headers in a netstring's content. Raises ScgiError where it breaks the specification.

    The specification forbids a repeated name. Web servers still repeat an ``HTTP_`` one when the
    client sent the field on several lines; these are joined as RFC 9110 section 5.2 tells.
    """
    parts = block.split(b"\0")
    if parts.pop() or len(parts) % 2:
        raise ScgiError("SCGI: headers are not pairs of NUL-terminated name and value")
    names = parts[::2]
    headers = dict(zip(names, parts[1::2], strict=True))
    if not names or names[0] != b"CONTENT_LENGTH":
        raise ScgiError("SCGI: the first header is not CONTENT_LENGTH")
    if len(headers) != len(names):
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
            raise ScgiError(f"SCGI: the header {name[:64].decode(ENCODING)} stands twice")
    return headers


def _content_length(headers: dict[bytes, bytes]) -> int:
    value = headers[b"CONTENT_LENGTH"]
    # Only ASCII digits: int() would take signs, spaces and underscores. 18 digits are no real size.
    if not value.isdigit() or len(value) > 18:
        raise ScgiError("SCGI: CONTENT_LENGTH is not a number")
    return int(value)


def encode_request(headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request, as a web server sends them; CONTENT_LENGTH and SCGI are added."""
    pairs = {"CONTENT_LENGTH": str(len(body)), "SCGI": "1", **headers}
    block = "".join(f"{name}\0{value}\0" for name, value in pairs.items()).encode(ENCODING)
    return b"%d:%b,%b" % (len(block), block, body)


def encode_response(
    status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a reply (RFC 3875 section 6.3). Raises for values of other types."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"Status: {status:d} {_phrase(status)}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode(ENCODING) + body


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
