"""Documents for an archive, and what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from habitat_like.archive import (
    Archive,
    ArchiveError,
    ArchiveUnavailable,
    Query,
    open_archive,
)
from habitat_like.config.keys import ArchiveConfig
from tests.support.couch import CouchServer

Order = Literal["asc", "desc"]
ORDERS: tuple[Order, ...] = ("asc", "desc")


@dataclass
class Place:
    """An archive's address, and how to make another object for it or to take it away."""

    config: ArchiveConfig
    opened: list[Archive]
    couch: CouchServer | None = None
    database: str = ""
    path: Path = Path()

    def open(self) -> Archive:
        archive = open_archive(self.config)
        self.opened.append(archive)
        return archive

    def lose(self) -> None:
        """Delete the database behind the archive's back."""
        if self.couch is not None:
            begin = self.database.removesuffix("undated")
            for name in self.couch.databases():
                if name == self.database or (begin != self.database and name.startswith(begin)):
                    self.couch.delete(name)
        else:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink()


def document(number: int, time: int = 1000, **more: Any) -> dict[str, Any]:
    return {
        "_id": f"{time:010d}-{number:024x}",
        "type": "RECEIVED_TELEM",
        "callsign": "M0ZDR",
        "time_created": time,
        "data": {"string": "JCRoYWJpdGF0"},
        **more,
    }


def encode(documents: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(one, ensure_ascii=False).encode() for one in documents]


def ids(documents: Any) -> list[str]:
    return [one["_id"] for one in documents]


def everything(archive: Archive) -> list[dict[str, Any]]:
    return list(archive.query(Query(order="asc")))


def message(number: int, time: int = 1000, **more: Any) -> bytes:
    """A small document as bytes."""
    tree = {"_id": f"{time:010d}-{number:024x}", "type": "T", "callsign": "C"}
    return json.dumps({**tree, "time_created": time, **more}).encode()


def batch(size: int, start: int = 0) -> list[bytes]:
    return [message(number) for number in range(start, start + size)]


def sent_ids(documents: Any) -> list[str]:
    return sorted(json.loads(one)["_id"] for one in documents)


def found_ids(archive: Archive) -> list[str]:
    return sorted(ids(archive.query(Query())))


def fails(call: Callable[[], Any], kind: type[ArchiveError] = ArchiveUnavailable) -> str:
    """The one line that the call fails with."""
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text
