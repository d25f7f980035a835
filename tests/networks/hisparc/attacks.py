"""Pickles that were made to do harm: each must end in a refusal, and in nothing else.

``CANARY`` in them stands for a file that a successful attack would make.
"""

from __future__ import annotations

import pickle
import struct

CANARY = b"CANARY"


def _text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def _global(module: bytes, name: bytes) -> bytes:
    """The global as protocol 4 names it."""
    return b"\x8c%c%b\x8c%c%b\x93" % (len(module), module, len(name), name)


_TOUCH = b"touch " + CANARY
_OPEN = b"open('" + CANARY + b"','w')"

#: Code that runs where a pickle is simply loaded.
EXECUTION = {
    "os.system": b"cos\nsystem\n(S'" + _TOUCH + b"'\ntR.",
    "posix.system": b"cposix\nsystem\n(S'" + _TOUCH + b"'\ntR.",
    "os.system, protocol 2": b"\x80\x02cos\nsystem\n" + _text(_TOUCH) + b"\x85R.",
    "os.system, protocol 4": b"\x80\x04" + _global(b"os", b"system") + _text(_TOUCH) + b"\x85R.",
    "builtins.eval": b'cbuiltins\neval\n(S"' + _OPEN + b'"\ntR.',
    "__builtin__.eval": b'c__builtin__\neval\n(S"' + _OPEN + b'"\ntR.',
    "builtins.exec, protocol 4": b"\x80\x04" + _global(b"builtins", b"exec") + b"\x8c\x01 \x85R.",
    "builtins.__import__": b"cbuiltins\n__import__\n(S'antigravity'\ntR.",
    "subprocess.Popen": b"csubprocess\nPopen\n((lS'touch'\naS'" + CANARY + b"'\natR.",
    "getattr chain": (
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'"
        + _TOUCH
        + b"'\ntR."
    ),
    "dotted name": b"\x80\x04" + _global(b"datetime", b"sys.modules") + b".",
    "dotted name of a known one": b"\x80\x04" + _global(b"datetime", b"datetime.today") + b")R.",
    "a name of ours": b"\x80\x04" + _global(b"habitat_like.journal", b"Journal") + b".",
    "INST": b"(S'" + _TOUCH + b"'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'" + _TOUCH + b"'\no.",
    "NEWOBJ": b"\x80\x02cdatetime\ndatetime\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04" + _global(b"datetime", b"datetime") + b")}\x92.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "PERSID": b"Phello\n.",
    "BINPERSID": b"\x80\x02K\x01Q.",
    "BUILD on a constructor": b"cdatetime\ndatetime\n(dS'_function'\nS'x'\nsb.",
    "BUILD with slots on a constructor": (
        b"\x80\x02cdatetime\ndatetime\n}" + _text(b"_function") + b"K\x01s}\x86b."
    ),
    "BUILD on a list": b"(l(dS'a'\nI1\nsb.",
    "BUILD twice on a dtype": (
        b"\x80\x02cnumpy\ndtype\n(U\x02i4K\x00K\x01tR"
        + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" * 2
        + b"."
    ),
    "call of a datetime": b"cdatetime\ndatetime\n(U\x0a\x07\xe1\x02\x16\r\x189\n\x02\x80tR(tR.",
    "codec that unpacks": b"c_codecs\nencode\n(Vx\nVzip\ntR.",
    "codec by another name": b"c_codecs\nlookup\n(Vutf8\ntR.",
    "bytes of a length": b"c__builtin__\nbytes\n(I100000000000\ntR.",
    "numpy.load": b"cnumpy\nload\n(S'" + CANARY + b"'\ntR.",
    "numpy array": b"cnumpy.core.multiarray\n_reconstruct\n(tR.",
    "numpy objects": b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
    "pickle in a pickle": b"cpickle\nloads\n(S'cos\\nsystem\\n(S\"" + _TOUCH + b"\"\\ntR.'\ntR.",
    "Python's own pickle of eval": pickle.dumps(eval),
    "Python's own pickle of an object": pickle.dumps(object()),
    "Python's own pickle of a set": pickle.dumps({1, 2}),
    "Python's own pickle of a bytearray": pickle.dumps(bytearray(b"abc"), 5),
}


def _laughs(step: bytes, first: bytes, rounds: int) -> bytes:
    """``first`` in the memo, then each time something of two of the one before."""
    program = b"\x80\x02" + first + b"q\x00"
    for number in range(1, rounds):
        last = b"h%c" % (number - 1)
        program += step % (last, last) + b"q%c" % number
    return program + b"."


_LONG = b"A" * 100_000
_COLLIDING = b"".join(
    b"\x8a\x0e" + (number * (2**61 - 1)).to_bytes(14, "little") + b"N"
    for number in range(1, 20_000)
)

#: Pickles that cost their reader memory or time out of all proportion.
EXHAUSTION = {
    "billion laughs of lists": _laughs(b"](%b%be", b"]", 200),
    "billion laughs of tuples": _laughs(b"%b%b\x86", b")", 200),
    "billion laughs as a key": _laughs(b"%b%b\x86", b")", 60)[:-1] + b"}h\x3bNs.",
    "list of itself": b"\x80\x02]q\x00h\x00a.",
    "dict of itself": b"\x80\x02}q\x00U\x01ah\x00s.",
    "tuple of itself": b"\x80\x02]q\x00h\x00\x85q\x01ah\x01.",
    "event list of itself": b"\x80\x02]q\x00(h\x00h\x00e.",
    "huge LONG": b"L" + b"9" * 1_000_000 + b"L\n.",
    "huge LONG4": b"\x80\x02\x8b" + struct.pack("<i", 500_000) + b"\x7f" * 500_000 + b".",
    "long LONG1": b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
    "huge INT": b"I" + b"9" * 1_000_000 + b"\n.",
    "huge FLOAT": b"F" + b"9" * 1_000_000 + b"\n.",
    "deep lists": b"\x80\x02" + b"]" * 90_000 + b"a" * 89_999 + b".",
    "deeper lists": b"\x80\x02" + b"]" * 500_000 + b"a" * 499_999 + b".",
    "deep dicts": b"\x80\x02" + b"}U\x01a" * 90_000 + b"N" + b"s" * 90_000 + b".",
    "deep tuples": b"\x80\x02N" + b"\x85" * 500_000 + b".",
    "many dicts": b"\x80\x02](" + b"}" * 1_000_000 + b"e.",
    "many marks": b"(" * 1_000_000 + b".",
    "memo of 4 GB": b"\x80\x02Nr\xff\xff\xff\xff.",
    "memo of 2 GB in text": b"Np2000000000\n.",
    "string of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "string of a negative length": b"\x80\x02T\xff\xff\xff\xffabc.",
    "bytes of 2^62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "bytearray of 2^40": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.",
    "frame of 2^63": b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.",
    "frames without end": b"\x80\x04" + (b"\x95" + struct.pack("<Q", 500_000)) * 90_000 + b"N.",
    "integers of one hash as keys": b"\x80\x02}(" + _COLLIDING + b"u.",
    "one text a hundred thousand times": (
        b"\x80\x02](" + _text(_LONG) + b"q\x00" + b"h\x00" * 100_000 + b"e."
    ),
    "one event a hundred thousand times": (
        b"\x80\x02](}q\x00(U\x06header}(U\x14eventtype_uploadcodeU\x03CICU\x08datetimecdatetime\n"
        b"datetime\nU\x0a\x07\xea\x0b\x14\r\x189\n\x02\x80\x85RU\x0bnanosecondsK\x01uU\x08datalist"
        b"](}(U\x0fdata_uploadcodeU\x03TR1U\x04data"
        + _text(_LONG)
        + b"ueu"
        + b"h\x00" * 99_000
        + b"e."
    ),
}

#: What is no pickle, or breaks off.
BROKEN = {
    "nothing": b"",
    "a dot": b".",
    "no end": b"(lp0\n",
    "more after the end": b"N.N.",
    "only protocol": b"\x80",
    "protocol 6": b"\x80\x06N.",
    "protocol 255": b"\x80\xffN.",
    "empty memo": b"\x80\x02h\x07.",
    "empty stack": b"a.",
    "mark alone": b"(.",
    "string without quotes": b"Sabc\n.",
    "string with an odd escape": b"S'\\q'\n.",
    "string with half an escape": b"S'\\x4'\n.",
    "text with half an escape": b"V\\u12\n.",
    "text that is not UTF-8": b"\x80\x02X\x01\x00\x00\x00\xff.",
    "number that is none": b"Iabc\n.",
    "float that is none": b"F..\n.",
    "list as a key": b"\x80\x02}]Ns.",
    "datetime of too few bytes": b"cdatetime\ndatetime\n(S'\\x07'\ntR.",
    "datetime of month 13": b"cdatetime\ndatetime\n(U\x0a\x07\xe1\x0d\x16\r\x189\n\x02\x80tR.",
    "JSON": b'[{"header": {}}]',
    "None": pickle.dumps(None),
    "a number": pickle.dumps(5),
    "a dict": pickle.dumps({"header": {}, "datalist": []}),
    "a list of numbers": pickle.dumps([1, 2, 3]),
}

ALL = {**EXECUTION, **EXHAUSTION, **BROKEN}
