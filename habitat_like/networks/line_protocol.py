"""InfluxDB's line protocol. No I/O.

``measurement[,tag=value…] field=value[,field=value…] [time]``, one point a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from habitat_like.networks.observation import Scalar

#: Characters of a line that a problem shows.
_SHOWN = 40
_NAME = r"(?:[^,= \\\n]|\\.|\\)++"
_MEASUREMENT = re.compile(r"(?:[^, \\\n]|\\.|\\)++")
_TAG = re.compile(rf",({_NAME})=((?:[^,= \\\n]|\\.|\\)*+)")
_BLANKS = re.compile(r"[ \t]+")
_FIELD = re.compile(
    rf"({_NAME})="
    r'(?:"((?:[^"\\]|\\.)*+)"|([^,\s"]++))',
    re.DOTALL,
)
_TIME = re.compile(r"-?[0-9]{1,20}")
_END = re.compile(r"[ \t\r]*(?:\n|\Z)")
_ESCAPED = re.compile(r"\\([,= ])")
_ESCAPED_TEXT = re.compile(r'\\(["\\])')
_INTEGER = re.compile(r"([+-]?[0-9]{1,20})[iu]")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_BOOLS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}
_NO_NUMBER = {"nan", "inf", "+inf", "-inf", "-nan", "null"}


class Point(NamedTuple):
    """A line: ``time`` is the integer as sent; a field is None where it is no finite number."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Scalar | None]
    time: int | None


class BadLine(NamedTuple):
    """A line that can't be read: its number, from 1, and why."""

    number: int
    text: str


def parse(source: str) -> Iterator[Point | BadLine]:
    """The points in ``source``, in order; blank lines and comments are none."""
    start = 0
    number = 0
    while start < len(source):
        number += 1
        newline = source.find("\n", start)
        end = len(source) if newline < 0 else newline
        line = source[start:end].strip()
        if not line or line.startswith("#"):
            start = end + 1
            continue
        point, after = _point(source, start)
        if isinstance(point, str):
            yield BadLine(number, f"unable to parse {line[:_SHOWN]!r}: {point}")
            start = end + 1
            continue
        # Text may hold line feeds.
        number += source.count("\n", start, after) - 1
        start = after
        yield point


def _point(source: str, at: int) -> tuple[Point | str, int]:
    """The point that begins at ``at`` and where the next line does, or what is wrong with it."""
    if blanks := _BLANKS.match(source, at):
        at = blanks.end()
    match = _MEASUREMENT.match(source, at)
    if match is None:
        return "no measurement", at
    measurement = _ESCAPED.sub(r"\1", match[0])
    at = match.end()
    tags: dict[str, str] = {}
    while tag := _TAG.match(source, at):
        tags[_ESCAPED.sub(r"\1", tag[1])] = _ESCAPED.sub(r"\1", tag[2])
        at = tag.end()
    blanks = _BLANKS.match(source, at)
    if blanks is None:
        return "a tag is not name=value" if source[at : at + 1] == "," else "no fields", at
    at = blanks.end()
    fields: dict[str, Scalar | None] = {}
    while field := _FIELD.match(source, at):
        name = _ESCAPED.sub(r"\1", field[1])
        if field[2] is not None:
            fields[name] = _ESCAPED_TEXT.sub(r"\1", field[2])
        else:
            value = _value(field[3])
            if value is Ellipsis:
                return f"the value of the field {name[:_SHOWN]!r} is none", at
            fields[name] = value
        at = field.end()
        if source[at : at + 1] != ",":
            break
        at += 1
    if not fields or field is None:
        return "a field is not name=value", at
    time = None
    if blanks := _BLANKS.match(source, at):
        if stamp := _TIME.match(source, blanks.end()):
            time = int(stamp[0])
            at = stamp.end()
    ending = _END.match(source, at)
    if ending is None:
        return "the time must be an integer", at
    return Point(measurement, tags, fields, time), ending.end()


def _value(text: str) -> Scalar | None:
    """A field's value; Ellipsis where it is none."""
    if text in _BOOLS:
        return _BOOLS[text]
    if integer := _INTEGER.fullmatch(text):
        return int(integer[1])
    if _FLOAT.fullmatch(text):
        return float(text)
    return None if text.lower() in _NO_NUMBER else ...  # type: ignore[return-value]
