"""A fix: what one packet of a payload says. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from habitat_like.message.facts import Position

Value = int | float | str


class Fix(msgspec.Struct):
    """What a packet says.

    ``time`` is the time of day, in seconds, None if the packet has none; ``position`` is None if
    the payload knows none, or says itself that it can't be right.
    """

    protocol: str
    payload: str
    sequence: int | None = None
    time: int | None = None
    position: Position | None = None
    values: dict[str, Value] = {}


class ParseError(ValueError):
    """A packet that can't be understood.

    ``kind`` is a word or two by which such packets are counted; the text says what is wrong.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def is_somewhere(latitude: float, longitude: float) -> bool:
    """Whether a receiver knows where it is: without a fix it says 0/0."""
    return (latitude, longitude) != (0.0, 0.0)


def plain(value: Any) -> Any:
    """``value`` as plain data, without None values."""
    tree = msgspec.to_builtins(value)
    return {name: item for name, item in tree.items() if item is not None}
