"""Raw HTTP requests to a network's decoder, as nginx and the runner hand them on."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from habitat_like.message.message import Message
from habitat_like.networks.base import Network, Outcome
from habitat_like.networks.messages import callsign_of, to_message
from habitat_like.networks.observation import BadRequest, Decoded, Headers, Problem, Request
from habitat_like.networks.routes import make_router
from habitat_like.networks.runner import Runner
from habitat_like.networks.stations import Gatekeeper, Stations
from habitat_like.networks.ways import Way

SAMPLES = Path(__file__).parent / "samples"
#: 2026-11-20 10:15:40 UTC, ten seconds after most of the samples.
NOW = 1795169740
STATIONS = Stations(b"0123456789abcdef")


class Client:
    """Sends requests to one network's decoder."""

    def __init__(self, network: type[Network], **settings: Any) -> None:
        self.network = network(network.Settings(**settings), None)
        self.router = make_router([Runner(self.network, STATIONS, Gatekeeper())])

    def request(
        self,
        method: str,
        target: str,
        body: bytes | str = b"",
        **headers: str,
    ) -> Request:
        """The request that the decoder gets; raises AssertionError where no route leads to it."""
        before, _, query = target.partition("?")
        path = unquote(before, encoding="latin-1")
        way = self.way(method, path)
        assert way is not None, f"no route for {method} {path}"
        scgi = {
            b"HTTP_" + name.upper().replace("-", "_").encode(): value.encode("latin-1")
            for name, value in headers.items()
        }
        return Request(
            method,
            path,
            route=way.route.pattern,
            target=target,
            variables=way.variables(path),
            query=query,
            headers=Headers(scgi),
            body=body.encode() if isinstance(body, str) else body,
            ip="203.0.113.7",
            now=NOW,
        )

    def way(self, method: str, path: str) -> Way | None:
        """The route that a request takes."""
        ways = [way for way, _ in self.router.ways if way.matches(path) and method in way.methods]
        return ways[0] if ways else None

    def raw(self, data: bytes) -> Request:
        """The request in raw HTTP, its body undone of chunks and gzip."""
        head, body = _split(data)
        line, *lines = head.decode("latin-1").splitlines()
        method, target, _ = line.split(" ")
        headers = {}
        for one in lines:
            name, _, value = one.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.pop("transfer-encoding", "") == "chunked":
            body = _dechunk(body)
        if headers.get("content-encoding") == "gzip" and body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        return self.request(method, target, body, **headers)

    def sample(self, name: str) -> Request:
        """The request in a sample file."""
        return self.raw((SAMPLES / f"{name}.http").read_bytes())

    def documents(self, request: Request) -> list[dict[str, Any]]:
        """The documents that become of a request, as they are archived."""
        return [document(message) for message in self.messages(request)]

    def messages(self, request: Request) -> list[Message]:
        """The messages that become of a request."""
        name = self.network.name
        made = []
        for one in self.network.decode(request).observations:
            callsign = callsign_of(name, one, None, STATIONS)
            made.append(to_message(name, one, callsign, None, request.ip, int(request.now)))
        return made

    def answer(self, request: Request) -> tuple[int, bytes]:
        """Status and body of the answer, as the runner makes it where the archive is well."""
        way = self.way(request.method, request.path)
        assert way is not None
        if way.probe is not None:
            reply = way.probe(request)
            return reply.status, reply.body
        try:
            decoded = self.network.decode(request)
        except BadRequest as error:
            outcome = Outcome([], [Problem(0, error.text)])
            reply = self.network.refused(request, error.status, error.text, outcome)
            return reply.status, reply.body
        return self.answer_to(request, decoded)

    def answer_to(self, request: Request, decoded: Decoded) -> tuple[int, bytes]:
        """Status and body of the answer to what was decoded."""
        problems = list(decoded.problems)
        messages = self.messages(request) if decoded.observations else []
        outcome = Outcome(messages, problems)
        if problems and not messages:
            reply = self.network.refused(request, 400, problems[0].text, outcome)
        elif problems:
            reply = self.network.partial(request, outcome)
        else:
            reply = self.network.success(request, outcome)
        return reply.status, reply.body


def document(message: Message) -> dict[str, Any]:
    """The archived document of a message."""
    found: dict[str, Any] = msgspec.json.decode(message.document(b'"a1"')[1])
    return found


def _split(data: bytes) -> tuple[bytes, bytes]:
    for at in range(len(data)):
        for end in (b"\r\n\r\n", b"\n\r\n", b"\n\n"):
            if data.startswith(end, at):
                return data[:at], data[at + len(end) :]
    return data, b""


def _dechunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        data = rest[length + 2 :]
        if not length:
            break
    return body
