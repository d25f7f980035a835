"""Queries and forms as stations send them, well formed or not. No I/O.

A blank may be a ``+``, a percent sign that starts no code stays, the last of a repeated key counts,
and a leading ``&`` means nothing.
"""

from __future__ import annotations

import re

#: Fields that are read of a query or a form; real ones have fewer than a hundred.
MAX_FIELDS = 1000

# urllib's way takes 200 times the memory of a text of many percent signs.
_CODE = re.compile(rb"%([0-9A-Fa-f]{2})")
_DIGITS = "0123456789ABCDEFabcdef"
_BYTES = {f"{a}{b}".encode(): bytes.fromhex(a + b) for a in _DIGITS for b in _DIGITS}
_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,200})', re.IGNORECASE)
_PART_NAME = re.compile(rb'[;\s]name="?([^";\r\n]{1,200})', re.IGNORECASE)

# Where a query begins that is glued to the path without a question mark: after the last slash,
# ampersand, blank code or script name before its first equals sign.
_GLUED = re.compile(r"(?:/|&|\.php|\.aspx?|\.cgi)(?=[^/&]*\Z)", re.IGNORECASE)


def parse(text: str, into: dict[str, str] | None = None) -> dict[str, str]:
    """The fields of a query or form, added to ``into``; ``text`` has one character per byte.

    A field without an equals sign has the value "".
    """
    fields: dict[str, str] = {} if into is None else into
    text = text.strip("?& \t\r\n\0")
    if "+" in text:
        text = text.replace("+", " ")
    parts = text.split("&", MAX_FIELDS)
    if len(parts) > MAX_FIELDS:
        del parts[-1]
    plain = "%" not in text and text.isascii()
    for part in parts:
        name, _, value = part.partition("=")
        if not plain and ("%" in part or not part.isascii()):
            name, value = undo(name), undo(value)
        if name:
            fields[name] = value
    return fields


def undo(text: str) -> str:
    """Undo the percent-encoding of a name or value: UTF-8, or else Latin-1."""
    if "+" in text:
        text = text.replace("+", " ")
    if "%" in text:
        raw = _CODE.sub(_byte, text.encode("latin-1", "replace"))
    elif text.isascii():
        return text
    else:
        raw = text.encode("latin-1", "replace")
    return text_of(raw)


def _byte(code: re.Match[bytes]) -> bytes:
    return _BYTES[code[1]]


def text_of(raw: bytes) -> str:
    """Bytes as text: UTF-8, or else Latin-1, which always works."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def multipart(body: bytes, content_type: str) -> dict[str, str]:
    """The fields of a ``multipart/form-data`` body; none if the type names no boundary."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        return {}
    fields: dict[str, str] = {}
    for part in body.split(b"--" + boundary[1].encode("latin-1", "replace"), MAX_FIELDS):
        head, blank, content = part.partition(b"\r\n\r\n")
        name = _PART_NAME.search(head[:1000])
        if blank and name:
            fields[text_of(name[1])] = text_of(content.removesuffix(b"\r\n"))
    return fields


def query_of(target: str) -> str:
    """The query in a request's target: after the question mark, or glued to the path.

    With a glued query, the path ends at a slash, an ampersand or a script name.
    """
    path, mark, query = target.partition("?")
    if mark and query.strip("&"):
        return query
    before, equals, _ = path.partition("=")
    if not equals:
        return ""
    cuts = list(_GLUED.finditer(before))
    return path[cuts[-1].end() :] if cuts else ""
