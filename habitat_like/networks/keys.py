"""The key that a client sends in its Authorization header. No I/O."""

from __future__ import annotations

from habitat_like.networks.observation import Request

_SCHEMES = ("bearer", "token", "apikey", "key")


def authorization(request: Request) -> str | None:
    """The key: the Basic password, what follows Bearer or Token, or all of it; None without."""
    basic = request.basic
    if basic is not None:
        return basic.password
    sent = request.headers.get("authorization").strip()
    scheme, _, key = sent.partition(" ")
    if scheme.lower() in _SCHEMES and key.strip():
        return key.strip()
    return sent or None
