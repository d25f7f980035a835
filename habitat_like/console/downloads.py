"""Downloads: long files in pieces, a few at a time, which give way to uploads.

A download is made piece by piece as the client reads it, so it is never all in memory. It occupies
one of the console's threads and one of its archives, so there are few at a time.
"""

from __future__ import annotations

import collections
import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator

import msgspec
from flask import Response, current_app

from habitat_like.archive import ArchiveError, ArchiveUnavailable
from habitat_like.console.pages import PageError
from habitat_like.export.form import Form, Part
from habitat_like.journal.file import JournalError

log = logging.getLogger(__name__)

#: Downloads at a time: half of the console's threads stay free for pages.
AT_ONCE = 2
#: Seconds after which a refused client may ask again.
RETRY_AFTER = 30
#: Bytes that are sent at once. The client has ``gateway.timeout`` for each.
PIECE = 64 * 1024
#: What a download that a stop cut says.
STOPPED = "the gateway stopped; try again"
#: Seconds without anything to send after which something that means nothing is sent.
IDLE = 2.0
#: Seconds of pause for each message that was uploaded: a hundred times what the gateway's thread
#: works on it, so that a few uploads a second cost a download next to nothing.
PAUSE = 0.005
#: During many uploads a download works at most this fraction of the time.
SHARE = 0.02
#: Finished downloads to remember, for users who watch them.
REMEMBERED = 100

_TOKEN = re.compile("[0-9a-f]{32}")


class Download(msgspec.Struct, kw_only=True):
    """One download. Written by the thread that makes it, read by any.

    ``state`` is ``running``, ``whole`` or ``broken off``, and ``problem`` says why. ``messages``
    and ``bytes`` went out so far. It goes from ``first`` to ``last``, times of messages, and has
    come to ``at``. ``begun`` is UNIX seconds. ``left_out`` counts, in the end, the messages that
    the format can't show, by what they lack.
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
    left_out: dict[str, int] = {}


class Downloads:
    """All downloads of the program. Thread-safe.

    ``written`` tells how many messages were ever uploaded, ``stopping`` whether the program is
    about to end. ``patience`` is how many seconds the web server waits for the next byte.
    """

    def __init__(
        self,
        written: Callable[[], int],
        stopping: Callable[[], bool],
        patience: Callable[[], float],
    ) -> None:
        self._written = written
        self._stopping = stopping
        self._patience = patience
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
        form: Form,
        parts: Generator[Part, None, None],
    ) -> Response:
        """The answer made of ``parts``, a file of that form; errors before the first are raised.

        ``token``, if any, identifies the download. Raises PageError, ArchiveError and JournalError.
        """
        self._begin(download, token)
        body = self._run(download, form, parts)
        first = next(body, b"")
        response = Response(itertools.chain((first,), body), mimetype=form.mimetype)
        response.call_on_close(body.close)
        response.headers["Content-Disposition"] = f'attachment; filename="{download.name}"'
        # Otherwise nginx would first fill a temporary file, then read nothing for so long that we
        # gave up. So it goes at the client's pace, and what counts as sent is what the client has.
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
        self, download: Download, form: Form, parts: Generator[Part, None, None]
    ) -> Generator[bytes, None, None]:
        piece = b""
        try:
            pace = Pace(self._written)
            sent = time.monotonic()
            for part in parts:
                download.messages += part.messages
                download.at = part.time if part.time is not None else download.at
                data = part.data or self._idle(form, time.monotonic() - sent, download.bytes)
                for at in range(0, len(data), PIECE):
                    self._check_stopping()
                    piece = data[at : at + PIECE]
                    yield piece
                    download.bytes += len(piece)
                    sent = time.monotonic()
                self._check_stopping()
                pace.keep()
            download.state = "whole"
        except (ArchiveError, JournalError) as error:
            # A stop may also come as an interrupted query.
            download.problem = STOPPED if self._stopping() else str(error)
            if not download.bytes:
                raise
            if end := form.broken(download.problem):
                # On a line of its own, also after half of a long one.
                yield end if piece.endswith(b"\n") else b"\n" + end
        finally:
            parts.close()
            with self._lock:
                self._running -= 1
            if download.state != "whole":
                download.state = "broken off"
                download.problem = download.problem or "the client stopped reading it"
            _log(download)

    def _idle(self, form: Form, seconds: float, sent: int) -> bytes:
        """What keeps a connection open on which nothing was sent for so long."""
        if sent and form.idle:
            return form.idle if seconds > IDLE else b""
        if seconds > self._patience():
            raise ArchiveUnavailable(
                f"there was nothing to send for {seconds:.0f} seconds: choose fewer days, or use"
                " 'habitat export'"
            )
        return b""

    def _check_stopping(self) -> None:
        if self._stopping():
            raise ArchiveUnavailable(STOPPED)


class Pace:
    """The pace of a download: fast if there is nothing else to do.

    A piece costs the gateway's thread more than its own time, as the interpreter's lock keeps
    changing hands; a sleeping thread costs nothing.
    """

    def __init__(self, written: Callable[[], int]) -> None:
        self._written = written
        self._seen = written()
        self._used = time.thread_time()

    def keep(self) -> None:
        """Wait as long as the uploads since the last call require."""
        written = self._written()
        uploads = written - self._seen
        # Uploads during the pause count for the next one.
        self._seen = written
        if uploads:
            # Since the last pause: messages come in batches, and it keeps working in between.
            used = time.thread_time() - self._used
            time.sleep(min(uploads * PAUSE, used * (1 / SHARE - 1)))
            self._used = time.thread_time()


def this_downloads() -> Downloads:
    """The downloads of the current request's program."""
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
