"""The shim: an LD_PRELOAD library that makes a gateway's disk and clock fail, and its controls.

Why a library and not strace: its rules are armed and taken back while the gateway runs, it hits one
file's n-th operation exactly, it slows nothing that it doesn't hit, it needs no right to trace, and
it can do what a tracer can't: half a write, a log of all writes for power losses, another clock.
The program is the real one, unmodified; Python calls SQLite and SQLite the C library dynamically.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.net import program

SOURCE = Path(__file__).with_name("shim.c")
RULES = 8
_CONTROL = struct.Struct("@q")
_RULE = struct.Struct("@IIIiqqqq72s")
_RECORD = struct.Struct("@IIqqq")
#: Often enough to mean always.
ALWAYS = 1 << 40


class Op(IntFlag):
    """An operation on a file; REPLY is an answer 2xx on a socket, CREATE an open that may make."""

    WRITE = 1
    SYNC = 2
    TRUNCATE = 4
    UNLINK = 8
    REPLY = 16
    READ = 32
    CREATE = 64


class Act(IntEnum):
    """What a rule does: KILL before the operation, TORN: half the write and kill."""

    KILL = 1
    KILL_AFTER = 2
    TORN = 3
    FAIL = 4
    DELAY = 5


class Event(NamedTuple):
    """An operation that was recorded; ``path`` is a REPLY's mark."""

    op: Op
    path: str
    offset: int
    length: int
    result: int
    data: bytes


@cache
def library() -> Path:
    """The compiled library; made once a process."""
    directory = Path(tempfile.mkdtemp(prefix="hab-shim-"))
    made = directory / "shim.so"
    command = [program("gcc"), "-O2", "-Wall", "-shared", "-fPIC", "-o", str(made), str(SOURCE)]
    subprocess.run([*command, "-ldl", "-pthread"], check=True)
    return made


class Shim:
    """The controls of the shim in one gateway, whose files are below ``directory``.

    They stay over the gateway's restarts. ``environ`` is what its process needs.
    """

    def __init__(self, directory: Path, *, record: bool = False) -> None:
        self._control = directory / "control"
        self.record = directory / "record"
        size = _CONTROL.size + RULES * _RULE.size
        self._control.write_bytes(bytes(size))
        with self._control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self.environ = {
            "LD_PRELOAD": str(library()),
            "FAULTS_CONTROL": str(self._control),
            "FAULTS_ROOT": str(directory),
        }
        if record:
            self.environ["FAULTS_RECORD"] = str(self.record)

    def arm(
        self,
        slot: int,
        ops: Op,
        act: Act,
        path: str = "",
        *,
        error: int = 0,
        skip: int = 0,
        times: int = ALWAYS,
        delay: float = 0,
    ) -> None:
        """Put a rule in force: on files whose path ends in ``path``, after ``skip`` operations.

        ``error`` is an errno for FAIL, ``delay`` seconds for DELAY.
        """
        micros = int(delay * 1_000_000)
        rule = (0, ops, act, error, micros, skip, times, 0, os.fsencode(path))
        at = _CONTROL.size + slot * _RULE.size
        _RULE.pack_into(self._map, at, *rule)
        struct.pack_into("@I", self._map, at, 1)

    def disarm(self) -> int:
        """Take all rules back; returns how often they have fired."""
        fired = 0
        for slot in range(RULES):
            at = _CONTROL.size + slot * _RULE.size
            struct.pack_into("@I", self._map, at, 0)
            fired += self.fired(slot)
            struct.pack_into("@q", self._map, at + _FIRED_AT, 0)
        return fired

    def fired(self, slot: int) -> int:
        """How often a rule has fired."""
        at = _CONTROL.size + slot * _RULE.size + _FIRED_AT
        value: int = struct.unpack_from("@q", self._map, at)[0]
        return value

    def move_clock(self, seconds: float) -> None:
        """Let the gateway's wall clock be so many seconds ahead of the machine's."""
        _CONTROL.pack_into(self._map, 0, int(seconds * 1_000_000_000))

    def recorded(self) -> int:
        """How many operations were recorded so far."""
        return sum(1 for _ in self.events())

    def events(self) -> Iterator[Event]:
        """What was recorded so far, in order. A record that the end cut off is left out."""
        with self.record.open("rb") as file:
            while len(head := file.read(_RECORD.size)) == _RECORD.size:
                op, path_length, offset, length, result = _RECORD.unpack(head)
                path = os.fsdecode(file.read(path_length))
                size = length if op == Op.WRITE and result > 0 else 0
                data = file.read(size)
                if len(data) < size:
                    return
                yield Event(Op(op), path, offset, length, result, data)


#: Where `fired` is in a rule.
_FIRED_AT = struct.calcsize("@IIIiqqq")
