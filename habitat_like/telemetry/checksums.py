"""The checksums of UKHAS sentences, and that of Horus Binary. No I/O.

A sentence's checksum covers everything between ``$$`` and ``*``.
"""

from __future__ import annotations

import binascii
import functools
import operator
from collections.abc import Callable

Checksum = Callable[[bytes], str]


def crc16_ccitt(data: bytes) -> str:
    """CRC-16 with polynomial 0x1021, start 0xFFFF, not reflected, no final xor: four digits."""
    return f"{crc16(data):04X}"


def crc16(data: bytes) -> int:
    """The same as a number, as in Horus Binary."""
    return binascii.crc_hqx(data, 0xFFFF)


def xor(data: bytes) -> str:
    """All bytes xored: two digits."""
    return f"{functools.reduce(operator.xor, data, 0):02X}"


def fletcher16(data: bytes) -> str:
    """Fletcher's sums modulo 255, the first sum in the high byte: four digits."""
    return _fletcher(data, 255)


def fletcher16_256(data: bytes) -> str:
    """The same modulo 256."""
    return _fletcher(data, 256)


def _fletcher(data: bytes, modulus: int) -> str:
    first = second = 0
    for byte in data:
        first = (first + byte) % modulus
        second = (second + first) % modulus
    return f"{first:02X}{second:02X}"


#: By their names in payload configurations.
CHECKSUMS: dict[str, Checksum] = {
    "crc16-ccitt": crc16_ccitt,
    "xor": xor,
    "fletcher-16": fletcher16,
    "fletcher-16-256": fletcher16_256,
}
#: A sentence that has none.
NONE = "none"
