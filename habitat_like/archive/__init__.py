"""Permanent message storage: CouchDB, or a single SQLite file where there is no CouchDB.

``open_archive`` picks the one the configuration names. ``ArchiveSink`` is imported on first use,
so that the operator's commands don't load the message server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from habitat_like.archive.base import Archive, ArchiveError, ArchiveUnavailable, Query, Rejected
from habitat_like.archive.schemes import check, disk_places, mask, open_archive

if TYPE_CHECKING:
    from habitat_like.archive.sink import ArchiveSink

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveSink",
    "ArchiveUnavailable",
    "Query",
    "Rejected",
    "check",
    "disk_places",
    "mask",
    "open_archive",
]


def __getattr__(name: str) -> Any:
    """Import ``ArchiveSink`` on first use."""
    if name == "ArchiveSink":
        from habitat_like.archive.sink import ArchiveSink  # noqa: PLC0415 (that is the point of it)

        return ArchiveSink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
