"""UKHAS sentences: ``$$CALLSIGN,field,field,…*CHECKSUM`` and a line feed. No I/O.

The rules are those of habitat's parser. A payload without a configuration is read by the default
layout, that of horusdemodlib: callsign, number, time, latitude, longitude, altitude, and then
whatever there is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from habitat_like.message.facts import Position
from habitat_like.telemetry import filters
from habitat_like.telemetry.checksums import CHECKSUMS, NONE
from habitat_like.telemetry.configuration import Field, Layout, Payloads
from habitat_like.telemetry.coordinates import degrees, minutes, show_time, time_of_day
from habitat_like.telemetry.fix import Fix, ParseError, Value, is_somewhere

#: Characters of a sentence from ``$$`` to its line feed: at least, and at most between ``$$`` and
#: the end of its checksum.
SHORTEST, LONGEST = 8, 1000
#: Sentences to examine in one packet, and readings of each: a bound on what odd bytes can cost.
MOST, READINGS = 16, 16

#: Integers beyond it can't be archived.
LARGE = 2**63

_START = re.compile(rb"\$\$+")
# The end of a sentence; Baudot stations send # for *.
_END = re.compile(rb"[*#]([0-9A-Fa-f]{4}|[0-9A-Fa-f]{2})")
_PRINTABLE = re.compile(rb"[\x20-\x7e]{0,%d}" % LONGEST)
_CALLSIGN = re.compile(r"[A-Za-z0-9/_-]+")
_INTEGER = re.compile(r"[+-]?\d{1,18}\Z")
_NUMBER = re.compile(r"[+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,3})?\Z")
#: Kinds of error that say nothing about what is in a sentence.
_NO_MATCH = frozenset({"checksum", "no checksum"})
#: Kinds of error of what is only a piece of a sentence.
PIECES = frozenset({"no checksum", "too short"})
_SEQUENCE = ("sentence_id", "sequence", "count", "frame")
_PLACES = ("latitude", "longitude", "altitude")


class Sentence(NamedTuple):
    """A candidate: the text between ``$$`` and ``*``, and the checksum as it came, upper case.

    Without a ``*`` the text is the whole line, and the checksum None.
    """

    text: str
    checksum: str | None


def find(packet: bytes) -> Iterator[list[Sentence]]:
    """The sentences in a packet, whatever is around them; at most MOST of them.

    Each comes with its readings, the longest first: only the checksum tells where it ends. The last
    one is that of a payload which sends none.
    """
    seen = 0
    for start in _START.finditer(packet):
        if seen == MOST:
            return
        line = _PRINTABLE.match(packet, start.end())
        body = line[0] if line else b""
        after = body.find(b"$$")
        if after >= 0:
            body = body[:after]
        if body:
            seen += 1
            ends = list(_END.finditer(body))[-READINGS:]
            whole = Sentence(body.decode("ascii"), None)
            yield [*(_reading(body, end) for end in reversed(ends)), whole]


def parse(readings: list[Sentence], payloads: Payloads) -> Fix:
    """The contents of a sentence, given its possible ``readings``. Raises ParseError.

    The reading with the right checksum counts.
    """
    first: ParseError | None = None
    for reading in readings:
        try:
            return _parse(reading, payloads)
        except ParseError as error:
            # An error in a reading with a right checksum says more.
            if first is None or (first.kind in _NO_MATCH and error.kind not in _NO_MATCH):
                first = error
    raise first or ParseError("no sentence", "there is no sentence")


def callsign_of(sentence: Sentence) -> str:
    """The payload's name. Raises ParseError."""
    name = re.split("[,;]", sentence.text, maxsplit=1)[0]
    if not _CALLSIGN.fullmatch(name):
        raise ParseError("callsign", f"{name[:32]!r} is no callsign")
    return name


def _reading(body: bytes, end: re.Match[bytes]) -> Sentence:
    return Sentence(body[: end.start()].decode("ascii"), end[1].decode("ascii").upper())


def _parse(sentence: Sentence, payloads: Payloads) -> Fix:
    end = "" if sentence.checksum is None else f"*{sentence.checksum}"
    if len(f"$${sentence.text}{end}\n") < SHORTEST:
        raise ParseError("too short", f"{sentence.text!r} is too short")
    if sentence.checksum is None:
        layouts = _without_checksum(sentence, payloads)
    else:
        callsign = callsign_of(sentence)
        layouts = payloads.layouts(callsign)
        if not layouts:
            _check(sentence, "crc16-ccitt")
            return _by_default(callsign, sentence.text.split(",")[1:])
    first: ParseError | None = None
    for layout in layouts:
        try:
            return _by_layout(sentence, layout)
        except ParseError as error:
            first = first or error
    assert first is not None  # noqa: S101 (there is a layout, and it did not fit)
    raise first


def _without_checksum(sentence: Sentence, payloads: Payloads) -> list[Layout]:
    """The layouts of a payload that sends no checksum."""
    known = payloads.layouts(re.split("[,;]", sentence.text, maxsplit=1)[0])
    layouts = [layout for layout in known if layout.checksum == NONE]
    if not layouts:
        raise ParseError("no checksum", f"{sentence.text[:32]!r} does not end in a checksum")
    return layouts


def _check(sentence: Sentence, name: str) -> None:
    if name == NONE:
        return
    wanted = CHECKSUMS[name](sentence.text.encode("ascii"))
    # If four digits follow, a two-digit checksum is the first two.
    if (sentence.checksum or "")[: len(wanted)] != wanted:
        raise ParseError("checksum", f"{name} is {wanted}, the sentence says {sentence.checksum}")


def split(sentence: Sentence, layout: Layout) -> list[tuple[Field, str]]:
    """The fields of a sentence with their texts. Raises ParseError if it is not of this layout."""
    _check(sentence, layout.checksum)
    text = filters.change_text(sentence.text, layout.filters.intermediate)
    given = text.split(",")[1:]
    needed = len(layout.fields)
    while needed and layout.fields[needed - 1].optional:
        needed -= 1
    if not needed <= len(given) <= len(layout.fields):
        wanted = f"{needed} to {len(layout.fields)}" if needed < len(layout.fields) else needed
        raise ParseError("number of fields", f"{len(given)} fields, expected {wanted}")
    return list(zip(layout.fields, given, strict=False))


def _by_layout(sentence: Sentence, layout: Layout) -> Fix:
    values: dict[str, Any] = {}
    for field, text in split(sentence, layout):
        try:
            value = sense(field, text)
        except ValueError as error:
            raise ParseError("field", f"{field.name}: {error}") from None
        if value is not None:
            values[field.name] = value
    return _fix(layout.callsign, filters.change_values(values, layout.filters.post))


def sense(field: Field, text: str) -> Value | None:  # noqa: PLR0911 (one for each sensor)
    """A field's value, None for an optional one that is empty. Raises ValueError."""
    if not text.strip() and field.optional:
        return None
    kind = field.sensor
    if kind == "base.ascii_int":
        return _integer(text, field.base)
    if kind == "base.ascii_float":
        return _number(text)
    if kind == "base.constant":
        if text != str(field.expect):
            raise ValueError(f"{text[:32]!r} is not {str(field.expect)!r}")
        return text
    if kind == "stdtelem.time":
        return show_time(time_of_day(text))
    if kind == "stdtelem.coordinate":
        most = 90.0 if field.name == "latitude" else 180.0
        read = minutes if "m" in (field.format or "") else degrees
        return read(text, most)
    return text


def _fix(callsign: str, values: dict[str, Any]) -> Fix:
    """Sort the values of a configured sentence into what every protocol has, and the rest."""
    is_invalid = values.pop(filters.INVALID, False)
    fix = Fix("ukhas", callsign)
    for name in _SEQUENCE:
        if isinstance(values.get(name), int):
            fix.sequence = values.pop(name)
            break
    if isinstance(values.get("time"), str):
        fix.time = time_of_day(values.pop("time"))
    place = [values.get(name) for name in _PLACES]
    if all(isinstance(one, int | float) for one in place[:2]):
        latitude, longitude, altitude = (values.pop(name, None) for name in _PLACES)
        if not is_invalid:
            fix.position = Position(latitude, longitude, altitude)
    fix.values = values
    return fix


def _by_default(callsign: str, given: list[str]) -> Fix:
    try:
        number, time, latitude, longitude, altitude, *rest = given
    except ValueError:
        text = "expected number, time, latitude, longitude and altitude"
        raise ParseError("number of fields", text) from None
    try:
        height = _integer(altitude)
        if not 0 <= height <= 65535:
            raise ValueError(f"altitude {height} m")
        place = Position(degrees(latitude, 90.0), degrees(longitude, 180.0), height)
        fix = Fix("ukhas", callsign, _integer(number), time_of_day(time))
    except ValueError as error:
        raise ParseError("field", str(error)) from None
    fix.position = place if is_somewhere(place.latitude, place.longitude) else None
    # The callsign is field 1.
    fix.values = {f"field_{at}": _free(text) for at, text in enumerate(rest, 7)}
    return fix


def _free(text: str) -> Value:
    """A field about which nothing is known: a number if it looks like one."""
    if _INTEGER.match(text.strip()):
        return int(text)
    number = float(text) if _NUMBER.match(text.strip()) else math.inf
    return number if math.isfinite(number) else text


def _integer(text: str, base: int = 10) -> int:
    try:
        if base == 10 and not _INTEGER.match(text.strip()):
            raise ValueError
        number = int(text, base)
    except ValueError:
        raise ValueError(f"{text[:32]!r} is no integer") from None
    if abs(number) >= LARGE:
        raise ValueError(f"{text[:32]!r} is too large")
    return number


def _number(text: str) -> float:
    if not _NUMBER.match(text.strip()) or not math.isfinite(float(text)):
        raise ValueError(f"{text[:32]!r} is no number")
    return float(text)
