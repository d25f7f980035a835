"""The actions that a station can call; it can reach nothing else. No I/O.

An action is a function ``name(application, ip, args)``; the methods of InsertApplication are the
built-in ones, and ``gateway.actions`` in the configuration lists those that may be called.
"""

from __future__ import annotations

import codecs
import difflib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

from habitat_like import times
from habitat_like.config.imports import import_path
from habitat_like.http import scgi
from habitat_like.http.response import (
    JSON,
    OK,
    TEXT,
    Answers,
    Refused,
    Reply,
    Response,
    to_reply,
    to_response,
    too_many,
    unavailable,
)
from habitat_like.message.cost import MAX_VALUES
from habitat_like.message.message import InvalidMessage
from habitat_like.message_server.intake import MessageTooLarge
from habitat_like.steering.access import Denied, TooMany

if TYPE_CHECKING:
    from habitat_like.http.connection import Host
    from habitat_like.http.program import ServingProgram
    from habitat_like.message_server import Server

#: What an operator's own action needs.
__all__ = [
    "JSON",
    "OK",
    "TEXT",
    "Action",
    "Args",
    "InsertApplication",
    "Lane",
    "Refused",
    "Reply",
    "Response",
    "action",
    "find_actions",
    "to_reply",
    "to_response",
    "too_many",
    "unavailable",
]

#: No message has fewer bytes; a body with more parts than that allows is not worth answering.
SHORTEST_MESSAGE = 60
MANY_MESSAGES = 1000
#: Some programs put it before UTF-8 text (RFC 8259 section 8.1 lets a reader ignore it).
_BOM = codecs.BOM_UTF8
_WHITESPACE = b" \t\r\n"


class Args(NamedTuple):
    """What an action gets: the request's decoded body, and where it came in.

    ``path`` is what follows the action's name, ``headers`` are the SCGI headers.
    """

    body: bytes
    method: str = "POST"
    path: str = ""
    headers: Mapping[bytes, bytes] = {}
    #: Where it is called: large bodies don't go to the fast lane.
    lane: Lane = "slow"

    @property
    def query(self) -> str:
        """The query string."""
        return self.headers.get(b"QUERY_STRING", b"").decode(scgi.ENCODING)


ActionFunction = Callable[..., Any]

#: Where an action runs. ``fast``: on the gateway's thread; it must neither wait nor compute for
#: long. ``bulk``: on the bulk thread; it waits for nothing, but computes for milliseconds.
#: ``slow``: on the slow lane's threads, where it holds up nobody. ``mounted``: on the threads of a
#: mount, which takes over whole requests, with their connections, and answers them itself.
Lane = Literal["fast", "bulk", "slow", "mounted"]


class Action(NamedTuple):
    """An action that can be called: ``methods`` are HTTP methods.

    With ``subpaths`` it is also called for paths below its own, which it finds in ``Args.path``. In
    the lane ``mounted`` the ``host`` answers, and ``call`` is not used. ``answers`` has the answers
    for clients that don't understand the gateway's own. An ``upload`` is closed in maintenance and
    is subject to the access rules.
    """

    name: str
    call: ActionFunction
    methods: tuple[str, ...] = ("POST",)
    lane: Lane = "slow"
    subpaths: bool = False
    host: Host | None = None
    answers: Answers | None = None
    upload: bool = False


class PathRouter(Protocol):
    """Actions found by their whole path, not by its first part."""

    @property
    def paths(self) -> list[str]:
        """A line for each: methods and path."""

    def find(self, method: str, path: str) -> Action | None:
        """The action, or None for an unknown path. Raises Refused for another method."""


def action(
    *, methods: tuple[str, ...] = ("POST",), lane: Lane = "slow", subpaths: bool = False
) -> Callable[[ActionFunction], ActionFunction]:
    """Declare an action's HTTP methods, its lane, and whether it has pages below it; see Action."""
    if isinstance(methods, str):  # or "POST" would be four methods
        raise TypeError('methods is a tuple such as ("GET", "POST")')
    if lane not in ("fast", "bulk", "slow"):
        raise TypeError(f"lane is fast, bulk or slow, not {lane!r}")

    def declare(function: ActionFunction) -> ActionFunction:
        function.declared = (methods, lane, subpaths)  # type: ignore[attr-defined]
        return function

    return declare


class InsertApplication:
    """The actions that put messages into ``server``.

    ``actions`` is the whitelist: the names that may be called. Used by several threads at once;
    holds no per-request state.
    """

    def __init__(self, server: Server, program: ServingProgram) -> None:
        self.server = server
        self.program = program
        self.actions = list(program.config.gateway.actions)
        self.clock: Callable[[], float] = time.time

    @action(lane="fast")
    def message(self, ip: str | None, args: Args | bytes | str | Mapping[str, Any]) -> Response:
        """Take one message: a JSON object.

        Returns 200 OK, to be sent once the message is committed. Raises InvalidMessage with field
        and reason, MessageTooLarge, BacklogFull, Denied and TooMany.
        """
        now = int(self.clock())
        parse = self.program.registry.parse
        self.server.push_message(parse(_body(args), ip, now, is_set=times.is_set(now)))
        return OK

    @action(lane="fast")
    def messages(self, ip: str | None, args: Args | bytes | str) -> Response:
        """Take many messages: a JSON array of objects, or one object a line (NDJSON).

        Returns 200, 207 if some were refused, or 400 (403, 429) if all were, with a result for each
        in order. Raises InvalidMessage if the body is neither or has too many, and BacklogFull.
        """
        registry = self.program.registry
        now = int(self.clock())
        is_set = times.is_set(now)
        results: list[dict[str, Any]] = []
        accepted = 0
        denied = 0
        retry_after = 0
        for part in _split(_body(args)):
            try:
                message = registry.parse(part, ip, now, is_set=is_set)
                results.append({"id": self.server.push_message(message)})
            except (InvalidMessage, MessageTooLarge) as error:
                results.append({"error": str(error)})
            except Denied as error:
                results.append({"error": str(error)})
                denied += 1
            except TooMany as error:
                results.append({"error": str(error), "retry_after": error.retry_after})
                retry_after = max(retry_after, error.retry_after)
            else:
                accepted += 1
        answer = msgspec.json.encode({"accepted": accepted, "results": results})
        if accepted == len(results):
            return Response(200, answer, JSON)
        headers = {"Retry-After": str(retry_after)} if retry_after else None
        if accepted:
            return Response(207, answer, JSON, headers)
        # Don't drop the whole batch for something that may succeed later.
        status = 429 if retry_after else 403 if denied == len(results) else 400
        return Response(status, answer, JSON, headers)


def find_actions(names: Iterable[str]) -> dict[str, Action]:
    """The whitelisted actions by name: built-in names, or dotted paths of functions.

    A function at ``package.module.weather`` is the action ``weather``. Raises ValueError with one
    line for a name that can't be found or appears twice.
    """
    found: dict[str, Action] = {}
    for name in names:
        short = name.rpartition(".")[2]
        function = import_path(name) if "." in name else _built_in().get(name)
        if function is None:
            near = difflib.get_close_matches(name, _built_in(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"gateway.actions: there is no action {name!r}{hint}")
        if not callable(function):
            raise ValueError(f"gateway.actions: {name} is not a function")
        if short in found or short in RESERVED:
            raise ValueError(f"gateway.actions: the name {short!r} is taken")
        made = Action(short, function, *getattr(function, "declared", ()))
        found[short] = made._replace(upload=True)
    return found


#: Paths that belong to the operator.
RESERVED = frozenset({"", "status", "metrics", "healthz", "readyz", "console"})


def _built_in() -> dict[str, ActionFunction]:
    return {
        name: function
        for name, function in vars(InsertApplication).items()
        if hasattr(function, "declared")
    }


def _body(args: Args | bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(args, Args):
        return args.body.removeprefix(_BOM)
    if isinstance(args, str):
        return args.encode()
    return args.removeprefix(_BOM) if isinstance(args, bytes) else msgspec.json.encode(args)


def _split(body: bytes) -> list[bytes]:
    """The JSON texts in an array or in lines. Raises InvalidMessage, also for too many."""
    if _BOM in body:  # in concatenated files, each may begin with one
        body = body.replace(b"\n" + _BOM, b"\n").removeprefix(_BOM)
    text = body.strip(_WHITESPACE)
    if not text:
        raise InvalidMessage("body: empty; expected a JSON array or one JSON object per line")
    most = max(MANY_MESSAGES, len(body) // SHORTEST_MESSAGE)
    if text[:1] != b"[":
        _check_parts(text.count(b"\n") // 2, most, body)  # every other line may be empty
        lines = [line for line in text.split(b"\n") if line.strip(_WHITESPACE)]
        _check_parts(len(lines), most, body)
        return lines
    try:
        try:
            _check_parts(len(_OBJECTS.decode(text)), most, body)
        except msgspec.ValidationError:
            # Each item that is not an object is refused by itself; a body full of them would cost
            # hundreds of thousands of results.
            if text.count(b",") > MAX_VALUES:
                reason = f"not all objects, and too many elements (over {MAX_VALUES})"
                raise InvalidMessage(f"body: {reason}") from None
        raws = _RAWS.decode(text)
        _check_parts(len(raws), most, body)
        # Copies: a Raw is a view, and the registry looks at its input as bytes.
        return [bytes(raw) for raw in raws]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage(f"body: not a valid JSON array: {error}") from None
    except RecursionError:
        raise InvalidMessage("body: nested too deeply") from None


def _check_parts(count: int, most: int, body: bytes) -> None:
    if count > most:
        raise InvalidMessage(f"body: {count} parts are too many for {len(body)} bytes")


class _Object(msgspec.Struct, gc=False):
    """Any JSON object, keeping none of it: the cheapest way to count them."""


_OBJECTS = msgspec.json.Decoder(list[_Object])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
