"""InfluxDB's line protocol. No I/O.

``measurement[,tag=value…] field=value[,field=value…] [time]``, one point per line.
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
    """A line: ``time`` is the integer as sent; a field is None if it is not a finite number."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Scalar | None]
    time: int | None


class BadLine(NamedTuple):
    """A line that can't be read: its number, from 1, and why."""

    number: int
    text: str


def parse(source: str) -> Iterator[Point | BadLine]:
    """The points in ``source``, in order; blank lines and comments are skipped."""
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
        try:
            point, after = _point(source, start)
        except _Unreadable as error:
            yield BadLine(number, f"unable to parse {line[:_SHOWN]!r}: {error}")
            start = end + 1
            continue
        # Text may hold line feeds.
        number += max(source.count("\n", start, after) - 1, 0)
        start = after
        yield point


class _Unreadable(ValueError):
    """What is wrong with a line."""


def _point(source: str, at: int) -> tuple[Point, int]:
    """The point that begins at ``at``, and where the next line does. Raises _Unreadable."""
    if blanks := _BLANKS.match(source, at):
        at = blanks.end()
    match = _MEASUREMENT.match(source, at)
    if match is None:
        raise _Unreadable("no measurement")
    at = match.end()
    tags: dict[str, str] = {}
    while tag := _TAG.match(source, at):
        tags[_ESCAPED.sub(r"\1", tag[1])] = _ESCAPED.sub(r"\1", tag[2])
        at = tag.end()
    blanks = _BLANKS.match(source, at)
    if blanks is None:
        reason = "a tag is not name=value" if source[at : at + 1] == "," else "no fields"
        raise _Unreadable(reason)
    fields, at = _fields(source, blanks.end())
    time = None
    if (blanks := _BLANKS.match(source, at)) and (stamp := _TIME.match(source, blanks.end())):
        time, at = int(stamp[0]), stamp.end()
    ending = _END.match(source, at)
    if ending is None:
        raise _Unreadable("the time must be an integer")
    return Point(_ESCAPED.sub(r"\1", match[0]), tags, fields, time), ending.end()


def _fields(source: str, at: int) -> tuple[dict[str, Scalar | None], int]:
    """The fields that begin at ``at``, and where they end. Raises _Unreadable."""
    fields: dict[str, Scalar | None] = {}
    while field := _FIELD.match(source, at):
        name = _ESCAPED.sub(r"\1", field[1])
        if field[2] is None:
            fields[name] = _value(name, field[3])
        else:
            fields[name] = _ESCAPED_TEXT.sub(r"\1", field[2])
        at = field.end()
        if source[at : at + 1] != ",":
            return fields, at
        at += 1
    raise _Unreadable("a field is not name=value")


def _value(name: str, text: str) -> Scalar | None:
    """A field's value, None for a number that is not finite. Raises _Unreadable."""
    if text in _BOOLS:
        return _BOOLS[text]
    if integer := _INTEGER.fullmatch(text):
        return int(integer[1])
    if _FLOAT.fullmatch(text):
        return float(text)
    if text.lower() in _NO_NUMBER:
        return None
    raise _Unreadable(f"the value of {name[:_SHOWN]!r} is neither number, text nor bool")
