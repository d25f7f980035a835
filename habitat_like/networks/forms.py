"""Queries and forms as stations send them, well formed or not. No I/O.

A blank may be a ``+``, a percent sign that starts no code stays, the last of a repeated key counts,
and a leading ``&`` means nothing.
"""

from __future__ import annotations

import re

import msgspec

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


#: Bytes of a text that ``parse`` reads as JSON: a loop is as fast for less.
_SLOW, _QUICK = 200, 8192
_object = msgspec.json.Decoder(dict[str, str]).decode


def parse(text: bytes) -> dict[str, str]:
    """The fields of a query or form. A field without an equals sign has the value ""."""
    text = _simplify(text)
    fields = _quickly(text) if _SLOW < len(text) <= _QUICK else None
    return _parts(text.decode("latin-1")) if fields is None else fields


def as_json(text: bytes) -> bytes | None:
    """A plain query or form as a JSON object of texts, None for one that is not plain.

    It is JSON only if each part is a name and a value.
    """
    text = _simplify(text)
    return None if b"%" in text or len(text) > _QUICK else _quote(text)


def _simplify(text: bytes) -> bytes:
    """The same fields without blanks, and codes, as dates have them."""
    text = text.strip(b"?& \t\r\n\0")
    if b"+" in text:
        text = text.replace(b"+", b" ")
    if b"%" in text:
        # Neither character can become part of another code.
        text = text.replace(b"%20", b" ").replace(b"%3A", b":")
    return text


def _quote(text: bytes) -> bytes | None:
    """The text with quotes around its names and values, None if it can't have them."""
    if b'"' in text or b"\\" in text or not text.isascii():
        return None
    return b'{"%b"}' % text.replace(b"&", b'","').replace(b"=", b'":"')


def _quickly(text: bytes) -> dict[str, str] | None:
    """The fields of a plain text of ``name=value`` only; None if it is another.

    With quotes around its names and values it is JSON, whose parser takes half the time of a loop
    here, and finds whatever is not plain: a part with no equals sign or two, an empty one.
    """
    quoted = _quote(text)
    if quoted is None:
        return None
    try:
        fields = _object(quoted)
    except msgspec.MsgspecError:
        return None
    if "" in fields or len(fields) > MAX_FIELDS:
        return None
    if b"%" in text:
        for name, value in fields.items():
            if "%" in name:
                return None
            if "%" in value:
                fields[name] = undo(value)
    return fields


def _parts(text: str) -> dict[str, str]:
    """The fields of any text, in which only plus signs are undone; a character for each byte."""
    fields: dict[str, str] = {}
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
