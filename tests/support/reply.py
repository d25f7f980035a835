"""An answer, however it was asked for."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.wait import PATIENCE


@dataclass(frozen=True)
class Reply:
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)


def one_line(reply: Reply) -> str:
    """The one line of a text/plain answer."""
    assert reply.headers["content-type"].startswith("text/plain"), reply
    assert re.fullmatch(r"[^\r\n]+\n", reply.text), f"not one line: {reply.text!r}"
    return reply.text.rstrip("\n")


def unavailable(reply: Reply) -> str:
    """The one line of a 503 that says when to try again."""
    assert reply.status == 503, reply
    assert int(reply.headers["retry-after"]) > 0
    return one_line(reply)


def fold(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers as a dict with names in lower case."""
    return {name.lower(): value for name, value in headers}


def http_request(
    address: tuple[str, int],
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = PATIENCE,
) -> Reply:
    """One HTTP request on a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        payload = body.encode() if isinstance(body, str) else body
        connection.request(method, path, body=payload, headers=dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, fold(response.getheaders()), response.read())
    finally:
        connection.close()
