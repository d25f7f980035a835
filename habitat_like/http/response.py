"""Answers to requests: responses, refusals, and their bytes. No I/O."""

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

#: Seconds after which a station that got 503 may try again.
RETRY_AFTER = 5

#: The same while uploads are deliberately closed.
RETRY_AFTER_MAINTENANCE = 60


#: The most bytes of a body that may be one of the few that are sent again and again.
SHORT = 32


class Response(NamedTuple):
    """An answer to a request."""

    status: int = 200
    body: bytes = b"OK"
    content_type: str = TEXT
    headers: Mapping[str, str] | None = None
    #: Called with whether the answer's batch is durable, once committing it succeeded or failed.
    #: On the gateway's thread: it must neither wait nor raise.
    settled: Callable[[bool], None] | None = None
    #: A status of 400 or more means that nothing was taken, unless this is set.
    partial: bool = False

    def encode(self) -> bytes:
        """The bytes for the web server. Raises whatever a value of the wrong type causes."""
        return scgi.encode_response(self.status, self.body, self.content_type, self.headers)


class Reply(NamedTuple):
    """A response in bytes, ready to send; ``settled`` as in Response."""

    status: int
    data: bytes
    settled: Callable[[bool], None] | None = None
    partial: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether it says that nothing was taken: what was pushed is then dropped."""
        return self.status >= 400 and not self.partial


class Answers(Protocol):
    """Answers for clients of a protocol with its own answers."""

    def instead_of(self, refusal: Response, request: scgi.Request) -> Response:
        """The answer that such a client gets instead of the gateway's own ``refusal``.

        The ``request`` may have only its headers, and none where the refusal is a 503.
        """


#: Makes the reply for a refusal with 503, in the request's protocol.
Refuse = Callable[[Response], Reply]


class TooSlow(Exception):
    """On the gateway's thread: an action would compute for long and needs another thread."""


def to_reply(response: Response) -> Reply:
    """Encode a response. Raises as ``Response.encode`` does."""
    if response is OK:
        return _OK_REPLY
    if response.headers is None and response.settled is None and len(response.body) <= SHORT:
        return _short_reply(response)
    return Reply(response.status, response.encode(), response.settled, response.partial)


@functools.lru_cache(maxsize=256)
def _short_reply(response: Response) -> Reply:
    """A short answer: most of a protocol's answers are one of a few."""
    return Reply(response.status, response.encode(), partial=response.partial)


def refuse_without(answers: Answers, refusal: Response) -> Reply:
    """The reply for a ``refusal`` with 503 to a request that is no longer kept."""
    return to_reply(answers.instead_of(refusal, _GONE))


_GONE = scgi.Request({}, b"")

OK = Response()
_OK_REPLY = Reply(OK.status, OK.encode())


class Refused(Exception):
    """A request answered with an error; the text is one line for the client."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers

    def response(self) -> Response:
        """The answer."""
        return Response(self.status, f"{self}\n".encode(errors="replace"), TEXT, self.headers)


def unavailable(reason: str) -> Response:
    """503: nothing changed, and the same request may succeed after Retry-After seconds."""
    headers = {"Retry-After": str(RETRY_AFTER)}
    return Response(503, f"{reason}; try again later\n".encode(), TEXT, headers)


def crowded() -> Refused:
    """503: the bodies in the gateway leave no room for this one."""
    return Refused(
        503,
        "too many bytes of requests are waiting; try again later",
        {"Retry-After": str(RETRY_AFTER)},
    )


def closed_to_uploads(closed: Closed) -> Refused:
    """The answer to an upload while none is taken: a redirect, or 503 as ``unavailable``."""
    if closed.location is not None:
        headers = {"Location": closed.location}
    else:
        headers = {"Retry-After": str(RETRY_AFTER_MAINTENANCE)}
    return Refused(closed.status, closed.message, headers)


def too_many(error: TooMany) -> Refused:
    """429 with the seconds to wait."""
    return Refused(429, str(error), {"Retry-After": str(error.retry_after)})


def to_response(result: Any) -> Response:
    """An action's return value as a Response: text, bytes and JSON-able values are wrapped."""
    if isinstance(result, Response):
        return result
    if result is None:
        return OK
    if isinstance(result, str):
        return Response(200, result.encode())
    if isinstance(result, bytes):
        return Response(200, result, "application/octet-stream")
    return Response(200, msgspec.json.encode(result), JSON)
