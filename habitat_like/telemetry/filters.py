"""The filters of payload configurations that need no code. No I/O.

Intermediate filters change a sentence's text, once its checksum is known to be right; post filters
change its values. As in habitat, a filter that fails (its field is optional, and not there) leaves
everything as it was. ``_fix_invalid`` among the values says that the position can't be right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from habitat_like.telemetry.configuration import Filter

INVALID = "_fix_invalid"
#: What a filter raises that can't be applied.
_FAILURES = (KeyError, TypeError, ValueError, OverflowError)


def change_text(text: str, filters: list[Filter]) -> str:
    """``text`` after the intermediate ``filters``."""
    for one in filters:
        try:
            text = _TEXT[one.name](text, one)
        except _FAILURES:
            continue
    return text


def change_values(values: dict[str, Any], filters: list[Filter]) -> dict[str, Any]:
    """``values`` after the post ``filters``."""
    for one in filters:
        changed = dict(values)
        try:
            _VALUES[one.name](changed, one)
        except _FAILURES:
            continue
        values = changed
    return values


def _semicolons_to_commas(text: str, _: Filter) -> str:
    return text.replace(";", ",")


def _zero_pad_times(text: str, one: Filter) -> str:
    """``12:3:8`` as ``12:03:08``, in the field of this number (the callsign is field 0)."""
    fields = text.split(",")
    if 0 <= one.field < len(fields):
        fields[one.field] = ":".join(part.zfill(2) for part in fields[one.field].split(":"))
    return ",".join(fields)


def _numeric_scale(values: dict[str, Any], one: Filter) -> None:
    source = one.source or ""
    value = float(values[source]) * (one.factor or 0.0) + one.offset
    if one.round is not None and value:
        # To so many significant figures.
        value = round(value, one.round - math.ceil(math.log10(abs(value))))
    if not math.isfinite(value):
        raise ValueError(f"{source} becomes {value}")
    values[one.destination or source] = value


def _simple_map(values: dict[str, Any], one: Filter) -> None:
    """A map in JSON has texts for keys, whatever the value is."""
    source = one.source or ""
    value, known = values[source], one.map or {}
    if isinstance(value, float) and value.is_integer() and value not in known:
        value = int(value)
    values[one.destination or source] = known[value if value in known else str(value)]


def _invalid_always(values: dict[str, Any], _: Filter) -> None:
    values[INVALID] = True


def _invalid_location_zero(values: dict[str, Any], _: Filter) -> None:
    if values["latitude"] == 0 and values["longitude"] == 0:
        values[INVALID] = True


def _invalid_gps_lock(values: dict[str, Any], one: Filter) -> None:
    if values[one.source or "gps_lock"] not in (one.ok or ()):
        values[INVALID] = True


def _zero_pad_coordinates(values: dict[str, Any], one: Filter) -> None:
    """51.2 that was meant as 51.00002: whole and fraction were printed as two integers."""
    for name in one.fields:
        whole, _, fraction = str(values[name]).partition(".")
        values[name] = float(f"{whole}.{fraction.zfill(one.width)}")


_TEXT: dict[str, Callable[[str, Filter], str]] = {
    "semicolons_to_commas": _semicolons_to_commas,
    "zero_pad_times": _zero_pad_times,
}
_VALUES: dict[str, Callable[[dict[str, Any], Filter], None]] = {
    "numeric_scale": _numeric_scale,
    "simple_map": _simple_map,
    "invalid_always": _invalid_always,
    "invalid_location_zero": _invalid_location_zero,
    "invalid_gps_lock": _invalid_gps_lock,
    "zero_pad_coordinates": _zero_pad_coordinates,
}
