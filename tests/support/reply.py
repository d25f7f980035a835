"""An answer, however it was asked for."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


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


def fold(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers as a dict with names in lower case."""
    return {name.lower(): value for name, value in headers}


def http_request(
    address: tuple[str, int],
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
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
