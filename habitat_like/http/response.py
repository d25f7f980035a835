"""What a request is answered with: responses, refusals, and their bytes. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from habitat_like.http import scgi
from habitat_like.steering.access import TooMany

if TYPE_CHECKING:
    from habitat_like.steering.maintenance import Closed


TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

#: Seconds after which a station that was told 503 may try again.
RETRY_AFTER = 5

#: The same while uploads are not taken on purpose.
RETRY_AFTER_MAINTENANCE = 60


#: Bytes of a body that may be one of a few that are sent again and again.
SHORT = 32


class Response(NamedTuple):
    """What a request is answered with."""

    status: int = 200
    body: bytes = b"OK"
    content_type: str = TEXT
    headers: Mapping[str, str] | None = None
    #: Called once the answer's batch is committed, or could not be, with whether it is durable.
    #: On the gateway's thread: it must neither wait nor raise.
    settled: Callable[[bool], None] | None = None
    #: A status of 400 and more means that nothing was taken; but not where this is so.
    partial: bool = False

    def encode(self) -> bytes:
        """The bytes for the web server. Raises what a value of the wrong type makes it raise."""
        return scgi.encode_response(self.status, self.body, self.content_type, self.headers)


class Reply(NamedTuple):
    """A response in bytes, ready to send; ``settled`` as in Response."""

    status: int
    data: bytes
    settled: Callable[[bool], None] | None = None
    partial: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether it says that nothing was taken: what was pushed is dropped then."""
        return self.status >= 400 and not self.partial


class Answers(Protocol):
    """Answers for clients of a protocol that has its own."""

    def instead_of(self, refusal: Response, request: scgi.Request) -> Response:
        """What such a client is answered in place of the gateway's own ``refusal``.

        Of the ``request`` there may be no more than the headers.
        """


#: Makes the reply of a refusal, in the words of one request's protocol.
Refuse = Callable[[Response], Reply]


class TooSlow(Exception):
    """On the gateway's thread: an action would compute for long, and wants another thread."""


def to_reply(response: Response) -> Reply:
    """Encode a response. Raises as ``Response.encode`` does."""
    if response is OK:
        return _OK_REPLY
    status, body, content_type, headers, settled, partial = response
    if headers is None and len(body) <= SHORT:
        reply = _short_reply(status, body, content_type, partial)
        return reply if settled is None else Reply(status, reply.data, settled, partial)
    return Reply(status, response.encode(), settled, partial)


@functools.lru_cache(maxsize=256)
def _short_reply(status: int, body: bytes, content_type: str, partial: bool) -> Reply:
    """A short answer: most of a protocol's are one of a few."""
    data = scgi.encode_response(status, body, content_type)
    return Reply(status, data, partial=partial)


OK = Response()
_OK_REPLY = Reply(OK.status, OK.encode())


class Refused(Exception):
    """A request that is answered with an error; the text is one line for the client."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers

    def response(self) -> Response:
        """The answer."""
        return Response(self.status, f"{self}\n".encode(errors="replace"), TEXT, self.headers)


def unavailable(reason: str) -> Response:
    """503: nothing was changed, and the same request may succeed after Retry-After seconds."""
    headers = {"Retry-After": str(RETRY_AFTER)}
    return Response(503, f"{reason}; try again later\n".encode(), TEXT, headers)


def crowded() -> Refused:
    """503: the bodies that are in the gateway leave no room for this one."""
    return Refused(
        503,
        "too many bytes of requests are waiting; try again later",
        {"Retry-After": str(RETRY_AFTER)},
    )


def closed_to_uploads(closed: Closed) -> Refused:
    """What an upload is answered while none is taken: a redirect, or 503 as ``unavailable``."""
    if closed.location is not None:
        headers = {"Location": closed.location}
    else:
        headers = {"Retry-After": str(RETRY_AFTER_MAINTENANCE)}
    return Refused(closed.status, closed.message, headers)


def too_many(error: TooMany) -> Refused:
    """429 with the seconds to wait."""
    return Refused(429, str(error), {"Retry-After": str(error.retry_after)})


def to_response(result: Any) -> Response:
    """What an action returned as a Response: text, bytes and JSON-able values are wrapped."""
    if isinstance(result, Response):
        return result
    if result is None:
        return OK
    if isinstance(result, str):
        return Response(200, result.encode())
    if isinstance(result, bytes):
        return Response(200, result, "application/octet-stream")
    return Response(200, msgspec.json.encode(result), JSON)
