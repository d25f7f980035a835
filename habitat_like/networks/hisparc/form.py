"""The form that a station posts, and its pickle. No I/O."""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

FIELDS = (b"station_id", b"password", b"checksum", b"data")
#: Fields that a body may have; those that are not ours are ignored.
MAX_FIELDS = 32

#: From this many bytes on, the faster decoding is worth scanning the whole text first.
_LONG = 200
_WELL_FORMED = re.compile(rb"[^%]*+(?:%[0-9A-Fa-f]{2}[^%]*+)*+")
_INTEGER = re.compile(rb"\s*[+-]?[0-9]+\s*")
#: An integer with more digits than these is not a station number.
_DIGITS = 18


class FormError(ValueError):
    """Not a station's form; the text is one line: the field and the reason."""


class Form(NamedTuple):
    """What a station posted. ``station`` is -1 for an impossible station number."""

    station: int
    password: bytes
    checksum: str
    data: bytes


def parse(body: bytes) -> Form:
    """Read an ``application/x-www-form-urlencoded`` body. Raises FormError."""
    parts = body.split(b"&", MAX_FIELDS)
    if len(parts) > MAX_FIELDS:
        raise FormError(f"body: more than {MAX_FIELDS} fields")
    found: dict[bytes, bytes] = {}
    for part in parts:
        name, equals, value = part.partition(b"=")
        name = _unquote(name)
        if not equals or name not in FIELDS:
            continue
        if name in found:
            raise FormError(f"{name.decode()}: stands twice")
        found[name] = _unquote(value)
    for name in FIELDS:
        if name not in found:
            raise FormError(f"{name.decode()}: required field is missing")
    station = found[b"station_id"]
    if not _INTEGER.fullmatch(station):
        raise FormError("station_id: must be an integer")
    number = int(station) if len(station.strip()) <= _DIGITS else -1
    checksum = found[b"checksum"].decode("latin-1").strip().lower()
    return Form(number, found[b"password"], checksum, found[b"data"])


def pickle_of(form: Form) -> bytes | None:
    """The pickle whose MD5 is the form's checksum, None if there is none.

    Clients either take the pickle's bytes for latin-1 text and percent-encode that as UTF-8, or
    encode the bytes as they are. Both look alike; the checksum tells which.
    """
    if _md5(form.data) == form.checksum:
        return form.data
    try:
        data = form.data.decode("utf-8").encode("latin-1")
    except UnicodeError:
        return None
    return data if _md5(data) == form.checksum else None


def _unquote(text: bytes) -> bytes:
    """Undo the percent-encoding; a ``%`` without two digits after it stays."""
    text = text.replace(b"+", b" ")
    if len(text) < _LONG or not _WELL_FORMED.fullmatch(text):
        return unquote_to_bytes(text)
    # Quoted-printable (RFC 2045) is the same with another sign, and is decoded in C, seven times
    # faster. Its other rules concern a sign without two digits, which doesn't occur here.
    return binascii.a2b_qp(text.replace(b"=", b"%3D").replace(b"%", b"="))


def _md5(data: bytes) -> str:
    # The protocol's checksum, which only protects against accidents.
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
