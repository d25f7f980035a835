"""The values in other networks' uploads: numbers as text, placeholders for none. No I/O.

Stations write numbers as they like: as text, with a decimal comma, followed by a unit. Any number
becomes one; anything that means "no reading" is left out, and its name kept.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from habitat_like.message.facts import Position
from habitat_like.networks.observation import Scalar

#: Observations in one request; any more are a problem.
MAX_ITEMS = 2500
#: Values of one observation, and how deeply they may nest; a mark says that there were more.
MAX_VALUES = 2000
MAX_DEPTH = 12
#: Characters of a value's name; longer ones are cut.
MAX_NAME = 128
#: The mark of a position that can't be right.
POSITION = "position"

#: Characters of a number in any form, and of one as JSON writes it; longer text is only text.
SHORT = 40
LONG = 4096
#: Beyond it an integer is infinite to programs that read numbers as doubles.
_LARGE = 2**64
_NO_READING = -9999
_HUGE = float("inf")
_MISSING = {
    *("nan", "-nan", "+nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"),
    *("ovf", "-ovf", "", "-", "--", "---", "----", "--.-", "---.-", "n/a", "na", "null"),
}
# For ``isinstance``: a union written out in place is built anew each time.
_TREES = (dict, list)
_NO_NUMBERS = (str, bool)
_LONGEST_MISSING = max(map(len, _MISSING))
_NUMBER = re.compile(
    r"\s*([+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]{1,4})?)"
    r"(?:\s*(?:dBm|dB|%|°\s?[CF]?|hPa|mbar|kPa|Pa|mV|ppm|ppb|km/h|m/s|mph|[kM]?Hz|µg/m³|ug/m3"
    r"|W/m²|W/m2|lx|lux|cpm|CPM|µSv/h|uSv/h|inHg|in|mm)|\s+(?:V|C|F|m|km|s|ms|h))?\s*",
    re.ASCII,
)
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")


def scalar(value: object) -> Scalar | None:
    """``value`` as a number, text or bool; None if it means no reading.

    Text that is entirely a number becomes one; NaN, infinities, -9999 and placeholders are None.
    """
    kind = type(value)
    if kind is str:
        return _short_reading(value) if len(value) <= SHORT else _long_reading(value)  # type: ignore
    if kind is float:
        # Infinity minus itself is NaN too.
        return None if value == _NO_READING or value - value != 0 else value  # type: ignore
    if kind is int:
        if value == _NO_READING:
            return None
        return value if -_LARGE < value < _LARGE else scalar(_as_float(value))  # type: ignore
    if kind is bool:
        return value  # type: ignore[return-value]
    return None


def number(value: object) -> float | int | None:
    """``value`` as a number if it is one, in any form; else None."""
    found = scalar(value)
    return None if isinstance(found, _NO_NUMBERS) else found


def text(value: object) -> str:
    """``value`` as stripped text, for names and identities; "" if it is neither."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value) if -_LARGE < value < _LARGE else ""
    return ""


#: Names of values never archived, whoever sends them; of nested names the last part counts.
SECRETS = {
    *("password", "passwd", "pwd", "passkey", "siteauthenticationkey", "api_key", "apikey"),
    *("secret", "token", "access_token", "auth_token", "authorization", "jwt", "encryptionkey"),
    *("uplink_token", "session_key_id", "app_key", "appkey", "nwk_key", "nwkkey", "app_s_key"),
    *("appskey", "nwk_s_key", "nwkskey", "downlink_url", "correlation_ids"),
}


#: Bytes to keep of a body that can't be read.
MAX_RAW = 4096
_SECRET = re.compile(
    rb"(?:(?<=[^A-Za-z_])|^)((?:%b)[\"']?\s*[:=]\s*)(?:\"(?:[^\"\\]|\\.)*+\"?|[^&,;}\s]*+)"
    % "|".join(sorted(map(re.escape, SECRETS), key=len, reverse=True)).encode(),
    re.IGNORECASE | re.DOTALL,
)


@functools.lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Whether a value with this name is a credential, which is never kept."""
    return key.lower() in SECRETS


class Readings:
    """An observation's content: ``values`` by name, the names that are ``missing``, ``marks``.

    Collects at most MAX_VALUES names. Used by one thread.
    """

    __slots__ = ("_missing", "marks", "values")

    def __init__(self) -> None:
        self.values: dict[str, Scalar] = {}
        self.marks: list[str] = []
        self._missing: dict[str, None] = {}

    @property
    def missing(self) -> list[str]:
        """The names that came without a reading."""
        return list(self._missing)

    def add(self, key: str, value: object) -> None:
        """Take any value: objects and lists are taken apart, ``outer.inner``, ``list.0``.

        Values with a secret's name are dropped.
        """
        # A longer name is not a secret's, and too long for the cache.
        if len(key) <= MAX_NAME and is_secret(key):
            return
        if isinstance(value, _TREES):
            self._add_tree(key, value, 1)
        else:
            self._add_scalar(key, value)

    def add_all(self, pairs: Mapping[str, object], leave: Iterable[str] = ()) -> None:
        """Take all ``pairs`` except those named in ``leave``."""
        for key, value in pairs.items():
            if key not in leave:
                self.add(key, value)

    def add_text(self, key: str, value: object) -> None:
        """Take a value that is text even where it looks like a number: an identity, a version."""
        if found := text(value):
            self.values[key] = found

    def mark(self, reason: str) -> None:
        """Note once why the message can't be right."""
        if reason not in self.marks:
            self.marks.append(reason)

    def position(
        self,
        latitude: object,
        longitude: object,
        altitude: object = None,
        *,
        is_needed: bool = False,
    ) -> Position | None:
        """The place, None with a mark if these numbers can't be one.

        A receiver without a fix says 0/0 or -200/-200, or nothing: then the position is missing,
        but the measurements are still good. If ``is_needed``, a message without a place is
        useless, and gets the mark anyway.
        """
        found = place(latitude, longitude, altitude)
        if found is None:
            if is_needed or not _is_no_fix(number(latitude), number(longitude)):
                self.mark(POSITION)
            else:
                self._missing[POSITION] = None
        return found

    def _add_scalar(self, key: str, value: object) -> None:
        values, missing = self.values, self._missing
        if len(values) + len(missing) >= MAX_VALUES:
            self.mark(f"more than {MAX_VALUES} values")
            return
        if len(key) > MAX_NAME:
            key = key[:MAX_NAME]
        found = scalar(value)
        if found is not None:
            values[key] = found
            if missing:
                missing.pop(key, None)
        elif key not in values:
            missing[key] = None

    def _add_tree(self, key: str, tree: dict[str, Any] | list[Any], depth: int) -> None:
        if depth > MAX_DEPTH or len(key) > MAX_NAME:
            self.mark("nested too deeply")
            return
        for inner, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if len(self.values) + len(self._missing) >= MAX_VALUES:
                self.mark(f"more than {MAX_VALUES} values")
                return
            if isinstance(inner, str) and inner.lower() in SECRETS:
                continue
            path = f"{key}.{inner}" if key else str(inner)
            if isinstance(value, _TREES):
                self._add_tree(path, value, depth + 1)
            else:
                self._add_scalar(path, value)


def place(latitude: object, longitude: object, altitude: object = None) -> Position | None:
    """The place given by these numbers; None for 0/0, out of range, or not numbers."""
    north, east = number(latitude), number(longitude)
    if north is None or east is None:
        return None
    if not (-90 <= north <= 90 and -180 <= east <= 180) or (north == 0 and east == 0):
        return None
    return Position(float(north), float(east), height(altitude))


def _is_no_fix(latitude: float | None, longitude: float | None) -> bool:
    """Whether this is how a receiver says that it does not know where it is."""
    return (latitude, longitude) in ((None, None), (0, 0)) or (
        latitude is not None and abs(latitude) == 200
    )


def height(value: object) -> float | None:
    """Metres above sea level, None if not between the sea floor and space."""
    found = number(value)
    return None if found is None or not -12000 <= found <= 1e8 else float(found)


def unread(body: bytes) -> bytes:
    """What to keep of a body that can't be read: its beginning, without possible secrets."""
    return _SECRET.sub(rb"\1...", body[:MAX_RAW])


def unhex(digits: str) -> bytes | None:
    """The bytes that hexadecimal digits spell; None if they are not such or one is missing."""
    return bytes.fromhex(digits) if _HEX.fullmatch(digits) else None


def unbase64(letters: str) -> bytes | None:
    """The bytes that base64 encodes, padded or not, in either alphabet; None if invalid."""
    letters = letters.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return binascii.a2b_base64(letters + "=" * (-len(letters) % 4), strict_mode=True)
    except ValueError:
        return None


def to_base64(data: bytes) -> str:
    """``data`` as base64, which is how JSON carries bytes."""
    return base64.b64encode(data).decode()


#: A number that is a reading as it is: integers that are exact in any program, and nothing that
#: could stand for no reading.
Plain = (
    Annotated[int, msgspec.Meta(gt=_NO_READING, le=10**18)]
    # Text may also be "inf", other than JSON.
    | Annotated[float, msgspec.Meta(gt=_NO_READING, le=sys.float_info.max)]
)
_numbers = msgspec.json.Decoder(list[Plain]).decode


def plain_numbers(texts: tuple[str, ...]) -> list[int | float] | None:
    """``scalar`` of each text; None if they are not all numbers as JSON writes them.

    One call of the JSON parser takes a fifth of the time.
    """
    joined = ",".join(texts)
    if len(joined) > LONG:
        return None
    try:
        found = _numbers(f"[{joined}]")
    except msgspec.MsgspecError:
        return None
    return found if len(found) == len(texts) else None


@functools.lru_cache(maxsize=8192)
def _short_reading(value: str) -> Scalar | None:
    """``scalar`` of text of up to SHORT characters, cached: the same ones come repeatedly."""
    if value[:1].isalpha():
        return _word(value)
    # float() reads nearly all numbers that stations send in a tenth of the pattern's time.
    try:
        found = float(value)
    except ValueError:
        return _odd_text(value)
    if not -_HUGE < found < _HUGE or found == _NO_READING:  # also catches NaN
        return None
    if "_" in value or not value.isascii():  # Python's own notation
        return value.strip()
    return found if "." in value else _whole(value.strip(), found)


def _long_reading(value: str) -> Scalar | None:
    found = plain_numbers((value,))
    return (value.strip() or None) if found is None else found[0]


def _word(value: str) -> str | None:
    value = value.strip()
    return None if len(value) <= _LONGEST_MISSING and value.lower() in _MISSING else value


def _odd_text(value: str) -> Scalar | None:
    match = _NUMBER.fullmatch(value)
    if match is None:
        return _word(value)
    digits = match[1].replace(",", ".")
    found = float(digits)
    if not -_HUGE < found < _HUGE or found == _NO_READING:
        return None
    return _whole(digits, found)


def _whole(digits: str, found: float) -> float | int:
    sign = digits[:1]
    if (digits[1:] if sign in ("-", "+") else digits).isdigit() and -_LARGE < found < _LARGE:
        return int(digits)
    return found


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")
