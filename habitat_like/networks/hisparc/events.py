"""Events of stations, and the messages that they become. No I/O.

A station uploads a list of dicts, each with a ``header`` and a ``datalist`` of values by upload
code.
"""

from __future__ import annotations

import base64
import datetime
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from habitat_like.message.message import Listener, Message
from habitat_like.networks.hisparc import gps
from habitat_like.networks.hisparc.stations import HisparcStation
from habitat_like.times import FUTURE, MAX_TIME, is_set

#: The type of the messages.
HISPARC_EVENT = "HISPARC_EVENT"
#: Values whose bytes are archived as base64; so are those of traces.
BLOBS = frozenset({"CFG_MAS_VERSION", "CFG_SLV_VERSION", "CFG_PASSWORD", "CFG_BUFFER"})
#: How often, on average, each byte of a pickle may occur in what is archived of it. With references
#: a short pickle can stand for endless text; real ones archive about twice their size.
EXPANSION = 8
#: Bytes that any upload may have beyond that: one event refers to few things twice.
EXPANSION_FREE = 65536

_CODE = re.compile(r"[A-Za-z0-9_]{1,64}")
_TRACE = re.compile(r"TR[0-9]{1,3}")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_INTEGERS = range(-(2**63), 2**64)


class EventError(ValueError):
    """Not an event list; the text is one line: where and why."""


class Event(NamedTuple):
    """One event. ``clock`` is GPS time, ``values`` are ready for JSON, by upload code."""

    type: str
    clock: datetime.datetime
    nanoseconds: int
    values: dict[str, Any]


def read(tree: Any, size: int) -> list[Event]:
    """The events in ``tree``, read from a pickle of ``size`` bytes. Raises EventError."""
    if type(tree) is not list:
        raise EventError("not a list of events")
    events = []
    room = EXPANSION * size + EXPANSION_FREE
    for number, entry in enumerate(tree, 1):
        try:
            event, used = _event(entry)
        except EventError as error:
            raise EventError(f"event {number}: {error}") from None
        room -= used
        if room < 0:
            raise EventError(f"event {number}: the same things are referred to too often")
        events.append(event)
    return events


def to_message(
    event: Event, station: HisparcStation, ip: str | None, now: int, minimum_year: int
) -> Message:
    """The message of an event; ``now`` is the gateway's clock in UNIX seconds.

    Raises EventError for text that can't be written as JSON.
    """
    created = gps.unix_time(event.clock)
    data = {
        "station": station.number,
        "cluster": station.cluster,
        "eventtype": event.type,
        "datetime": event.clock.isoformat(),
        "nanoseconds": event.nanoseconds,
        "values": event.values,
    }
    time_created = min(max(created, 0), MAX_TIME)
    try:
        return Message(
            Listener(str(station.number), ip),
            HISPARC_EVENT,
            time_created,
            now if is_set(now) else max(now, time_created),
            data,
            suspicious=_doubt(event.clock, created, now, minimum_year),
        )
    except UnicodeEncodeError:
        raise EventError("text with a lone surrogate") from None


def _doubt(clock: datetime.datetime, created: int, now: int, minimum_year: int) -> str | None:
    """Why the event's date can't be right, or None.

    A receiver without a fix dates events at the epoch of its firmware, one that is too old 1024
    weeks too early: the week counter in the GPS signal has ten bits.
    """
    if clock.year < minimum_year:
        return f"dated {clock.date()}, before {minimum_year}"
    # The stations' clocks are set by GPS, and may be right when the gateway's is not.
    if is_set(now) and created > now + FUTURE:
        return f"dated {clock.date()}, more than a day after it came in"
    return None


def _event(entry: Any) -> tuple[Event, int]:
    """An event, and about how many bytes are archived of it. Raises EventError."""
    header = _part(entry, "header", dict)
    code = _get(header, "eventtype_uploadcode", b"eventtype_uploadcode")
    event_type = _code("header.eventtype_uploadcode", code)
    clock = _part(header, "datetime", datetime.datetime, "header.")
    nanoseconds = _part(header, "nanoseconds", int, "header.")
    if nanoseconds not in _INTEGERS:
        raise EventError("header.nanoseconds: over 64 bits")
    values: dict[str, Any] = {}
    used = 100
    for item in _part(entry, "datalist", list):
        code = _code("data_uploadcode", _get(item, "data_uploadcode", b"data_uploadcode"))
        if code in values:
            raise EventError(f"{code}: stands twice")
        value = _get(item, "data", b"data")
        kind = type(value)
        if kind is not bool and (kind is not int or value not in _INTEGERS):
            value = _value(code, value)
        values[code] = value
        used += 16 + len(code) + (len(value) if type(value) is str else 0)
    return Event(event_type, clock, nanoseconds, values), used


_MISSING = object()


def _get(tree: Any, key: str, old: bytes) -> Any:
    """A value by its ``key``, or by ``old``, as Python 2 writes it; ``_MISSING`` if there is none.

    Raises EventError if ``tree`` is not a dict.
    """
    if type(tree) is not dict:
        raise EventError(f"{key}: expected in a dict")
    value = tree.get(key, _MISSING)
    return tree.get(old, _MISSING) if value is _MISSING else value


def _part(tree: Any, key: str, kind: type, where: str = "") -> Any:
    """A value of the required type. Raises EventError."""
    value = _get(tree, key, key.encode())
    if type(value) is not kind:
        raise EventError(f"{where}{key}: must be a {kind.__name__}")
    return value


def _code(where: str, value: Any) -> str:
    """An upload code or event type. Raises EventError."""
    text = value.decode("latin-1") if type(value) is bytes else value
    if type(text) is not str or not _CODE.fullmatch(text):
        raise EventError(f"{where}: must be 1 to 64 of A-Z a-z 0-9 _")
    return text


def _value(code: str, value: Any) -> Any:
    """A value as JSON has it. Raises EventError."""
    kind = type(value)
    if kind is int:
        if value not in _INTEGERS:
            raise EventError(f"{code}: over 64 bits")
    elif kind is float:
        if not math.isfinite(value):
            # JSON has none of these. As text that Python's float() reads, nothing is lost.
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    elif kind is str or kind is bytes:
        if code in BLOBS or _TRACE.fullmatch(code):
            return _blob(code, value)
        return value if kind is str else _text(value)
    elif value is not None and kind is not bool:
        raise EventError(f"{code}: must be a number, text, bytes, true, false or nothing")
    return value


def _blob(code: str, value: str | bytes) -> str:
    """The bytes of a blob as base64. Stations send traces as base64 already: these stay as is."""
    raw = value if isinstance(value, bytes) else _bytes(value)
    if code not in BLOBS and _BASE64.fullmatch(raw):
        return raw.decode("ascii")
    return base64.b64encode(raw).decode("ascii")


def _bytes(text: str) -> bytes:
    """The bytes that a Python 3 client took for latin-1 text."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    """A byte string as text: UTF-8 if valid, else latin-1, which always works."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def messages(
    events: list[Event], station: HisparcStation, ip: str | None, now: int, minimum_year: int
) -> Iterator[Message]:
    """The messages of all ``events``, as ``to_message`` makes them."""
    return (to_message(event, station, ip, now, minimum_year) for event in events)
