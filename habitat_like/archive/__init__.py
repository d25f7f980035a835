"""Where messages are kept for good: CouchDB, or one SQLite file where there is no CouchDB.

``open_archive`` picks the one that the configuration names. ``ArchiveSink`` is imported when it is
first asked for, so that the operator's commands don't load the message server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from habitat_like.archive.base import Archive, ArchiveError, ArchiveUnavailable, Query, Rejected
from habitat_like.config.archive_uri import archive_uri
from habitat_like.config.keys import ArchiveConfig

if TYPE_CHECKING:
    from habitat_like.archive.sink import ArchiveSink

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveSink",
    "ArchiveUnavailable",
    "Query",
    "Rejected",
    "open_archive",
]


def open_archive(config: ArchiveConfig) -> Archive:
    """The archive that ``archive.uri`` names, not yet connected to.

    Does no I/O but reading ``archive.password_file``: a CouchDB that is down, or a file that does
    not exist, shows at the first call. Raises ConfigError when the URI or the password's file
    can't be used. The result is for one thread at a time (see ``Archive``).
    """
    uri = archive_uri(config)
    if uri.scheme == "sqlite":
        from habitat_like.archive.sqlite import SqliteArchive  # noqa: PLC0415 (the other archive's library isn't loaded)

        return SqliteArchive(uri.path, timeout=config.timeout)
    from habitat_like.archive.couch import CouchArchive  # noqa: PLC0415 (as above)

    return CouchArchive(uri, timeout=config.timeout)


def __getattr__(name: str) -> Any:
    """Import ``ArchiveSink`` on first use."""
    if name == "ArchiveSink":
        from habitat_like.archive.sink import ArchiveSink  # noqa: PLC0415 (that is the point of it)

        return ArchiveSink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
