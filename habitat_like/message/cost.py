"""What a JSON text may cost to read: digits, keys and values, counted before it is parsed. No I/O.

A few bytes can keep a parser busy for long: an integer takes time quadratic in its digits, each key
costs a hundred bytes and a microsecond, and gzip expands two kilobytes to a megabyte of either. The
counting here costs a few passes over the bytes in C, whatever they contain.
"""

from __future__ import annotations

from habitat_like.message.message import InvalidMessage

#: Texts up to this many bytes are cheap whatever they contain, and are not checked.
FREE = 4096
#: Digits of one number. A double has at most 309 before its point.
MAX_DIGITS = 400
#: Keys of all objects in one message.
MAX_KEYS = 1000
#: Strings, and items of arrays, in one message.
MAX_VALUES = 20_000

_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
# Each digit as a zero, so that any long number is the one above.
_AS_ZEROS = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))


def refuse_costly(text: bytes) -> None:
    """Raise InvalidMessage, with the reason, if reading the JSON ``text`` would take long.

    Linear in the bytes. The content of strings is not counted, so they may hold any text. If
    ``text`` is not JSON, any result is possible except another kind of error.
    """
    if len(text) <= FREE:
        return
    if b"\\" in text:
        # Without escapes each quote begins or ends a string. Pairs of backslashes first: a quote
        # after one is not escaped.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = text.split(b'"', 2 * MAX_VALUES + 1)
    strings = len(parts) // 2
    outside = b"".join(parts[: 2 * MAX_VALUES + 1 : 2])
    if outside.count(b":") > MAX_KEYS:
        raise InvalidMessage(f"body: more than {MAX_KEYS} keys in one message")
    if strings > MAX_VALUES:
        raise InvalidMessage(f"body: more than {MAX_VALUES} strings in one message")
    if outside.count(b",") > MAX_VALUES:
        raise InvalidMessage(f"body: more than {MAX_VALUES} values in one message")
    if len(outside) > MAX_DIGITS and _LONG_NUMBER in outside.translate(_AS_ZEROS):
        raise InvalidMessage(f"body: a number of more than {MAX_DIGITS} digits")
