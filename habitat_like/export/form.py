"""Form: what a format of exports declares."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

import msgspec

from habitat_like.archive.base import ArchiveError
from habitat_like.export.source import Source


class ExportError(ArchiveError):
    """The export can't be made; the text is one line saying what to do."""


class Part(NamedTuple):
    """What goes out next: so many messages, the last of which was created at ``time``, if known.

    There may be no bytes in it: then it only tells that work goes on.
    """

    data: bytes
    messages: int
    time: float | None = None


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """A format.

    ``write`` makes the file of a source's messages; the second argument is how many bytes it may
    put aside on disk, None for any. It raises ArchiveError. ``suffix`` is the end of a file's name.
    ``is_in_order``: the messages must come the oldest first. ``is_resumable``: it has a line for
    each message, so that an unfinished file can be continued. ``idle`` changes nothing wherever it
    stands between two parts, and is empty if nothing can. ``broken`` makes the end of a file that
    was cut short, from the reason.
    """

    suffix: str
    mimetype: str
    write: Callable[[Source, int | None], Generator[Part, None, None]]
    is_in_order: bool = False
    is_resumable: bool = False
    is_binary: bool = False
    idle: bytes = b""
    broken: Callable[[str], bytes] = lambda _: b""


def not_whole(reason: str) -> str:
    """The text at the end of a file that was broken off."""
    return f"this file is not whole: {reason}"
