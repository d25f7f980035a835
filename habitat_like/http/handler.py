"""SCGIHandler: one request, from its SCGI headers to its response. No I/O."""

from __future__ import annotations

import logging
import zlib

from habitat_like.http import scgi
from habitat_like.http.actions import Action, Args
from habitat_like.http.response import (
    Refused,
    Reply,
    Response,
    TooSlow,
    closed_to_uploads,
    to_reply,
    to_response,
    too_many,
    unavailable,
)
from habitat_like.http.site import Site
from habitat_like.message.message import InvalidMessage
from habitat_like.message_server import BacklogFull
from habitat_like.steering.access import Admission, Denied, TooMany

log = logging.getLogger(__name__)

#: Bodies over this many bytes, and compressed ones, are handled on the slow lane: reading them
#: would keep everybody else waiting.
FAST_BODY = 65536


#: Members that a gzip body may have: each costs a copy of what follows it.
MAX_MEMBERS = 100


class SCGIHandler:
    """Handles one request in the steps ``read_scgi_req``, ``check_scgi_environ``, ``perform_req``.

    ``request`` is the whole request, ``client_address`` the peer's address or None to take the
    web server's REMOTE_ADDR, ``server`` the Site (an SCGIApplication) whose actions may be called.
    Used by one thread at a time.
    """

    __slots__ = (
        "action",
        "admission",
        "body",
        "ip",
        "method",
        "name",
        "path",
        "request",
        "server",
    )

    def __init__(self, request: scgi.Request, client_address: str | None, server: Site) -> None:
        self.request = request
        self.ip = client_address
        self.server = server
        self.setup()

    def setup(self) -> None:
        """Begin with nothing known of the request."""
        self.action: Action | None = None
        self.name = "unknown"
        self.method = ""
        self.path = ""
        self.body = b""
        self.admission: Admission | None = None

    def handle(self) -> Reply | None:
        """The reply, or None for a request that belongs on the slow lane (``handle_slow``)."""
        try:
            self.read_scgi_req()
            self.check_scgi_environ()
            if not self.is_fast():
                return None
            return self.perform_req(fast=True)
        except TooSlow:
            return None
        except Exception as error:
            return self._failed(error)

    def handle_slow(self) -> Reply:
        """The reply to a request for which ``handle`` returned None."""
        try:
            return self.perform_req()
        except Exception as error:
            return self._failed(error)

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
        self.body = self.request.body

    def check_scgi_environ(self) -> None:
        """Find the action, and see whether it may be called now, and from there.

        Raises Refused for an unknown path or method and in maintenance, Denied and TooMany.
        """
        site = self.server
        action, self.path = site.find(self.method, self.path)
        self.name = action.name or "index"
        self.action = action
        if action.upload:
            if site.steering.closed is not None:
                raise closed_to_uploads(site.steering.closed)
            if site.access.active:
                self.admission = site.access.enter(self.ip)

    def is_bulk(self) -> bool:
        """Whether the action only computes, so that on the slow lane it waits for no other."""
        return self.action is not None and (self.action.fast or self.action.bulk)

    def is_fast(self) -> bool:
        """Whether the gateway's thread may run the action on this body."""
        return (
            self.action is not None
            and self.action.fast
            and len(self.body) <= FAST_BODY
            and b"HTTP_CONTENT_ENCODING" not in self.request.headers
        )

    def perform_req(self, fast: bool = False) -> Reply:
        """Decode the body, call the action, encode what it returned.

        ``fast``: on the gateway's thread. Raises Refused, whatever the action raises, and for an
        outcome that is no response too.
        """
        assert self.action is not None  # noqa: S101 (check_scgi_environ has set it)
        headers = self.request.headers
        encoding = headers.get(b"HTTP_CONTENT_ENCODING")
        if encoding is not None:
            self.body = decode_body(self.body, encoding, self.server.limits.max_body)
        args = Args(self.body, self.method, self.path, headers, fast)
        if self.admission is None:
            result = self.action.call(self.server.application, self.ip, args)
        else:
            with self.server.server.admitted(self.admission):
                result = self.action.call(self.server.application, self.ip, args)
        return to_reply(to_response(result))

    def refuse(self, refusal: Response) -> Reply:
        """The reply to a request that the gateway can't serve, in the words of its protocol.

        Raises what a refusal that can't be encoded makes it raise.
        """
        if self.action is not None and self.action.answers is not None:
            refusal = self.action.answers.instead_of(refusal)
        return to_reply(refusal)

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
    """The answer to what an action may raise, None for what it may not."""
    if isinstance(error, InvalidMessage):
        return Refused(400, str(error)).response()
    if isinstance(error, Refused):
        return error.response()
    if isinstance(error, Denied):
        return Refused(403, str(error)).response()
    if isinstance(error, TooMany):
        return too_many(error).response()
    if isinstance(error, BacklogFull):
        return unavailable("the backlog is full")
    return None


_FAILED = Response(500, b"the action failed; the gateway's log says why\n")


def refuse_unread(request: scgi.Request | None, refusal: Response, site: Site) -> tuple[str, Reply]:
    """The name and the reply for a request that is not read to its end; None: not even its head."""
    if request is None:
        return "unknown", to_reply(refusal)
    handler = SCGIHandler(request, None, site)
    handler.read_scgi_req()
    try:
        handler.action, _ = site.find(handler.method, handler.path)
    except Refused:
        return "unknown", to_reply(refusal)
    handler.name = handler.action.name or "index"
    return handler.name, handler.refuse(refusal)


def decode_body(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Undo a Content-Encoding; ``limit`` bounds the decoded body, in bytes. Raises Refused."""
    coding = encoding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding not in (b"gzip", b"x-gzip"):
        raise Refused(415, "Content-Encoding: only gzip is understood", {"Accept-Encoding": "gzip"})
    decoded = b""
    rest = body
    for _ in range(MAX_MEMBERS):
        if not rest:
            return decoded
        # 16 + MAX_WBITS: a gzip header and trailer; RFC 1952 allows several members in a row.
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            decoded += member.decompress(rest, limit + 1 - len(decoded))
        except zlib.error:
            raise Refused(400, "body: not valid gzip") from None
        if len(decoded) > limit:
            raise Refused(413, f"body: over the limit of {limit} bytes once decompressed")
        if not member.eof:
            raise Refused(400, "body: the gzip data is cut off")
        rest = member.unused_data
    raise Refused(400, f"body: more than {MAX_MEMBERS} gzip members")
