"""What a JSON text may cost to read: digits, keys and values, counted before it is parsed. No I/O.

A few bytes can keep a parser busy for long: the time for an integer grows with the square of its
digits, each key costs a hundred bytes and a microsecond, and gzip makes a megabyte of either from
two kilobytes. The counting here costs a few passes over the bytes in C, whatever is in them.
"""

from __future__ import annotations

from habitat_like.message.message import InvalidMessage

#: Texts of so many bytes cost little whatever is in them, and are not looked at.
FREE = 4096
#: Digits of one number. A double has 309 of them before its point at most.
MAX_DIGITS = 400
#: Keys of all objects in one message.
MAX_KEYS = 1000
#: Strings, and items of arrays, in one message.
MAX_VALUES = 20_000

_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
# Each digit as a zero, so that any long number is the one above.
_AS_ZEROS = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))


def refuse_costly(text: bytes) -> None:
    """Raise InvalidMessage, with the reason, where reading the JSON ``text`` would take long.

    Linear in the bytes. What is in strings counts for nothing, so they may hold any text. Where
    ``text`` is no JSON, anything may come of it but an error of another kind.
    """
    if len(text) <= FREE:
        return
    if b"\\" in text:
        # Without escapes each quote begins or ends a string. Pairs of backslashes first: the
        # quote behind one is none that is escaped.
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
