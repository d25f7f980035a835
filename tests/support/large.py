"""Large messages, and how much memory a process takes for them."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import msgspec

from habitat_like.journal.journal import Journal

MB = 1024 * 1024
START = 1_700_000_000


def large(number: int, size: int = MB, **more: Any) -> dict[str, Any]:
    """A document of about ``size`` bytes, larger than a station may send today."""
    packet = b"%08d" % number + b"x" * (size * 3 // 4)
    return {
        "_id": f"{START + number:010d}-{number:024x}",
        "type": "RECEIVED_TELEM",
        "callsign": "LARGE",
        "ip": None,
        "time_created": START + number,
        "time_uploaded": START + number,
        "data": {"string": base64.b64encode(packet).decode()},
        "gateway": "old",
        **more,
    }


def row(number: int, size: int = MB) -> tuple[str, bytes]:
    """Its id, and its JSON as the journal has it."""
    document = large(number, size)
    return document["_id"], msgspec.json.encode(document)


def fill(path: Path, count: int, size: int = MB) -> list[str]:
    """A journal in which ``count`` of them wait, as an older version left it; their ids."""
    journal = Journal(path, sync="normal")
    ids = []
    try:
        for number in range(count):
            one = row(number, size)
            ids.append(one[0])
            journal.write([one])
    finally:
        journal.close()
    return ids


def peak(pid: int) -> int:
    """The most bytes of memory that the process ever had."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+([0-9]+) kB", text)
    assert found, text
    return int(found[1]) * 1024
