"""The load: wrk through nginx, and a loader of our own straight at a socket."""

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

#: Serial numbers that one run of the load may use up.
_RUN = 10_000_000
# So that no two runs of the load, of this process or another one, send the same message.
_first = itertools.count(int(time.time()) % 9_000 * 10 * _RUN, _RUN)


class Outcome(msgspec.Struct):
    """What one run of the load saw; ``p50`` and ``p99`` are in microseconds."""

    requests: int
    errors: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0


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
    head, tail, first, of = _arguments(batch)
    command = [
        str(compiled(HERE / "loader.c")),
        str(socket),
        path,
        str(connections),
        str(seconds),
        str(requests),
        head,
        tail,
        first,
        of,
    ]
    return _run(command, seconds + 60)


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
