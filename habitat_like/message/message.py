"""Messages, the stations that send them, and the registry of types with their checks. No I/O.

A message comes in as the JSON that docs/http.md describes and becomes one immutable document. One
msgspec decode checks it against the type's definition, one encode makes its canonical data.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from habitat_like.config.addresses import plain

#: Bytes of the hash in an id: 24 hex digits.
HASH_BYTES = 12

_CALLSIGN = re.compile(r"[A-Za-z0-9/_-]{1,64}")
_FOREIGN = re.compile(r"[^A-Za-z0-9/_-]+")
_TYPE_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
# IPv4 or IPv6, with a zone perhaps; nginx says "unix:" of a client on a UNIX socket.
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[0-9A-Za-z._-]{1,15})?")
_checked_names: set[str] = set()
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


class InvalidMessage(ValueError):
    """A refused message; the text is one line: the field and the reason.

    It may contain what a station sent, so unprintable characters become question marks.
    """

    def __init__(self, text: str) -> None:
        super().__init__("".join([one if one.isprintable() else "?" for one in text]))


#: The same stations send again and again.
@functools.lru_cache(maxsize=16384)
def to_callsign(text: str) -> str:
    """``text`` as a callsign: upper case, others become ``_``, at most 64; "" for none."""
    return _FOREIGN.sub("_", text.strip())[:64].upper()


class Listener:
    """The sender: ``callsign`` (stored in upper case) and the address ``ip``, None if unknown.

    Raises InvalidMessage.
    """

    __slots__ = ("callsign", "ip")

    def __init__(self, callsign: str, ip: str | None = None) -> None:
        if not _CALLSIGN.fullmatch(callsign):
            raise InvalidMessage("callsign: must be 1 to 64 characters of A-Z a-z 0-9 / _ -")
        self.callsign = callsign.upper()
        if ip and ip[:1] in "0:":  # an IPv4 address in IPv6's form, perhaps
            ip = plain(ip)
        self.ip = ip if ip and _ADDRESS.fullmatch(ip) else None

    def __repr__(self) -> str:
        """For logs and tests."""
        return f"Listener({self.callsign!r}, {self.ip!r})"


class Message:
    """One message, with the id and the document that follow from it.

    ``time_created`` and ``time_uploaded`` are UNIX seconds by the gateway's clock. ``time_sent`` is
    the station's own ``time_created``, before any correction: the id is made of it, so that a retry
    has the same id; a message that a sink makes has no other, and leaves it out. ``data`` is plain
    values or a msgspec Struct. The id is made of ``identity``, where one is given, in place of the
    data: what the station itself tells its messages apart by. ``suspicious`` is the reason why the
    message can't be right, None where it can: queries leave it out then. Raises ValueError for a
    type that is no type's name.
    """

    __slots__ = (
        "_canonical",
        "_identity",
        "data",
        "listener",
        "suspicious",
        "time_created",
        "time_sent",
        "time_uploaded",
        "type",
    )

    def __init__(
        self,
        listener: Listener,
        type: str,
        time_created: int,
        time_uploaded: int,
        data: Any,
        time_sent: int | None = None,
        *,
        suspicious: str | None = None,
        identity: Any = None,
    ) -> None:
        if type not in _checked_names:
            check_type_name(type)
        self.listener = listener
        self.type = type
        self.time_created = time_created
        self.time_uploaded = time_uploaded
        self.time_sent = time_created if time_sent is None else time_sent
        self.data = data
        self.suspicious = suspicious
        self._canonical = _encode_sorted(data)
        self._identity = self._canonical if identity is None else _encode_sorted(identity)

    @property
    def id(self) -> str:
        """The id: deterministic, and increasing with time, which suits a B-tree."""
        head = f"{self.listener.callsign}\0{self.type}\0{self.time_sent}\0".encode()
        digest = blake2b(head + self._identity, digest_size=HASH_BYTES).hexdigest()
        return f"{self.time_sent:010d}-{digest}"

    @property
    def canonical(self) -> bytes:
        """The data as JSON with sorted keys."""
        return self._canonical

    def document(self, gateway: bytes) -> tuple[str, bytes]:
        """The id and the archived document's JSON bytes; ``gateway``: the machine code as JSON."""
        listener = self.listener
        ip = f'"{listener.ip}"' if listener.ip else "null"
        identifier = self.id
        end = b"}"
        if self.suspicious is not None:
            end = b',"suspicious":%b}' % msgspec.json.encode(self.suspicious)
        # Everything inserted here was checked to need no escape; canonical and gateway are JSON.
        head = (
            f'{{"_id":"{identifier}","type":"{self.type}","callsign":"{listener.callsign}",'
            f'"ip":{ip},"time_created":{self.time_created},"time_uploaded":{self.time_uploaded},'
            f'"data":'
        )
        return identifier, b'%b%b,"gateway":%b%b' % (head.encode(), self._canonical, gateway, end)


class _Archived(Message):
    """A message from a document, keeping its id, whose source may not be in the document."""

    __slots__ = ("_id",)

    _id: str

    @property
    def id(self) -> str:
        """The document's id."""
        return self._id


def from_document(document: bytes | Mapping[str, Any]) -> Message:
    """The message in a journal's or an archive's document, for sinks; times are as archived."""
    tree = msgspec.json.decode(document) if isinstance(document, bytes) else document
    message = _Archived(
        Listener(tree["callsign"], tree.get("ip")),
        tree["type"],
        tree["time_created"],
        tree["time_uploaded"],
        tree["data"],
        int(tree["_id"][:10]),
        suspicious=tree.get("suspicious"),
    )
    message._id = tree["_id"]
    return message


def type_of(document: bytes) -> str:
    """The type in a journal's document, without decoding all of it."""
    start = document.index(b'"type":"') + 8
    return document[start : document.index(b'"', start)].decode("ascii")


def check_type_name(name: str) -> None:
    """Raise ValueError unless ``name`` can be a type's name."""
    if not _TYPE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a type name (A-Z 0-9 _, a letter first)")
    _checked_names.add(name)
