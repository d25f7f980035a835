"""SCGIHandler: one request, from its SCGI headers to its response. No I/O."""

from __future__ import annotations

import logging
import zlib

from habitat_like.http import scgi
from habitat_like.http.actions import Action, Args, Lane
from habitat_like.http.response import (
    Refused,
    Reply,
    Response,
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

#: Bodies over this many bytes, and compressed ones, are for the bulk lane: reading them would keep
#: everybody else waiting.
FAST_BODY = 65536

#: Members that a gzip body may have: each costs a copy of what follows it.
MAX_MEMBERS = 100


class SCGIHandler:
    """Handles one request in the steps ``read_scgi_req``, ``check_scgi_environ``, ``perform_req``.

    ``request`` is the whole request, ``client_address`` the peer's address or None to take the
    web server's REMOTE_ADDR, ``server`` the Site (an SCGIApplication) whose actions may be called,
    which is ``site`` from then on.
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
        "site",
    )

    def __init__(self, request: scgi.Request, client_address: str | None, server: Site) -> None:
        self.request = request
        self.ip = client_address
        self.site = server
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
        """The reply, or None for a request of another lane than ``fast`` (``handle_slow``)."""
        try:
            self.read_scgi_req()
            self.check_scgi_environ()
            if self.lane != "fast":
                return None
            return self.perform_req()
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
        name, _, rest = self.path.removeprefix("/").partition("/")
        action = self.site.routes.get(name)
        if action is None or (rest and not action.subpaths):
            names = ", ".join(f"/{known}" for known in self.site.actions)
            raise Refused(404, f"no action at this path; there are: {names}")
        self.name = name or "index"
        if self.method not in action.methods:
            allow = ", ".join(action.methods)
            raise Refused(405, f"/{name} takes {allow}, not {self.method[:32]!r}", {"Allow": allow})
        closed = self.site.steering.closed
        if closed is not None and name in self.site.actions:
            raise closed_to_uploads(closed)
        if self.site.access.active and name in self.site.actions:
            self.admission = self.site.access.enter(self.ip)
        self.action = action
        self.path = rest

    @property
    def lane(self) -> Lane:
        """Where the action runs on this body: a large or compressed one is not for the fast lane.

        Only after ``check_scgi_environ``.
        """
        assert self.action is not None  # noqa: S101 (check_scgi_environ has set it)
        lane = self.action.lane
        if lane == "fast" and (
            len(self.body) > FAST_BODY or b"HTTP_CONTENT_ENCODING" in self.request.headers
        ):
            return "bulk"
        return lane

    def perform_req(self) -> Reply:
        """Decode the body, call the action, encode what it returned.

        Raises Refused, whatever the action raises, and for an outcome that is no response too.
        """
        assert self.action is not None  # noqa: S101 (check_scgi_environ has set it)
        headers = self.request.headers
        encoding = headers.get(b"HTTP_CONTENT_ENCODING")
        if encoding is not None:
            self.body = decode_body(self.body, encoding, self.site.limits.max_body)
        args = Args(self.body, self.method, self.path, headers)
        if self.admission is None:
            result = self.action.call(self.site.application, self.ip, args)
        else:
            with self.site.server.admitted(self.admission):
                result = self.action.call(self.site.application, self.ip, args)
        return to_reply(to_response(result))

    def _failed(self, error: Exception) -> Reply:
        try:
            if isinstance(error, InvalidMessage):
                return to_reply(Refused(400, str(error)).response())
            if isinstance(error, Refused):
                return to_reply(error.response())
            if isinstance(error, Denied):
                return to_reply(Refused(403, str(error)).response())
            if isinstance(error, TooMany):
                return to_reply(too_many(error).response())
            if isinstance(error, BacklogFull):
                return to_reply(unavailable("the backlog is full"))
        except Exception as second:  # an action's own refusal that can't be encoded
            error = second
        log.error("action failed", extra={"action": self.name}, exc_info=error)
        return _FAILED


_FAILED = to_reply(Response(500, b"the action failed; the gateway's log says why\n"))


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
