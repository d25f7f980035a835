"""The filters of payload configurations that need no code. No I/O.

Intermediate filters change a sentence's text, once its checksum is known to be right; post filters
change its values. ``_fix_invalid`` among the values says that the position can't be right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from habitat_like.telemetry.configuration import Filter
from habitat_like.telemetry.fix import ParseError

INVALID = "_fix_invalid"


def change_text(text: str, filters: list[Filter]) -> str:
    """``text`` after the intermediate ``filters``. Raises ParseError."""
    for one in filters:
        text = _find(_TEXT, one)(text, one)
    return text


def change_values(values: dict[str, Any], filters: list[Filter]) -> dict[str, Any]:
    """``values`` after the post ``filters``. Raises ParseError."""
    values = dict(values)
    for one in filters:
        try:
            _find(_VALUES, one)(values, one)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ParseError("filter", f"{_name(one)}: {error}") from None
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
    value = float(values[source]) * one.factor + one.offset
    if one.round is not None and value:
        # To so many significant figures.
        value = round(value, one.round - math.ceil(math.log10(abs(value))))
    values[one.destination or source] = value


def _simple_map(values: dict[str, Any], one: Filter) -> None:
    source = one.source or ""
    values[one.destination or source] = one.map[str(values[source])]


def _invalid_always(values: dict[str, Any], _: Filter) -> None:
    values[INVALID] = True


def _invalid_location_zero(values: dict[str, Any], _: Filter) -> None:
    if values.get("latitude") == 0 and values.get("longitude") == 0:
        values[INVALID] = True


def _invalid_gps_lock(values: dict[str, Any], one: Filter) -> None:
    if values.get(one.source or "gps_lock") not in one.ok:
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


def _name(one: Filter) -> str:
    # habitat writes common.numeric_scale.
    return one.filter.rpartition(".")[2]


def _find(known: dict[str, Any], one: Filter) -> Any:
    if _name(one) not in known:
        raise ParseError("filter", f"there is no filter {one.filter!r} here")
    return known[_name(one)]
