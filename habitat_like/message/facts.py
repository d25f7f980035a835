"""Facts: what a message of any type says of a payload, a place and values. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

#: What a value can be; a missing reading has no value.
Value = str | int | float | bool

_NOTHING: dict[str, Any] = {}


class Position(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A place on Earth: degrees, degrees, and metres if known."""

    latitude: float
    longitude: float
    altitude: float | None = None


class Facts(msgspec.Struct, frozen=True):
    """What a message says, whatever its type.

    ``payload`` is what was observed, None where that is the station itself; ``position`` is where
    the payload was or, without one, the station; ``values`` keep the sender's names and units.
    """

    payload: str | None = None
    position: Position | None = None
    values: dict[str, Value] = {}


#: From the ``data`` of an archived document to its facts. It must take data of any shape, as an
#: archive may hold documents that others wrote.
FactsOf = Callable[[Mapping[str, Any]], Facts]


def observed(data: Mapping[str, Any]) -> Facts:
    """The facts of an observation, or of TELEM: ``payload``, ``position`` and ``values``."""
    payload, place, values = data.get("payload"), data.get("position"), data.get("values")
    return Facts(
        payload if isinstance(payload, str) and payload else None,
        position(place) if isinstance(place, dict) else None,
        scalars(values) if isinstance(values, dict) else {},
    )


def flat(data: Mapping[str, Any]) -> Facts:
    """The facts of data whose own keys are the values, and a place if two of them name one."""
    place = position(data)
    values = scalars(data)
    if place is not None:
        for name in ("latitude", "longitude", "altitude"):
            values.pop(name, None)
    return Facts(None, place, values)


def received(data: Mapping[str, Any]) -> Facts:
    """The facts of RECEIVED_TELEM: how a packet was heard. What is in it a parser tells."""
    values = scalars(data)
    values.pop("string", None)
    return Facts(None, None, values)


def any_shape(data: Mapping[str, Any]) -> Facts:
    """The facts of a type that nobody knows here."""
    return observed(data) if isinstance(data.get("values"), dict) else flat(data)


def position(data: Mapping[str, Any]) -> Position | None:
    """The place in ``latitude``, ``longitude`` and ``altitude``; None if they can't be one.

    0/0 is none: it is what a receiver says while it has no fix.
    """
    latitude, longitude = _number(data.get("latitude")), _number(data.get("longitude"))
    if latitude is None or longitude is None or not (latitude or longitude):
        return None
    if abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return Position(latitude, longitude, _number(data.get("altitude")))


def scalars(data: Mapping[str, Any]) -> dict[str, Value]:
    """The entries that are plain values."""
    return {name: one for name, one in data.items() if isinstance(one, str | int | float)}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def data_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``data`` of an archived document, an empty one if it has none that can be read."""
    data = document.get("data")
    return data if isinstance(data, dict) else _NOTHING
