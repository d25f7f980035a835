"""Network: what a network declares, and the answers of its family. No I/O.

A network is a protocol of other people's stations. Its class says by which paths they come, what
they send, and what they make of each answer; ``runner`` runs it. One network is one file, or one
folder, in this package, or an operator's own module (docs/extending.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Literal, NamedTuple

import msgspec

from habitat_like.http.response import JSON, TEXT, Response
from habitat_like.message.message import Message
from habitat_like.networks.observation import Decoded, Problem, Request

#: What a client does with an answer that is no success. It forgets what it sent,
FIRE_AND_FORGET: Final = "fire and forget"
#: sends the same again for ever, before all else,
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
#: Is told a station's callsign, and what of it could not be taken.
Note = Callable[[str | None, str], None]


class Route(NamedTuple):
    """A way in: ``methods`` such as ``"GET,POST"``, and the ``pattern`` of the path.

    In a pattern ``{name}`` is any one part of a path, and ``*`` at its end whatever follows, also
    nothing. ``glued``: a query may follow without a question mark. ``probe`` names a method of the
    network that answers, ``(request) -> Response``, where nothing is uploaded.
    """

    methods: str
    pattern: str
    glued: bool = False
    lane: Lane = BULK
    probe: str | None = None


class NetworkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys that every network has below ``networks.NAME``.

    ``unknown`` is what happens to stations that are not in the ``stations`` file.
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
    """Base of all networks. Used by several threads at once; it holds no state of requests.

    A subclass sets what is declared first, and writes ``decode``. The answers are those of its
    ``family`` unless it has better ones. An answer is small, and never a redirect.
    """

    #: As it is named in the configuration.
    name: ClassVar[str]
    #: The types of the messages that it makes.
    types: ClassVar[tuple[str, ...]]
    family: ClassVar[Family] = FIRE_AND_FORGET
    routes: ClassVar[tuple[Route, ...]]
    #: What is below ``networks.NAME`` in the configuration.
    Settings: ClassVar[type[msgspec.Struct]] = NetworkSettings
    #: The status of ``overload``.
    overload_status: ClassVar[int] = 503
    #: Whether a client sends a secret in the query, which nginx must not log.
    secret_query: ClassVar[bool] = False
    #: Whether what its stations call themselves is a credential.
    secret_identity: ClassVar[bool] = False
    #: Its own list of stations, in place of the ``stations`` file.
    station_list: ClassVar[StationList | None] = None
    #: Whether there are clients without TLS, which follow no redirect to it either.
    plain_http: ClassVar[bool] = False

    def __init__(self, settings: Any, loaded: Any = None) -> None:
        """``loaded`` is what ``load`` made of the ``settings``."""
        self.settings = settings

    @classmethod
    def load(cls, settings: Any) -> Any:
        """Read the files that the settings name. Raises ConfigError."""
        return None

    def configure(self, settings: Any, loaded: Any) -> None:
        """Put other settings in force, and what ``load`` made of them."""
        self.settings = settings

    # -- what a request is

    def credential(self, request: Request) -> str | None:
        """The secret that the client sent beside its identity, None if none; see ``stations``.

        It is compared with the ``secret`` of the station in the ``stations`` file, where that has
        one.
        """
        basic = request.basic
        return None if basic is None else basic.password

    def decode(self, request: Request) -> Decoded:
        """What the request holds. Raises BadRequest where nothing of it can be read.

        A part that can't be read is a Problem, and the others are taken. Anything else that is
        raised is a fault of the decoder: it is logged, and answered as ``refused``.
        """
        raise TypeError(f"{type(self).__name__} has no decode")

    def serve(self, request: Request, push: Push, note: Note) -> Response:
        """Take the whole request over: only for a network that can't be written as ``decode``.

        ``push`` stages a message; it raises BacklogFull, Denied and TooMany, which are passed on.
        ``note`` is told what could not be taken: the station, None if not known, and why.
        """
        raise TypeError(f"{type(self).__name__} has no serve")

    # -- answers

    def success(self, request: Request, outcome: Outcome) -> Response:
        """All was taken, or nothing was sent that can be taken."""
        return Response(200, b"OK", TEXT)

    def partial(self, request: Request, outcome: Outcome) -> Response:
        """Some parts were taken, and there are problems with others."""
        return self.success(request, outcome)

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """Nothing could be taken: ``status`` and ``text`` say why to who wants to know."""
        if self.family == STUBBORN:
            return self.success(request, outcome)
        return Response(status, f"{text}\n".encode(errors="replace"), TEXT)

    def wrong_key(self, request: Request) -> Response:
        """The credential is wrong or missing, or the station is not one of those that may."""
        return Response(401, b"unknown station or wrong key\n", TEXT)

    def denied(self, text: str) -> Response:
        """The access rules keep this address or callsign out; nothing was taken."""
        if self.family == STUBBORN:
            return self.success(Request("", ""), Outcome([], []))
        return Response(403, f"{text}\n".encode(errors="replace"), TEXT)

    def overload(self, text: str, retry_after: int) -> Response:
        """Nothing can be taken now, ``retry_after`` seconds later perhaps."""
        headers = {"Retry-After": str(retry_after)}
        return Response(self.overload_status, f"{text}\n".encode(errors="replace"), TEXT, headers)

    # -- for people

    def recipes(self, host: str) -> tuple[Recipe, ...]:
        """How to point devices to this server, whose name is ``host``."""
        return ()

    def status(self, now: float) -> dict[str, Any]:
        """What ``/status`` tells of it beside the counts that every network has."""
        return {}

    def metrics(self, status: dict[str, Any]) -> Iterator[Any]:
        """Prometheus metrics of what ``status`` gave."""
        return iter(())

    def check(self) -> Iterator[tuple[str, str, str]]:
        """What ``habitat check`` finds: mark, key and a line.

        The mark is "ok", "warning", "config error", or "secret": then the line is the path of a
        file that others must not read. Raises ConfigError.
        """
        return iter(())


class StationList(ABC):
    """A list of stations that a network has of its own, apart from the ``stations`` file.

    For ``habitat station``; the methods raise ConfigError for a file that can't be used.
    """

    @abstractmethod
    def show(self, settings: Any, status: dict[str, Any]) -> list[dict[str, Any]]:
        """The stations, with what the network's ``status`` tells; each has the same keys."""

    @abstractmethod
    def examine(self, path: str) -> tuple[str, list[str], bool]:
        """Of the list at ``path``: what is in it, each problem, and if passwords are in clear."""

    @abstractmethod
    def hashed(self, path: str) -> Iterator[str]:
        """The lines of the list at ``path`` with all passwords hashed."""


def json_response(status: int, value: Any) -> Response:
    """An answer in JSON."""
    return Response(status, msgspec.json.encode(value), JSON)
