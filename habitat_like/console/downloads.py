"""Downloads: long files in pieces, a few at a time, which give way to uploads.

A download is made piece by piece while the client takes it, so it needs no memory of its size. It
keeps one of the console's threads and one of its archives to itself, so there are few at a time.
"""

from __future__ import annotations

import collections
import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

import msgspec
from flask import Response, current_app

from habitat_like.archive import ArchiveError, ArchiveUnavailable
from habitat_like.console.pages import PageError
from habitat_like.journal.file import JournalError

log = logging.getLogger(__name__)

#: Downloads at a time: half of the console's threads stay free for pages.
AT_ONCE = 2
#: Seconds after which somebody who was sent away may ask again.
RETRY_AFTER = 30
#: Bytes that are sent at once. The client has ``gateway.timeout`` for each.
PIECE = 64 * 1024
#: Seconds of pause for each message that was uploaded: a hundred times what the gateway's thread
#: works on it, so that a few uploads a second cost a download next to nothing.
PAUSE = 0.005
#: Beside many uploads a download works at most this part of the time.
SHARE = 0.02
#: Ended downloads that are remembered, for those who watch them.
REMEMBERED = 100

_TOKEN = re.compile("[0-9a-f]{32}")


class Part(NamedTuple):
    """What goes out next: so many messages, the last of which was created at ``time``, if known."""

    data: bytes
    messages: int
    time: float | None = None


class Download(msgspec.Struct, kw_only=True):
    """One download. Written by the thread that makes it, read by any.

    ``state`` is ``running``, ``whole`` or ``broken off``, and ``problem`` says why. ``messages``
    and ``bytes`` went out so far. It goes from ``first`` to ``last``, times of messages, and has
    come to ``at``. ``begun`` is UNIX seconds.
    """

    user: str
    name: str
    begun: float
    state: str = "running"
    problem: str | None = None
    messages: int = 0
    bytes: int = 0
    first: float | None = None
    last: float | None = None
    at: float | None = None


class Downloads:
    """All downloads of the program. Thread-safe.

    ``written`` tells how many messages were ever uploaded, ``stopping`` whether the program is
    about to end.
    """

    def __init__(self, written: Callable[[], int], stopping: Callable[[], bool]) -> None:
        self._written = written
        self._stopping = stopping
        # Guards the two below.
        self._lock = threading.Lock()
        self._running = 0
        self._known: collections.OrderedDict[str, Download] = collections.OrderedDict()

    def find(self, token: str, user: str) -> Download | None:
        """The download that this user began with the ``token``."""
        with self._lock:
            download = self._known.get(token)
        return download if download is not None and download.user == user else None

    def respond(
        self,
        download: Download,
        token: str | None,
        mimetype: str,
        parts: Generator[Part, None, None],
        broken: Callable[[str], bytes],
    ) -> Response:
        """The answer that is made of ``parts``; what fails before the first is raised.

        ``token``, if any, is what the download can be found by. ``broken`` makes the end of a file
        that must not look whole, from the reason. Raises PageError, ArchiveError and JournalError.
        """
        self._begin(download, token)
        body = self._run(download, parts, broken)
        first = next(body, b"")
        response = Response(itertools.chain((first,), body), mimetype=mimetype)
        response.call_on_close(body.close)
        response.headers["Content-Disposition"] = f'attachment; filename="{download.name}"'
        # nginx would fill a file of its own first, and then take nothing for so long that we gave
        # up. So it goes at the client's pace, and what is counted as sent is what the client has.
        response.headers["X-Accel-Buffering"] = "no"
        return response

    def _begin(self, download: Download, token: str | None) -> None:
        with self._lock:
            if self._running >= AT_ONCE:
                raise PageError(
                    503,
                    f"{AT_ONCE} downloads are already running, which is the limit. Wait until "
                    "one of them ends.",
                    RETRY_AFTER,
                )
            self._running += 1
            if token and _TOKEN.fullmatch(token):
                self._known[token] = download
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)

    def _run(
        self,
        download: Download,
        parts: Generator[Part, None, None],
        broken: Callable[[str], bytes],
    ) -> Generator[bytes, None, None]:
        try:
            pace = _Pace(self._written)
            for part in parts:
                download.messages += part.messages
                download.at = part.time if part.time is not None else download.at
                for at in range(0, len(part.data), PIECE):
                    if self._stopping():
                        raise ArchiveUnavailable("the gateway stopped; try again")
                    piece = part.data[at : at + PIECE]
                    yield piece
                    download.bytes += len(piece)
                pace.keep()
            download.state = "whole"
        except (ArchiveError, JournalError) as error:
            download.problem = str(error)
            if not download.bytes:
                raise
            if end := broken(str(error)):
                yield end
        finally:
            parts.close()
            with self._lock:
                self._running -= 1
            if download.state != "whole":
                download.state = "broken off"
                download.problem = download.problem or "the client stopped reading it"
            _log(download)


class _Pace:
    """How fast a download may go on: fast where nothing else is to be done.

    A piece costs the gateway's thread more than its own time, as the interpreter's lock is handed
    over again and again; a thread that sleeps takes nothing.
    """

    def __init__(self, written: Callable[[], int]) -> None:
        self._written = written
        self._seen = written()
        self._used = time.thread_time()

    def keep(self) -> None:
        """Wait as long as what was uploaded since the last call asks for."""
        written = self._written()
        uploads = written - self._seen
        # What comes in during the pause counts for the next.
        self._seen = written
        if uploads:
            # Since the last pause: messages come in batches, and between two of them it works on.
            used = time.thread_time() - self._used
            time.sleep(min(uploads * PAUSE, used * (1 / SHARE - 1)))
            self._used = time.thread_time()


def this_downloads() -> Downloads:
    """Those of the program that the present request is about."""
    downloads: Downloads = current_app.extensions["downloads"]
    return downloads


def chunks(lines: Iterable[bytes], most: int) -> Iterator[list[bytes]]:
    """``lines`` in lists of at most ``most``, and of ``PIECE`` bytes where they are long."""
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if len(chunk) == most or size >= PIECE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def not_whole(reason: str) -> str:
    """What stands at the end of a file that was broken off."""
    return f"this file is not whole: {reason}"


def broken_ndjson(reason: str) -> bytes:
    """That end in NDJSON: a line that is no message."""
    return msgspec.json.encode({"error": not_whole(reason)}) + b"\n"


def _log(download: Download) -> None:
    level = logging.INFO if download.state == "whole" else logging.WARNING
    log.log(
        level,
        "download ended",
        extra={
            "user": download.user,
            "file": download.name,
            "state": download.state,
            "why": download.problem,
            "messages": download.messages,
            "bytes": download.bytes,
            "seconds": round(time.time() - download.begun, 3),
        },
    )
