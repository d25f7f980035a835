"""Payloads: what a message carries, made readable. No I/O."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from habitat_like.archive.base import Document, to_json

#: The type whose data has a packet, as base64 in ``string``.
TELEMETRY = "RECEIVED_TELEM"
#: Bytes that a dump shows; a line has 16.
DUMPED = 4096
#: Characters of a message's summary in a list.
SUMMARY = 160
#: What a tree shows at most: nodes in all, levels, characters of one value.
NODES, LEVELS, CHARACTERS = 1000, 16, 2000


class PacketView(msgspec.Struct, frozen=True):
    """The packet in a message.

    ``bytes`` is its length; ``text`` is the packet where all of it can be printed; ``hex`` are
    lines of offset, hexadecimal and characters, of which ``left_out`` bytes are missing;
    ``problem`` says why it can't be decoded.
    """

    bytes: int = 0
    text: str | None = None
    hex: list[str] = []
    left_out: int = 0
    problem: str | None = None


class Node(msgspec.Struct):
    """A part of a tree: a ``value``, or parts of its own; ``left_out`` are those not shown."""

    name: str
    value: str | None = None
    parts: list[Node] = []
    left_out: int = 0


def packet_of(document: Document) -> bytes | None:
    """The bytes that a station received; None in a message of another type, or a broken one."""
    try:
        return _decode(document) if document.get("type") == TELEMETRY else None
    except ValueError:
        return None


def payload_of(document: Document) -> PacketView | None:
    """The packet of a message for people; None in a message of another type."""
    if document.get("type") != TELEMETRY:
        return None
    try:
        packet = _decode(document)
    except ValueError as error:
        return PacketView(problem=str(error))
    return describe(packet)


def describe(packet: bytes) -> PacketView:
    """A packet for people."""
    dump = [_dump_line(at, packet[at : at + 16]) for at in range(0, min(len(packet), DUMPED), 16)]
    left_out = max(len(packet) - DUMPED, 0)
    return PacketView(bytes=len(packet), text=text_of(packet), hex=dump, left_out=left_out)


def text_of(packet: bytes) -> str | None:
    """The packet as text, None unless all of it can be printed."""
    try:
        text = packet.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\r\n\t" for char in text) else None


def summarize(document: Document) -> str:
    """What a message says, in a line of at most ``SUMMARY`` characters."""
    packet = packet_of(document)
    if packet is not None:
        return summarize_packet(packet)
    data = document.get("data")
    if isinstance(data, dict):
        text = ", ".join(f"{name}: {_short(value)}" for name, value in list(data.items())[:20])
    else:
        text = _short(data)
    return cut(" ".join(text.split()), SUMMARY)


def summarize_packet(packet: bytes) -> str:
    """A packet in a line."""
    text = text_of(packet[: 4 * SUMMARY])
    if text is not None and (text.strip() or not packet):
        return cut(" ".join(text.split()), SUMMARY)
    return cut(packet[:SUMMARY].hex(" "), SUMMARY // 2)


def tree_of(value: Any, name: str = "") -> Node:
    """Plain data as a tree that is never too large to show."""
    return _Planter().plant(name, value, LEVELS)


class _Planter:
    def __init__(self) -> None:
        self._left = NODES

    def plant(self, name: str, value: Any, levels: int) -> Node:
        self._left -= 1
        if isinstance(value, dict):
            items = [(str(key), below) for key, below in value.items()]
        elif isinstance(value, list):
            items = [(str(number), below) for number, below in enumerate(value)]
        else:
            return Node(name, cut(_plain(value), CHARACTERS))
        if not items or levels == 0:
            return Node(name, cut(_plain(value), CHARACTERS))
        node = Node(name, parts=[])
        for key, below in items:
            if self._left <= 0:
                node.left_out = len(items) - len(node.parts)
                break
            node.parts.append(self.plant(key, below, levels - 1))
        return node


def _decode(document: Document) -> bytes:
    data = document.get("data")
    text = data.get("string") if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise ValueError("data.string, which has the packet as base64, is missing or not a string")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"data.string is not valid base64: {error}") from None


def _dump_line(offset: int, part: bytes) -> str:
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
    return f"{offset:04x}  {part[:8].hex(' '):23}  {part[8:].hex(' '):23}  {shown}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode("utf-8")


def _short(value: Any) -> str:
    return cut(_plain(value), SUMMARY)


def cut(text: str, size: int = SUMMARY) -> str:
    """``text`` with at most ``size`` characters."""
    return text if len(text) <= size else f"{text[: size - 1]}…"
