"""Hints for values that YAML read as something other than was meant. No I/O."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Collection, Iterator
from typing import Any

import yaml

from habitat_like import times

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_ODD = re.compile(r"[0-9]:[0-5]?[0-9]|(?<![0-9.])0[0-9_]")
#: What YAML 1.1 reads in base 8.
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
#: What YAML 1.1 reads in base 60, such as 12:30, which is 750.
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_POWER = re.compile(r"[0-9]+(?:\.[0-9]*)?e\+?[0-9]{1,2}", re.IGNORECASE)
_NUMBERS = ("int", "float")
#: Values of a file that are looked at: aliases can repeat a few of them billions of times.
_MAX_VALUES = 10_000
_TREES = ("array", "object")
_OTHERS = {"bool": "true or false", "object": "'name: value' below it"}


def hint(reason: str, written: str) -> str:
    """What to do about ``reason``, msgspec's "Expected float, got str"; empty where unclear.

    ``written`` is the value as written in the file or the environment, empty if unknown.
    """
    found = re.match(r"Expected ([\w| ]+), got (\w+)", reason)
    _, few, choices = reason.partition("; one of ")
    if found is None or (few and written not in choices.split(", ")):
        return ""
    wanted, got = found[1].split(" | "), found[2]
    if "str" in wanted and got != "str":
        return "; write one text" if got in _TREES else _quotes(got, written)
    if "array" in wanted:
        # A word such as NO is none as it is written.
        plain = written and got in ("str", *_NUMBERS)
        return f"; write a list, as in [{written}]" if plain else "; write a list, as in [a, b]"
    for kind, what in _OTHERS.items():
        if kind in wanted:
            return f"; write {what}"
    if any(kind in wanted for kind in _NUMBERS):
        return _number(wanted, written)
    return ""


def _quotes(got: str, written: str) -> str:
    kinds = {
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
        "date": "a date",
        "datetime": "a date",
        "null": "nothing at all",
    }
    if got == "null" and not written:
        return "; leave the key out, or give it a value"
    if got not in kinds:
        return ""
    if not written:
        return f"; YAML takes it for {kinds[got]}: put it in quotes"
    return f'; YAML takes {written} for {kinds[got]}: put it in quotes, as in "{written}"'


def _number(wanted: list[str], written: str) -> str:
    said = "; write a number" if "float" in wanted else "; write a whole number"
    size = _SIZE.fullmatch(written)
    if _SIXTIES.fullmatch(written):
        said = f"; {written} is not a number: write seconds or bytes as one number"
    elif _OCTAL.fullmatch(written):
        said = f"; write it without the zero in front, as {int(written.replace('_', ''))}"
    elif re.fullmatch(r"[0-9]{1,3}(?:[ ,'.][0-9]{3})+", written):
        said = f"; write it as {re.sub('[^0-9]', '', written)}"
    elif _POWER.fullmatch(written):
        said = f"; write {float(written):.0f}"
    elif "float" not in wanted and size is not None and size[2]:
        said = f"; bytes have no unit: write {_bytes(size)}"
    elif written and "float" in wanted:  # as all times are
        with contextlib.suppress(ValueError):
            said = f"; times are in seconds: write {times.parse_length(written):.15g}"
    return said


def _bytes(size: re.Match[str]) -> int:
    base = 1024 if size[3] else 1000
    return int(float(size[1]) * base ** _POWERS[size[2].lower()])


def written(text: str) -> dict[str, str]:
    """The values in a YAML ``text``, as written, by their dotted keys with indices."""
    try:
        walk = _walk(yaml.compose(text, yaml.SafeLoader), "")
        return dict(itertools.islice(walk, _MAX_VALUES))
    except (yaml.YAMLError, RecursionError):
        return {}


def misread(text: str, numbers: Collection[str]) -> tuple[str, str] | None:
    """The first of the keys ``numbers`` whose value is another number to YAML, with the reason.

    ``text`` is YAML. None if each is what it looks like.
    """
    if not _ODD.search(text):
        return None
    for key, value in written(text).items():
        if key in numbers and (_SIXTIES.fullmatch(value) or _OCTAL.fullmatch(value)):
            number = yaml.safe_load(value)
            return key, f"YAML takes {value} for {number}{_number(['int'], value)}"
    return None


def _walk(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.ScalarNode):
        yield key, node.value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, f"{key}[{index}]")
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            below = str(getattr(name, "value", ""))
            yield from _walk(value, f"{key}.{below}" if key else below)
