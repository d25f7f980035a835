"""The log: its content, its format, and a writer that blocks nobody."""

from habitat_like.log.log import (
    ROOT,
    JsonFormatter,
    State,
    TextFormatter,
    capture,
    close,
    configure,
    handler,
    say,
    state,
)

__all__ = [
    "ROOT",
    "JsonFormatter",
    "State",
    "TextFormatter",
    "capture",
    "close",
    "configure",
    "handler",
    "say",
    "state",
]
