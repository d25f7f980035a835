"""The thread that writes the log, so that no other ever waits for a disk or a reader.

A line is out before the call that logs it returns, as long as that is nearly instant. If it takes
longer (a pipe that nobody reads, a disk that hangs) lines wait in a bounded queue. Lines that can't
be written are counted, and never raise.
"""

from __future__ import annotations

import errno
import os
import queue
import select
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO

from habitat_like.disk import DIRECTORY_MODE, FILE_MODE, check_links
from habitat_like.threads import start_thread

#: Maximum bytes of lines waiting to be written; anything beyond is lost, and counted.
QUEUE_BYTES = 256 * 1024
#: Seconds a caller waits for its line to be out; once that was too short, nobody waits until the
#: queue is written.
PATIENCE = 0.2
#: Seconds between checks whether a pipe is read again, or the writer has to end.
_SLICE = 0.1
#: Bytes that a pipe, a terminal or a socket takes without blocking once it takes any (pipe(7)).
_PIPE = 4096

#: Waits until a descriptor takes more. Raises OSError when it is time to end.
Room = Callable[[int], None]


class Tally:
    """How many lines were lost. Thread-safe."""

    def __init__(self) -> None:
        # Guards lines.
        self._lock = threading.Lock()
        self.lines = 0

    def add(self, lines: int = 1) -> None:
        """Count lines that are lost."""
        with self._lock:
            self.lines += lines


class Output(Protocol):
    """Where lines go. Used only by the writer's thread."""

    def write(self, data: bytes, room: Room) -> None:
        """Write all of ``data``, asking ``room`` before it could block. Raises OSError."""

    def close(self) -> None:
        """Release it."""


class LogWriter:
    """Writes lines to ``output`` in the order of ``put``.

    ``tally`` counts those that can't be written; ``notice`` makes the line that reports them, from
    their number and the reason, once lines can be written again. ``put`` is for one thread at a
    time, which the handler's lock ensures; ``start`` and ``close`` are for one thread; ``flush``
    and the attributes are for any.
    """

    def __init__(self, output: Output, tally: Tally, notice: Callable[[int, str], bytes]) -> None:
        self._output = output
        self._tally = tally
        self._notice = notice
        #: Why lines can't be written now; None: they can.
        self.problem: str | None = None
        self._queue: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        # Bytes put, and bytes taken: each is written by one side only.
        self._put = 0
        self._taken = 0
        # Lines refused; whether the last one was. Owned by the putting side.
        self._refused = 0
        self._is_full = False
        # How many of those the writer knows of; lines lost but not reported yet.
        self._seen = 0
        self._missing = 0
        self._why = "they came too fast"
        self._is_late = False
        self._settled = threading.Event()
        self._deadline: float | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = start_thread("log", self._run)

    def put(self, line: bytes) -> None:
        """Write ``line``. Never raises; returns within PATIENCE, usually at once."""
        waiting = self._put - self._taken
        if self._deadline is not None or waiting + len(line) > QUEUE_BYTES:
            self._refused += 1
            self._tally.add()
            if not self._is_full:
                self._queue.put(b"")  # marks where lines are missing
            self._is_full = True
            return
        self._is_full = False
        self._put += len(line)
        self._settled.clear()
        self._queue.put(line)
        if not self._is_late and not self._settled.wait(PATIENCE):
            self._is_late = True

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until everything put is out; returns whether it is."""
        written = threading.Event()
        self._queue.put(written)
        return written.wait(timeout)

    def close(self, timeout: float) -> None:
        """Write pending lines, for at most ``timeout`` seconds, and end the thread."""
        if self._thread is None or self._deadline is not None:
            return
        self._deadline = time.monotonic() + timeout
        self._queue.put(None)
        self._thread.join(timeout + 2 * _SLICE)
        # A thread hanging in the kernel keeps its file; it ends with the process.
        if not self._thread.is_alive():
            self._output.close()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            self._write(item)
            self._taken += len(item)
            if self._queue.empty():
                self._is_late = False
                self._settled.set()

    def _write(self, line: bytes) -> None:
        if not line:
            refused = self._refused
            self._missing += refused - self._seen
            self._seen = refused
        try:
            notice = self._notice(self._missing, self._why) if self._missing else b""
            self._output.write(notice + line, self._room)
        except Exception as error:  # whatever it is, the next line may succeed
            if line:
                self._missing += 1
                self._tally.add()
            self.problem = self._why = _reason(error)
        else:
            self._missing = 0
            self.problem = None

    def _room(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        patience = 0.0
        while not poll.poll(patience):
            self.problem = self._why = "nobody reads it"
            self._is_late = True  # nobody waits for this
            self._settled.set()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                raise TimeoutError(errno.ETIMEDOUT, self._why)
            patience = 1000 * _SLICE


class FileOutput:
    """The file at ``path``, reopened after logrotate or anyone else moved it away.

    Its directory is created if missing. While a new file can't be created, lines go to the one
    that was moved away, but count as lost: whoever moved it may be done with it.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._descriptor: Descriptor | None = None
        self._inode: tuple[int, int] | None = None

    def open(self) -> None:
        """Open or create the file. Raises OSError."""
        check_links(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fd = os.open(self._path, flags, FILE_MODE)
        self.close()
        self._descriptor = Descriptor(fd)
        self._inode = _inode(os.fstat(fd))

    def write(self, data: bytes, room: Room) -> None:
        """See Output."""
        problem: OSError | None = None
        if not self._is_there():
            try:
                self.open()
            except OSError as error:
                problem = error
        if self._descriptor is not None and (problem is None or self._descriptor.has_name()):
            self._descriptor.write(data, room)
        if problem is not None:
            raise problem

    def close(self) -> None:
        """See Output."""
        if self._descriptor is not None:
            self._descriptor.close()
        self._descriptor = None

    def _is_there(self) -> bool:
        try:
            return _inode(self._path.stat()) == self._inode
        except OSError:
            return False


class Descriptor:
    """An open file, pipe, socket or terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        self._is_torn = False

    def has_name(self) -> bool:
        """Whether the file still has a name in some directory."""
        return os.fstat(self._fd).st_nlink > 0

    def write(self, data: bytes, room: Room) -> None:
        """See Output."""
        # The rest of a partly written line must not spoil the next one.
        view = memoryview(b"\n" + data if self._is_torn else data)
        size = len(view)
        try:
            while view:
                if not self._is_file:
                    room(self._fd)
                try:
                    view = view[os.write(self._fd, view if self._is_file else view[:_PIPE]) :]
                except BlockingIOError:
                    continue
        finally:
            self._is_torn = 0 < len(view) < size or (self._is_torn and len(view) == size)

    def close(self) -> None:
        """See Output."""
        os.close(self._fd)


class StreamOutput:
    """A stream that is not an operating system file, as some WSGI hosts give for stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: bytes, room: Room) -> None:
        """See Output."""
        self._stream.write(data.decode("utf-8", "replace"))
        self._stream.flush()

    def close(self) -> None:
        """See Output."""


class NoOutput:
    """Standard error of a process that was started without one."""

    def write(self, data: bytes, room: Room) -> None:
        """See Output."""
        raise OSError(errno.EBADF, "standard error is closed")

    def close(self) -> None:
        """See Output."""


def stream_output(stream: TextIO | None) -> Output:
    """The output for ``stream``; its descriptor stays open for others."""
    if stream is None:
        return NoOutput()
    try:
        return Descriptor(os.dup(stream.fileno()))
    except (OSError, ValueError, AttributeError):
        return StreamOutput(stream)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
