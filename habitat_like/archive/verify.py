"""Verification: a sample of what was stored is read back and compared."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from habitat_like.archive.base import (
    Archive,
    ArchiveUnavailable,
    Document,
    ReadBackArchive,
    Rejected,
)

#: What repeats of one message may differ in: the archive has the first.
_OF_ARRIVAL = ("time_uploaded", "gateway", "ip")


def verify(
    archive: Archive, documents: Sequence[bytes], rejected: Sequence[Rejected], size: int
) -> list[Rejected]:
    """Read ``size`` of the ``documents`` that were stored, and not ``rejected``, back.

    Returns those that come back as something else. Raises ArchiveUnavailable where one is missing:
    storing the batch again is then correct.
    """
    refused = {one.index for one in rejected}
    stored = [index for index in range(len(documents)) if index not in refused]
    different = []
    for index in random.sample(stored, min(size, len(stored))):
        sent = msgspec.json.decode(documents[index], type=dict[str, Any])
        found = _read(archive, sent["_id"])
        if found is None:
            raise ArchiveUnavailable(
                f"{archive.name}: {sent['_id']} was stored and can't be read back"
            )
        if not _same(sent, found):
            reason = f"the archive has another document as {sent['_id']}"
            different.append(Rejected(index, reason))
    return different


def _read(archive: Archive, identifier: str) -> Document | None:
    if isinstance(archive, ReadBackArchive):
        return archive.read_back(identifier)
    return archive.get(identifier)


def _same(sent: Document, found: Document) -> bool:
    """Whether ``found`` is what was sent, or an earlier one of the same message."""
    if any(sent.get(key) != found.get(key) for key in _OF_ARRIVAL):
        return all(sent.get(key) == found.get(key) for key in ("_id", "type", "callsign"))
    return sent == found
