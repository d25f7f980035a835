"""A reader of pickles that can't execute anything. No I/O.

A pickle is a program for a small machine
(https://github.com/python/cpython/blob/main/Lib/pickletools.py describes every opcode). Two things
make it safe to run one written by a stranger:

- ``_scan`` first reads the whole program without running it, and refuses every opcode that an
  event list doesn't need, including all that make instances, look up extensions or ask for
  persistent objects. Tuples, which could nest as dictionary keys, are allowed only as the
  arguments of a call. It also bounds what the program may ask for.
- ``_Machine`` then runs it: the interpreter's own unpickler, whose only way out is ``find_class``,
  replaced here. It knows six names, and maps each to a constructor of ours that makes a plain
  value. There is nothing else to call.

The first keeps time and memory proportional to the input; the second alone already keeps every
Python function out of reach. Nothing is imported on behalf of a pickle.
"""

from __future__ import annotations

import datetime
import io
import pickle
import re
import struct
from collections.abc import Callable
from typing import Any

#: Lists, dictionaries and marks that a pickle may make; an event makes about 30.
MAX_CONTAINERS = 100_000
#: Bytes of one string. A trace of 20 us has about 20,000.
MAX_STRING = 1 << 20
#: Bytes of an integer in two's complement: any 64-bit one, signed or unsigned.
MAX_INTEGER = 9
#: The newest known protocol.
MAX_PROTOCOL = 5


class PickleError(ValueError):
    """Not a pickle that can be an event list; the text is one line: why."""


def load(data: bytes) -> Any:
    """The value in the pickle ``data``, of any protocol from 0 to 5.

    Made only of lists, dicts, str, bytes, int, float, bool, None and datetime. A byte string of
    Python 2 is bytes. The same object may be in many places, and a list inside itself. Takes time
    and memory proportional to ``len(data)``; depth costs nothing more, as the machine has its own
    stack. Raises PickleError, nothing else.
    """
    program = _scan(data)
    # One frame around everything: the machine then reads all of it into memory in one step.
    frame = b"\x95" + len(program).to_bytes(8, "little")
    try:
        return _Machine(io.BytesIO(frame + program), fix_imports=False, encoding="bytes").load()
    except PickleError:
        raise
    except Exception as error:
        # The errors that a bad program makes the machine raise have no common base:
        # UnpicklingError, EOFError, TypeError for a list as a key, ValueError for an escape, ...
        raise PickleError(f"{type(error).__name__}: {error}") from None


# -- what the machine may run

# Index into the memo: below 2^20, as the machine's table grows to twice the largest.
_PUT = rb"(?:\x94|q.|p[0-9]{1,6}\n|r..[\x00-\x0f]\x00)"
# Text with the escapes that Python's repr() writes; others would make Python warn.
_TEXT = rb"[^\\%b\n]*+(?:\\(?:[\\'\"nrt]|x[0-9a-f]{2})[^\\%b\n]*+)*+"
_GLOBALS = (
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),
    ("datetime", "datetime"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
)
_NAMES = b"|".join(re.escape(f"{module}\n{name}\n".encode()) for module, name in _GLOBALS)
# Short strings preceded by their length: a step of the expression is cheaper than one of
# Python's loop.
_SHORT = b"|".join(
    opcode + b"(?:" + b"|".join(b"\\x%02x%b.{%d}" % (n, zeros, n) for n in range(2, 17)) + b")"
    for opcode, zeros in ((b"X", rb"\0\0\0"), (rb"\x8c", b""), (b"U", b""))
)
#: Opcodes whose length follows from themselves, each with its argument; frequent ones first.
_PLAIN = b"|".join(
    (
        rb"[(sad}\]eulN\x88\x89\x93\x94]++",  # marks, lists, dicts, None, True, False, memoize ...
        rb"[hKq].",  # from the memo, an integer, into the memo
        rb"[gp][0-9]{1,6}\n",
        rb"M..",
        _SHORT,
        rb"S'" + _TEXT.replace(b"%b", b"'") + rb"'\n",
        rb"I(?:-?[0-9]{1,19}|0[01])\n",
        rb"J....",
        rb"G.{8}",
        rb"F[-+.0-9einfa]{1,32}\n",
        rb"[jr]..[\x00-\x0f]\x00",
        # A tuple as the arguments of a call, or as the state of a dtype.
        rb"(?:t|[\x85-\x87])" + _PUT + rb"?[Rb]",
        rb"\)" + _PUT + rb"?R",
        rb"S\"" + _TEXT.replace(b"%b", b'"') + rb"\"\n",
        rb"V[^\n]*+\n",
        rb"L-?[0-9]{1,20}L?\n",
        rb"c(?:" + _NAMES + rb")",
    )
)
_RUN = re.compile(rb"(?:" + _PLAIN + rb")++", re.DOTALL)
#: Opcodes with a length before their data: the length's bytes, and its largest value.
_COUNTED = {
    0x58: (4, MAX_STRING),  # X BINUNICODE
    0x8C: (1, 255),  # SHORT_BINUNICODE
    0x55: (1, 255),  # U SHORT_BINSTRING
    0x54: (4, MAX_STRING),  # T BINSTRING
    0x43: (1, 255),  # C SHORT_BINBYTES
    0x42: (4, MAX_STRING),  # B BINBYTES
    0x8A: (1, MAX_INTEGER),  # LONG1
}
_PROTO, _FRAME, _STOP = 0x80, 0x95, 0x2E


def _scan(data: bytes) -> bytes:
    """The program in ``data`` without its frames, once it is known to be harmless.

    Frames only tell a reader how much to read ahead. Raises PickleError.
    """
    # Counted wherever these bytes occur, which is never too few.
    if data.count(b"]") + data.count(b"}") + data.count(b"(") > MAX_CONTAINERS:
        raise PickleError(f"more than {MAX_CONTAINERS} lists and dictionaries")
    parts = []
    begin = at = 0
    end = len(data)
    if data[:1] == b"\x80":
        if not 2 <= data[1:2].ljust(1)[0] <= MAX_PROTOCOL:
            raise PickleError("of an unknown protocol")
        at = 2
    run = _RUN.match
    while True:
        if (found := run(data, at)) is not None:
            at = found.end()
        if at >= end:
            raise PickleError("cut off")
        opcode = data[at]
        if opcode in _COUNTED:
            width, limit = _COUNTED[opcode]
            size = int.from_bytes(data[at + 1 : at + 1 + width], "little")
            # For the old T the machine reads it as signed; a negative one is over the limit here.
            if size > limit or at + 1 + width + size > end:
                raise PickleError(f"a string or integer of {size} bytes at byte {at}")
            at += 1 + width + size
        elif opcode == _FRAME:
            parts.append(data[begin:at])
            begin = at = at + 9
        elif opcode == _STOP:
            if at + 1 != end:
                raise PickleError(f"goes on after its end at byte {at}")
            parts.append(data[begin:])
            return b"".join(parts)
        else:
            raise PickleError(f"opcode {bytes([opcode])!r} at byte {at} has no place in it")


# -- what there is to call


class _Machine(pickle.Unpickler):
    """Python's unpickler, able to find only our constructors."""

    def find_class(self, module: str, name: str, /) -> Any:
        """The constructor that stands for the global. Raises PickleError."""
        constructor = _CONSTRUCTORS.get((module, name))
        if constructor is None:
            raise PickleError(f"names the global {module[:64]}.{name[:64]}")
        return constructor

    def persistent_load(self, pid: Any, /) -> Any:
        """Refuse; raises PickleError."""
        raise PickleError("has a persistent id")


class _Constructor:
    """A function that a pickle may call but can't change in any way."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        """Refuse the opcode BUILD. Raises PickleError."""
        raise PickleError("sets the state of something that has none")


def _datetime(state: Any) -> datetime.datetime:
    """A datetime from the ten bytes it is pickled as (``__reduce__`` of CPython's datetime).

    Year in two bytes, month (its top bit is the fold), day, hour, minute, second, and the
    microsecond in three.
    """
    if type(state) is not bytes or len(state) != 10:
        raise PickleError("a datetime that is not of ten bytes")
    day, hour, minute, second = state[3:7]
    microsecond = int.from_bytes(state[7:], "big")
    return datetime.datetime(
        state[0] << 8 | state[1], state[2] & 0x7F, day, hour, minute, second, microsecond
    )


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as Python 3 writes them in protocols 0 to 2, which have none of their own."""
    if type(text) is not str or encoding not in ("latin1", "latin-1", b"latin1"):
        raise PickleError("encodes something else than latin-1 text")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    """Empty bytes, which Python 3 writes as a call of their type in protocols 0 to 2."""
    return b""


_FORMATS = {
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
}
_TEXT_DTYPE = re.compile(r"([SU])([0-9]{1,6})")


class _Dtype:
    """A numpy scalar's dtype: the letter of its kind, its size, its byte order.

    Source: ``dtype.__reduce__`` (https://numpy.org/doc/stable/reference/arrays.dtypes.html).
    """

    __slots__ = ("_code", "_order")

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        code = code.decode("ascii") if type(code) is bytes else code
        if type(code) is not str or not (code in _FORMATS or _TEXT_DTYPE.fullmatch(code)):
            raise PickleError("a numpy dtype that is no plain number or text")
        self._code = code
        self._order: str | None = None

    def __setstate__(self, state: Any) -> None:
        """Take the byte order from the state of a dtype without fields. Raises PickleError."""
        if self._order is not None or type(state) is not tuple or len(state) != 8:
            raise PickleError("a numpy dtype with another state than that of a plain one")
        order = state[1].decode("ascii") if type(state[1]) is bytes else state[1]
        if order not in ("<", ">", "|", "=") or state[2:5] != (None, None, None):
            raise PickleError("a numpy dtype with fields or an unknown byte order")
        self._order = ">" if order == ">" else "<"

    def value(self, raw: Any) -> bool | int | float | str | bytes:
        """The scalar whose bytes are ``raw``. Raises PickleError."""
        if type(raw) is not bytes:
            raise PickleError("a numpy scalar without its bytes")
        order = self._order or "<"
        if (code := _FORMATS.get(self._code)) is not None:
            if len(raw) != struct.calcsize(order + code):
                raise PickleError(f"a numpy scalar {self._code} of {len(raw)} bytes")
            number: bool | int | float = struct.unpack(order + code, raw)[0]
            return number
        if self._code[0] == "S":
            return raw.rstrip(b"\0")
        return raw.decode("utf-32-be" if order == ">" else "utf-32-le").rstrip("\0")


def _scalar(dtype: Any, raw: Any) -> bool | int | float | str | bytes:
    """A numpy scalar as a plain value. Raises PickleError."""
    if type(dtype) is not _Dtype:
        raise PickleError("a numpy scalar without a dtype")
    return dtype.value(raw)


_CONSTRUCTORS = {
    ("_codecs", "encode"): _Constructor(_encode),
    ("__builtin__", "bytes"): _Constructor(_no_bytes),
    ("datetime", "datetime"): _Constructor(_datetime),
    ("numpy.core.multiarray", "scalar"): _Constructor(_scalar),
    ("numpy._core.multiarray", "scalar"): _Constructor(_scalar),
    ("numpy", "dtype"): _Constructor(_Dtype),
}
