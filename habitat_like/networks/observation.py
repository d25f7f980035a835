"""A request as a network sees it, and what the network makes of it. No I/O.

A network's decoder is one function from a Request to a Decoded: observations, and problems with
what could not be taken. The runner does the rest.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from habitat_like.message.facts import Position
from habitat_like.networks import forms

Scalar = str | int | float | bool

#: Whose clock an observation's time comes from: see ``runner``.
Rule = Literal["corrected", "trusted", "station", "gateway"]

#: Bytes of a query and form whose names may be kept for the next one.
SHORT = 8192

_FORM = "application/x-www-form-urlencoded"
#: How JSON, XML and nothing begin.
_NO_FORM = (b"{", b"[", b"<", b"")


class BadRequest(Exception):
    """None of the request can be read; ``text`` is one line for the client, with no secret."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@functools.lru_cache(maxsize=256)
def _variable(name: str) -> bytes:
    """The SCGI variable of a header field."""
    return b"HTTP_" + name.upper().replace("-", "_").encode("ascii", "replace")


class Headers:
    """The client's header fields in an SCGI request, by case-insensitive names."""

    __slots__ = ("_scgi",)

    def __init__(self, scgi: Mapping[bytes, bytes]) -> None:
        self._scgi = scgi

    def get(self, name: str, default: str = "") -> str:
        """The value of a field, ``default`` if there is none; one character per byte."""
        variable = _variable(name)
        value = self._scgi.get(variable)
        if value is None and variable == b"HTTP_CONTENT_TYPE":
            value = self._scgi.get(b"CONTENT_TYPE")
        return default if value is None else value.decode("latin-1")

    def starting(self, prefix: str) -> dict[str, str]:
        """The fields whose names start with ``prefix``, by lower-case name."""
        start = b"HTTP_" + prefix.upper().replace("-", "_").encode("ascii", "replace")
        return {
            name[5:].decode("latin-1").lower().replace("_", "-"): value.decode("latin-1")
            for name, value in self._scgi.items()
            if name.startswith(start)
        }

    def of_scgi(self, variable: bytes) -> str:
        """One of the web server's variables; "" if there is none."""
        return self._scgi.get(variable, b"").decode("latin-1")


_NONE = Headers({})


class Login(NamedTuple):
    """User name and password of Basic authentication."""

    user: str
    password: str

    def __repr__(self) -> str:
        """For logs and tests: without the password."""
        return f"Login({self.user!r})"


class Request:
    """One request. Anything expensive is computed on demand.

    ``path`` is decoded, from the site's root; ``route`` is the pattern of the route that it took,
    with the values of its ``variables``. ``target`` is the path and query as sent, "" if not known;
    ``query`` is the query as sent; both come from ``headers`` if not given. ``body`` is what was
    sent, decompressed. ``now`` is the gateway's clock in UNIX seconds. ``found`` is the network's
    own: what its decoder saw that its answer depends on, None until then.
    """

    __slots__ = (
        "_fields",
        "_query",
        "_target",
        "body",
        "found",
        "headers",
        "ip",
        "is_short",
        "method",
        "now",
        "path",
        "route",
        "variables",
    )

    def __init__(
        self,
        method: str,
        path: str,
        route: str = "",
        variables: dict[str, str] | None = None,
        headers: Headers | None = None,
        body: bytes = b"",
        ip: str | None = None,
        now: float = 0.0,
        *,
        target: str | None = None,
        query: str | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.route = route
        self._target = target
        self.variables = variables or {}
        self._query = query
        self.headers = headers or _NONE
        self.body = body
        self.ip = ip
        self.now = now
        self.found: Any = None
        #: Whether ``fields`` come from at most SHORT bytes; only after these.
        self.is_short = False
        self._fields: dict[str, str] | None = None

    @property
    def target(self) -> str:
        """Path and query as sent, one character per byte; "" if not known."""
        if self._target is None:
            self._target = self.headers.of_scgi(b"REQUEST_URI")
        return self._target

    @property
    def query(self) -> str:
        """The query as sent, one character per byte."""
        if self._query is None:
            self._query = self.headers.of_scgi(b"QUERY_STRING")
        return self._query

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the query, glued to the path or not, overridden by those of a form."""
        if self._fields is None:
            query = self.query
            if "=" in self.path and not query.strip("&"):
                query = forms.query_of(self.target)
            fields = forms.parse(query.encode("latin-1")) if query else {}
            form = self.body if self.body and self.is_form else b""
            if form:
                sent = forms.parse(form)
                fields = {**fields, **sent} if fields else sent
            self._fields = fields
            self.is_short = len(query) + len(form) <= SHORT
        return self._fields

    @property
    def plain_form(self) -> bytes | None:
        """All ``fields`` as a JSON object of texts, None if they can't be read like that.

        It is JSON only if each part of the query or form is a name and a value.
        """
        query = self.query
        if "=" in self.path or (query and self.body):
            return None
        if query:
            return forms.as_json(query.encode("latin-1"))
        return forms.as_json(self.body) if self.is_form else None

    @property
    def is_form(self) -> bool:
        """Whether the body looks like a form; the content type is only a hint."""
        if self.body.lstrip()[:1] in _NO_FORM:
            return False
        return self.body.find(b"=", 0, 4096) >= 0 or self.content_type == _FORM

    @property
    def content_type(self) -> str:
        """The body's type in lower case, without parameters; "" if none was sent."""
        return self.headers.get("content-type").partition(";")[0].strip().lower()

    @property
    def basic(self) -> Login | None:
        """User name and password of Basic authentication, None without it."""
        kind, _, text = self.headers.get("authorization").strip().partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            raw = binascii.a2b_base64(text.strip().encode("ascii", "replace"))
        except binascii.Error:
            return None
        try:
            user, _, password = raw.decode("utf-8").partition(":")
        except UnicodeDecodeError:
            user, _, password = raw.decode("latin-1").partition(":")
        return Login(user, password)

    @property
    def login(self) -> str | None:
        """The user name of Basic authentication."""
        basic = self.basic
        return None if basic is None else basic.user


class Observation(msgspec.Struct, kw_only=True, gc=False):
    """A future message, before its station is known to us.

    ``uploader`` is the station as sent, "" if nothing says so; ``secret`` means that it is a
    credential (PASSKEY, MAC address, key), which is never shown. ``time`` is in UNIX seconds by the
    clock that ``rule`` names, ``sent`` the station's clock when it was sent ("corrected" only).
    ``columns`` has values that were read together, and is archived in place of ``values``.
    ``missing`` lists the names of values without a reading (``nan``, ``--``), ``marks`` the reasons
    why it can't be right. ``extra`` has further keys of the archived data. ``data``, if given, is
    archived instead of the observation's usual shape. ``unique`` is the network's own identity of
    the message; its id is made from it, not from the data, so it omits what differs in a repeat.
    """

    type: str
    uploader: str = ""
    secret: bool = False
    time: float | None = None
    sent: float | None = None
    rule: Rule = "station"
    values: dict[str, Scalar] = {}
    columns: msgspec.Struct | None = None
    payload: str | None = None
    sensor: str | None = None
    position: Position | None = None
    raw: bytes | None = None
    missing: list[str] = []
    marks: list[str] = []
    extra: dict[str, Any] = {}
    data: Any = None
    unique: tuple[Scalar, ...] | None = None

    @property
    def raw_text(self) -> str:
        """``raw`` as archived."""
        return base64.b64encode(self.raw or b"").decode("ascii")


class Problem(msgspec.Struct, frozen=True):
    """A part of a request that was not taken: ``text`` is one line, with no secret in it.

    ``index`` is its place among the parts, from 0; ``item`` is the part itself, for networks that
    send it back.
    """

    index: int
    text: str
    item: Any = None


class Decoded(msgspec.Struct, frozen=True):
    """What a decoder made of a request."""

    observations: Sequence[Observation]
    problems: Sequence[Problem] = ()
