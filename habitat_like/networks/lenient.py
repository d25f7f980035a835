"""JSON as stations write it: strict where it is JSON, lenient where it nearly is. No I/O.

Small devices print ``nan`` and ``inf`` in place of numbers, which would lose the whole upload.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from habitat_like.networks.forms import text_of

#: The most digits of an integer that stays one; a double can't hold more.
_DIGITS = 300
_strict = msgspec.json.Decoder().decode
# Whole strings are skipped, so that only what is outside them is replaced; unterminated ones too,
# or each quote in them would start another search to the end.
_ODD = re.compile(
    r'"(?:[^"\\]++|\\.)*+"?|[-+]?(?<![A-Za-z0-9_])(?:nan|inf(?:inity)?|ovf|undefined)(?![A-Za-z0-9_])',
    re.IGNORECASE | re.DOTALL,
)
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJson(ValueError):
    """Not JSON, even leniently; the text is one line that says what is wrong."""


def parse(body: bytes) -> Any:
    """What ``body`` says: only objects, lists, text, finite numbers, bools and None.

    NaN and infinities become None; bytes that are not UTF-8 are read as Latin-1. Raises NotJson.
    """
    try:
        return _strict(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError:
        raise NotJson("body: nested too deeply") from None
    if not body.strip():
        raise NotJson("body: empty")
    source = text_of(body).removeprefix("\ufeff").strip("\0 \t\r\n")
    try:
        tree = _lenient.decode(_ODD.sub(_null, source))
        return _without_surrogates(tree) if _ESCAPED_SURROGATE.search(source) else tree
    except RecursionError:
        raise NotJson("body: nested too deeply") from None
    except ValueError as error:
        reason = str(error).partition(": line")[0]
        where = f" (at byte {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise NotJson(f"body: not valid JSON: {reason}{where}") from None


def _null(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else "null"


def _integer(digits: str) -> int | float | None:
    return int(digits) if len(digits) <= _DIGITS else _float(digits)


def _float(digits: str) -> float | None:
    found = float(digits)
    return None if found - found != 0 else found


_lenient = json.JSONDecoder(
    parse_float=_float, parse_int=_integer, parse_constant=lambda _: None, strict=False
)


def _without_surrogates(tree: Any) -> Any:
    """``tree`` with a question mark for each lone surrogate, which UTF-8 can't encode."""
    if isinstance(tree, str):
        return tree.encode("utf-8", "replace").decode()
    if isinstance(tree, list):
        return [_without_surrogates(one) for one in tree]
    if isinstance(tree, dict):
        return {_without_surrogates(key): _without_surrogates(one) for key, one in tree.items()}
    return tree
