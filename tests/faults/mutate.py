"""Bytes made out of other bytes, for inputs that nobody thought of."""

from __future__ import annotations

import random
from collections.abc import Sequence

_NUMBERS = [
    b"0", b"-1", b"1e999", b"-0", b"9999999999", b"10000000000", b"18446744073709551616", b"1.5",
    b"NaN", b"null", b"true", b'""', b"[]", b"{}", b"01", b"+1", b"1_000",
]  # fmt: skip
_PARTS = [
    b"\0", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\r\n", b",", b":", b"{", b"[", b'"',
    b"\\", b"CONTENT_LENGTH\0", b"SCGI\x001\0", b"9" * 30, b"[" * 200, b'{"a":' * 100, b"!!python/",
    b"&a [*a]", b"<<: *a", b"\xef\xbb\xbf", b"%s%n", b"../../",
]  # fmt: skip


def mutate(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus, changed in one to six places, or left as it is."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(len(data) + 1)
        end = min(at + rng.randint(1, 16), len(data))
        match rng.randrange(8):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = bytes(data[at:end]) * rng.randint(1, 8)
            case 3:
                data[at:end] = rng.choice(_NUMBERS)
            case 4:
                data[at:at] = rng.choice(_PARTS)
            case 5:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case 6:
                del data[at:]
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(data)
