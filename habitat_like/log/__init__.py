"""The log: what goes into it, how it looks, and a writer that keeps nobody waiting."""

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
