"""Network: what a network declares, and the answers of its family. No I/O.

A network is a protocol of other people's stations. Its class declares the paths they use, what
they send, and how they react to each answer; ``runner`` runs it. A network is one file or folder
in this package, or an operator's own module (docs/extending.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Literal, NamedTuple

import msgspec

from habitat_like.http.response import JSON, TEXT, Response
from habitat_like.message.message import Message
from habitat_like.networks.observation import Decoded, Problem, Request

#: What a client does if the answer is not a success. It forgets what it sent,
FIRE_AND_FORGET: Final = "fire and forget"
#: resends it forever, before everything else,
STUBBORN: Final = "stubborn"
#: or knows that 4xx means never and 5xx means later.
CAREFUL: Final = "careful"

Family = Literal["fire and forget", "stubborn", "careful"]

#: On the gateway's thread: must neither wait nor compute for long.
FAST: Final = "fast"
#: On the bulk thread: computes for milliseconds, and waits for nothing.
BULK: Final = "bulk"

Lane = Literal["fast", "bulk"]


#: Stages a message.
Push = Callable[[Message], object]
#: Called with a station's callsign, and what could not be taken from it.
Note = Callable[[str | None, str], None]


class Route(NamedTuple):
    """A way in: ``methods`` such as ``"GET,POST"``, and the ``pattern`` of the path.

    In a pattern ``{name}`` is any one part of a path, and ``*`` at its end whatever follows, even
    nothing. ``glued``: a query may follow without a question mark. ``probe`` names a method of the
    network, ``(request) -> Response``, that answers requests which upload nothing.
    """

    methods: str
    pattern: str
    glued: bool = False
    lane: Lane = BULK
    probe: str | None = None


class NetworkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys that every network has below ``networks.NAME``.

    ``unknown`` is how to treat stations that are not in the ``stations`` file.
    """

    unknown: Literal["accept", "suspicious", "refuse"] = "accept"


class Outcome(msgspec.Struct, frozen=True):
    """What became of a request's parts: the ``messages``, and the ``problems``."""

    messages: list[Message]
    problems: list[Problem]


class Recipe(NamedTuple):
    """How to point a device here: ``title`` names it, ``lines`` are label and text to type."""

    title: str
    lines: tuple[tuple[str, str], ...]


class Network:
    """Base of all networks. Used by several threads at once; holds no per-request state.

    A subclass sets the attributes declared first, and implements ``decode``. Its answers are those
    of its ``family`` unless it overrides them. An answer is small, and never a redirect.
    """

    #: Its name in the configuration.
    name: ClassVar[str]
    #: The types of the messages it makes.
    types: ClassVar[tuple[str, ...]]
    family: ClassVar[Family] = FIRE_AND_FORGET
    routes: ClassVar[tuple[Route, ...]]
    #: What is below ``networks.NAME`` in the configuration.
    Settings: ClassVar[type[msgspec.Struct]] = NetworkSettings
    #: The status of ``overload``.
    overload_status: ClassVar[int] = 503
    #: Whether a client sends a secret in the query, which nginx must not log.
    secret_query: ClassVar[bool] = False
    #: Whether its stations' identities are credentials.
    secret_identity: ClassVar[bool] = False
    #: Its own list of stations, instead of the ``stations`` file.
    station_list: ClassVar[StationList | None] = None
    #: Whether some clients have no TLS, and don't follow redirects to it either.
    plain_http: ClassVar[bool] = False

    def __init__(self, settings: Any, loaded: Any = None) -> None:
        """``loaded`` is what ``load`` returned for the ``settings``."""
        self.settings = settings

    @classmethod
    def load(cls, settings: Any) -> Any:
        """Read the files that the settings name. Raises ConfigError."""
        return None

    def configure(self, settings: Any, loaded: Any) -> None:
        """Put new settings, and what ``load`` returned for them, in force."""
        self.settings = settings

    # -- what a request is

    def credential(self, request: Request) -> str | None:
        """The secret that the client sent with its identity, None if none; see ``stations``.

        It is compared with the station's ``secret`` in the ``stations`` file, if it has one.
        """
        basic = request.basic
        return None if basic is None else basic.password

    def decode(self, request: Request) -> Decoded:
        """What the request contains. Raises BadRequest if none of it can be read.

        A part that can't be read is a Problem, and the others are taken. Any other exception is a
        bug in the decoder: it is logged, and answered as ``refused``.
        """
        raise TypeError(f"{type(self).__name__} has no decode")

    def serve(self, request: Request, push: Push, note: Note) -> Response:
        """Handle the whole request: only for a network that can't be written as ``decode``.

        ``push`` stages a message; it raises BacklogFull, Denied and TooMany, which are passed on.
        ``note`` gets what could not be taken: the station, None if not known, and why.
        """
        raise TypeError(f"{type(self).__name__} has no serve")

    # -- answers

    def success(self, request: Request, outcome: Outcome) -> Response:
        """Everything was taken, or there was nothing to take."""
        return Response(200, b"OK", TEXT)

    def partial(self, request: Request, outcome: Outcome) -> Response:
        """Some parts were taken; there are problems with others."""
        return self.success(request, outcome)

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """Nothing could be taken: ``status`` and ``text`` say why, if anyone wants to know."""
        if self.family == STUBBORN:
            return self.success(request, outcome)
        return Response(status, f"{text}\n".encode(errors="replace"), TEXT)

    def wrong_key(self, request: Request) -> Response:
        """The credential is wrong or missing, or the station may not upload."""
        return Response(401, b"unknown station or wrong key\n", TEXT)

    def denied(self, text: str) -> Response:
        """The access rules keep this address or callsign out; nothing was taken."""
        if self.family == STUBBORN:
            return self.success(Request("", ""), Outcome([], []))
        return Response(403, f"{text}\n".encode(errors="replace"), TEXT)

    def overload(self, text: str, retry_after: int) -> Response:
        """Nothing can be taken now, but perhaps in ``retry_after`` seconds."""
        headers = {"Retry-After": str(retry_after)}
        return Response(self.overload_status, f"{text}\n".encode(errors="replace"), TEXT, headers)

    # -- for people

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """How to point devices at this server, whose name is ``host``."""
        return ()

    def status(self, now: float) -> dict[str, Any]:
        """What ``/status`` shows of it besides the counts that every network has."""
        return {}

    def metrics(self, status: dict[str, Any]) -> Iterator[Any]:
        """Prometheus metrics of what ``status`` gave."""
        return iter(())

    def check(self) -> Iterator[tuple[str, str, str]]:
        """What ``habitat check`` finds: mark, key and a line.

        The mark is "ok", "warning", "config error" or "secret"; with "secret" the line is the path
        of a file that others must not read. Raises ConfigError.
        """
        return iter(())


class StationList(ABC):
    """A network's own list of stations, apart from the ``stations`` file.

    For ``habitat station``; the methods raise ConfigError for a file that can't be used.
    """

    @abstractmethod
    def show(self, settings: Any, status: dict[str, Any]) -> list[dict[str, Any]]:
        """The stations, with data from the network's ``status``; each has the same keys."""

    @abstractmethod
    def examine(self, path: str) -> tuple[str, list[str], bool]:
        """Of the list at ``path``: its contents, each problem, and if passwords are in clear."""

    @abstractmethod
    def hashed(self, path: str) -> Iterator[str]:
        """The lines of the list at ``path`` with all passwords hashed."""


def json_response(status: int, value: Any) -> Response:
    """An answer in JSON."""
    return Response(status, msgspec.json.encode(value), JSON)
