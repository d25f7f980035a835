"""Telemetry: what received packets say. Parsers without I/O, and the sink that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from habitat_like.telemetry.sink import ParserSink

__all__ = ["ParserSink"]


def __getattr__(name: str) -> Any:
    """Import ``ParserSink`` on first use: the parsers need no message server."""
    if name == "ParserSink":
        from habitat_like.telemetry.sink import ParserSink  # noqa: PLC0415 (that is the point)

        return ParserSink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
