"""SCGIHandler: one request, from its SCGI headers to its response. No I/O."""

from __future__ import annotations

import contextlib
import functools
import logging
import zlib
from collections.abc import Callable

from habitat_like.config.addresses import plain
from habitat_like.http import scgi
from habitat_like.http.actions import Action, Args, Lane
from habitat_like.http.response import (
    Refuse,
    Refused,
    Reply,
    Response,
    TooSlow,
    closed_to_uploads,
    crowded,
    refuse_without,
    to_reply,
    to_response,
    too_many,
    unavailable,
)
from habitat_like.http.site import Site
from habitat_like.message.message import InvalidMessage
from habitat_like.message_server import BacklogFull, MessageTooLarge
from habitat_like.steering.access import Admission, Denied, TooMany

log = logging.getLogger(__name__)

#: Bodies over this many bytes, and compressed ones, go to the bulk lane: reading them would keep
#: everybody else waiting.
FAST_BODY = 65536

#: Members that a gzip body may have: each costs a copy of what follows.
MAX_MEMBERS = 100
#: The body limit is divided into this many pieces, and the room left is checked after each. Each
#: piece costs a copy of what is not decompressed yet.
PIECES = 16


class SCGIHandler:
    """Handles one request in the steps ``read_scgi_req``, ``check_scgi_environ``, ``perform_req``.

    ``request`` is the whole request, ``client_address`` the peer's address or None to use the web
    server's REMOTE_ADDR, ``server`` the Site (an SCGIApplication) whose actions may be called, kept
    as ``site``.
    Used by one thread at a time.
    """

    __slots__ = (
        "action",
        "admission",
        "body",
        "held",
        "ip",
        "is_fast",
        "method",
        "name",
        "path",
        "request",
        "site",
    )

    def __init__(self, request: scgi.Request, client_address: str | None, server: Site) -> None:
        self.request = request
        self.ip = client_address
        self.site = server
        self.setup()

    def setup(self) -> None:
        """Start with nothing known about the request."""
        self.action: Action | None = None
        self.name = "unknown"
        self.method = ""
        self.path = ""
        self.body = b""
        #: Whether its action, if a fast one, can answer in the fast lane.
        self.is_fast = True
        self.admission: Admission | None = None
        # Bytes of room taken for the body.
        self.held = 0

    def handle(self) -> Reply | None:
        """The reply, or None for a request of a lane other than ``fast`` (``handle_slow``)."""
        try:
            self.read_scgi_req()
            self.check_scgi_environ()
            if len(self.body) > self.site.bodies.room:
                raise crowded()
            if self.lane != "fast":
                return None
            return self.perform_req()
        except TooSlow:
            self.is_fast = False
            return None
        except Exception as error:
            return self._failed(error)

    def handle_slow(self) -> Reply:
        """The reply to a request for which ``handle`` returned None."""
        try:
            return self.perform_req()
        except Exception as error:
            return self._failed(error)

    def hold(self) -> bool:
        """Take room for the body, which is kept from now on; False if there is none.

        ``release`` gives it back, once, when the request is answered and nothing works on it.
        """
        if not self.site.bodies.take(len(self.body)):
            return False
        self.held = len(self.body)
        return True

    def release(self) -> None:
        """Give back the room that the body took."""
        self.site.bodies.give(self.held)
        self.held = 0

    def read_scgi_req(self) -> None:
        """Read method, path, address and body out of the SCGI request."""
        headers = self.request.headers
        self.method = headers.get(b"REQUEST_METHOD", b"").decode(scgi.ENCODING)
        # An empty variable is as good as none (RFC 3875 section 4.1).
        path = headers.get(b"PATH_INFO")
        if not path:
            path = headers.get(b"DOCUMENT_URI", b"").removeprefix(headers.get(b"SCRIPT_NAME", b""))
        self.path = path.decode(scgi.ENCODING)
        if self.ip is None:
            self.ip = headers.get(b"REMOTE_ADDR", b"").decode(scgi.ENCODING)
        if ":" in self.ip:
            self.ip = plain(self.ip)
        self.body = self.request.body

    def check_scgi_environ(self) -> None:
        """Find the action, and check whether this client may call it now.

        Raises Refused for an unknown path or method and in maintenance, Denied and TooMany.
        """
        site = self.site
        action, self.path = site.find(self.method, self.path)
        self.name = action.name or "index"
        self.action = action
        if action.upload:
            if site.steering.closed is not None:
                raise closed_to_uploads(site.steering.closed)
            if site.access.active:
                self.admission = site.access.enter(self.ip)

    @property
    def lane(self) -> Lane:
        """The action's lane for this body: a large or compressed one can't use the fast lane.

        Only after ``check_scgi_environ``.
        """
        assert self.action is not None  # noqa: S101 (check_scgi_environ has set it)
        lane = self.action.lane
        if lane == "fast" and (
            not self.is_fast
            or len(self.body) > FAST_BODY
            or b"HTTP_CONTENT_ENCODING" in self.request.headers
        ):
            return "bulk"
        return lane

    def perform_req(self) -> Reply:
        """Decode the body, call the action, encode what it returned.

        Raises Refused, whatever the action raises, and what an outcome that is no response raises.
        """
        assert self.action is not None  # noqa: S101 (check_scgi_environ has set it)
        headers = self.request.headers
        encoding = headers.get(b"HTTP_CONTENT_ENCODING")
        lane = self.lane
        if encoding is not None:
            self.body = self._decode(encoding)
        args = Args(self.body, self.method, self.path, headers, lane)
        if self.admission is None:
            result = self.action.call(self.site.application, self.ip, args)
        else:
            with self.site.server.admitted(self.admission.admit):
                result = self.action.call(self.site.application, self.ip, args)
        return to_reply(to_response(result))

    def _decode(self, encoding: bytes) -> bytes:
        """The decoded body, with room taken for it. Raises Refused."""

        def grow(size: int) -> None:
            more = size - self.held
            if more > 0:
                if not self.site.bodies.take(more):
                    raise crowded()
                self.held = size

        body = decode_body(self.body, encoding, self.site.limits.max_body, grow)
        # The compressed one is no longer needed.
        self.request = scgi.Request(self.request.headers, b"")
        return body

    def refuse(self, refusal: Response) -> Reply:
        """The reply, in its own protocol, to a request that the gateway can't serve.

        Raises whatever encoding the refusal raises.
        """
        if self.action is not None and self.action.answers is not None:
            refusal = self.action.answers.instead_of(refusal, self.request)
        return to_reply(refusal)

    @property
    def own_refuse(self) -> Refuse | None:
        """What refuses with 503, if the request's protocol has its own answers.

        It waits for the commit in place of the request: with hundreds of these alive, each new one
        would take memory that is in no cache.
        """
        answers = None if self.action is None else self.action.answers
        return None if answers is None else functools.partial(refuse_without, answers)

    def _failed(self, error: Exception) -> Reply:
        try:
            refusal = _refusal(error)
            if refusal is not None:
                return self.refuse(refusal)
        except Exception as second:  # an action's own refusal that can't be encoded
            error = second
        log.error("action failed", extra={"action": self.name}, exc_info=error)
        try:
            return self.refuse(_FAILED)
        except Exception:
            log.exception("answers failed", extra={"action": self.name})
            return to_reply(_FAILED)


def _refusal(error: Exception) -> Response | None:
    """The answer to a request refused with ``error``, None for one that failed."""
    if isinstance(error, BacklogFull):
        return unavailable(str(error))
    if isinstance(error, TooMany):
        return too_many(error).response()
    if isinstance(error, Refused):
        return error.response()
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), None)
    return None if status is None else Refused(status, str(error)).response()


#: The status of errors whose text says what is wrong.
_STATUS = {InvalidMessage: 400, Denied: 403, MessageTooLarge: 413}

_FAILED = Response(500, b"the action failed; the gateway's log says why\n")


def find_unread(request: scgi.Request | None, site: Site) -> SCGIHandler:
    """The handler of an incompletely read request, to refuse it.

    ``request`` has its headers; None if even these are missing.
    """
    handler = SCGIHandler(request or scgi.Request({}, b""), None, site)
    if request is not None:
        handler.read_scgi_req()
        with contextlib.suppress(Refused):
            handler.action, _ = site.find(handler.method, handler.path)
            handler.name = handler.action.name or "index"
    return handler


def decode_body(
    body: bytes, encoding: bytes, limit: int, grow: Callable[[int], None] = lambda _: None
) -> bytes:
    """Undo a Content-Encoding; ``limit`` bounds the decoded body, in bytes. Raises Refused.

    ``grow`` gets the number of bytes so far, and stops decoding by raising an exception.
    """
    coding = encoding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding not in (b"gzip", b"x-gzip"):
        raise Refused(415, "Content-Encoding: only gzip is understood", {"Accept-Encoding": "gzip"})
    decoded = bytearray()
    rest = body
    piece = limit // PIECES + 1
    for _ in range(MAX_MEMBERS):
        if not rest:
            return bytes(decoded)
        # 16 + MAX_WBITS: a gzip header and trailer; RFC 1952 allows several members in a row.
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        while not member.eof:
            before = len(decoded)
            try:
                decoded += member.decompress(rest, piece)
            except zlib.error:
                raise Refused(400, "body: not valid gzip") from None
            if len(decoded) > limit:
                raise Refused(413, f"body: over the limit of {limit} bytes once decompressed")
            grow(len(decoded))
            rest = member.unconsumed_tail
            if len(decoded) == before and not rest and not member.eof:
                raise Refused(400, "body: the gzip data is cut off")
        # Only zeros may follow; gzip itself and 'habitat import' accept them too.
        rest = member.unused_data.lstrip(b"\0")
    raise Refused(400, f"body: more than {MAX_MEMBERS} gzip members")
