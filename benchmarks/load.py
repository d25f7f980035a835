"""The load: wrk through nginx, and a loader of our own, straight at a socket or at a rate."""

from __future__ import annotations

import itertools
import math
import subprocess
import time
from pathlib import Path

import msgspec

from benchmarks.place import HERE, BenchError, compiled, program

#: One message is HEAD, a serial number of 12 digits, TAIL: a JSON body of 223 bytes, in which the
#: serial number stands in the base64 of what was received, so that each message is another one.
HEAD = (
    '{"callsign": "M0ZDR", "type": "RECEIVED_TELEM", "time_created": 1295103598,'
    ' "time_uploaded": 1295103707, "data": {"string": "JCRoYWJpdGF0'
)
TAIL = 'LDUxLjUwODEsLTAuMTI4NCwxMjM0NSwyMy41LDkuODEK", "frequency": 434075199.23}}'
DIGITS = 12
#: Stands for the serial number in the text around it.
MARK = "@" * DIGITS

#: Serial numbers that one run of the load may use up.
_RUN = 10_000_000
# So that no two runs of the load, of this process or another one, send the same message.
_first = itertools.count(int(time.time()) % 9_000 * 10 * _RUN, _RUN)


class Kind(msgspec.Struct, frozen=True):
    """The requests that came to one end: how many, and their times in microseconds."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    most: float = 0.0


class Outcome(msgspec.Struct):
    """What one run of the load saw; ``p50`` and ``p99`` are in microseconds.

    The loader also tells what became of the requests: ``ok`` are those answered 200,
    ``unavailable`` 503, ``other`` anything else, ``unanswered`` nothing; ``refused`` found the
    socket's queue full; ``unsent`` were due and could not begin. ``in_time`` of the ``ok`` came
    while the run lasted.
    """

    requests: int
    errors: int
    seconds: float
    p50: float
    p99: float
    in_time: int = 0
    unsent: int = 0
    ok: Kind = Kind()
    unavailable: Kind = Kind()
    other: Kind = Kind()
    unanswered: Kind = Kind()
    refused: Kind = Kind()

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def ok_rate(self) -> float:
        """Requests a second that were answered 200 within the time."""
        return self.in_time / self.seconds if self.seconds else 0.0


def message(serial: int) -> bytes:
    """The body of one message."""
    return f"{HEAD}{serial:0{DIGITS}d}{TAIL}".encode()


def through_nginx(
    port: int, path: str, connections: int, seconds: float, batch: int = 0
) -> Outcome:
    """Load with wrk over keep-alive connections; wrk knows whole seconds only."""
    command = [
        program("wrk"),
        "-t1",
        f"-c{connections}",
        f"-d{math.ceil(seconds)}s",
        "--timeout=20s",
        f"-s{HERE / 'message.lua'}",
        f"http://127.0.0.1:{port}{path}",
        "--",
        *_arguments(batch),
    ]
    return _run(command, seconds + 60)


def straight(
    socket: Path, path: str, connections: int, seconds: float, batch: int = 0, requests: int = 0
) -> Outcome:
    """Load straight at a socket, for ``seconds`` or until ``requests`` are done (0: no limit)."""
    return _load(str(socket), path, connections, seconds, requests, _arguments(batch))


def at_rate(
    target: Path | int,
    path: str,
    rate: float,
    seconds: float,
    *,
    connections: int,
    message: tuple[str, str] = (HEAD, TAIL),
    first: int | None = None,
    batch: int = 0,
    flags: Path | None = None,
) -> Outcome:
    """``rate`` requests a second (0: as fast as they are answered), whatever becomes of them.

    ``target`` is a socket, or the port of a web server. ``message`` is a message's text before and
    after its serial number, which also stands where it has MARK; the first number is ``first``.
    ``flags`` is where to put a byte for each message: see loader.c.
    """
    serial = str(next(_first) if first is None else first)
    more = [str(rate), *([str(flags)] if flags else [])]
    arguments = [*message, serial, str(batch), *more]
    return _load(str(target), path, connections, seconds, 0, arguments)


def _load(
    target: str,
    path: str,
    connections: int,
    seconds: float,
    requests: int,
    arguments: list[str],
) -> Outcome:
    numbers = [str(connections), str(seconds), str(requests)]
    command = [str(compiled(HERE / "loader.c")), target, path, *numbers, *arguments]
    return _run(command, seconds + 120)


def _arguments(batch: int) -> list[str]:
    return [HEAD, TAIL, str(next(_first)), str(batch)]


def _run(command: list[str], timeout: float) -> Outcome:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    line = done.stdout.strip().rpartition("\n")[2]
    try:
        return msgspec.json.decode(line, type=Outcome)
    except msgspec.DecodeError:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise BenchError(f"{Path(command[0]).name} printed no result but: {said[-1]}") from None
