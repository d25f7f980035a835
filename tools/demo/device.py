"""What every device that uploads has. No I/O."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Upload(NamedTuple):
    """An HTTP request."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


class Device:
    """Something that uploads, from the UNIX time ``begin`` on."""

    def __init__(self, begin: float, seed: int) -> None:
        self.begin = begin
        self.seed = seed

    def uploads(self, since: float, until: float) -> Iterator[Upload]:
        """What it sends at the UNIX time ``until``: all that happened after ``since``."""
        raise NotImplementedError

    def moments(self, every: float, since: float, until: float) -> Iterator[float]:
        """The times at which it does what it does ``every`` so many seconds, from ``begin`` on."""
        number = max(math.floor((since - self.begin) / every) + 1, 0)
        while (moment := self.begin + number * every) <= until:
            yield moment
            number += 1

    def chance(self, *what: object) -> random.Random:
        """The chance that decides ``what``, the same whenever it is asked for."""
        return random.Random(f"{self.seed} {type(self).__name__} {what}")


def as_json(tree: Any) -> bytes:
    """The body of an upload."""
    return json.dumps(tree).encode()


def zipped(method: str, path: str, body: bytes, headers: dict[str, str]) -> Upload:
    """An upload with a compressed body, the same bytes each time."""
    headers = {**headers, "Content-Encoding": "gzip"}
    return Upload(method, path, gzip.compress(body, mtime=0), headers)
