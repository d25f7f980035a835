"""Files on disk: SQLite's logs, directories that others can write to, files that vanish."""

from habitat_like.disk.directory import (
    DIRECTORY_MODE,
    FILE_MODE,
    MAX_LINKS,
    Directory,
    check_file,
    check_links,
    make_file,
    open_in_place,
    open_stream,
    read_file,
)
from habitat_like.disk.presence import (
    Identity,
    OpenFile,
    Presence,
    file_size,
    find_open,
    identity,
    leave_open,
)
from habitat_like.disk.sqlite_copy import check_copy, copy_database, is_database
from habitat_like.disk.sqlite_log import (
    READ_BYTES,
    SYNC_ERRORS,
    WAL_KEPT,
    read_rows,
    rewrite_log,
    sync,
)

__all__ = [
    "DIRECTORY_MODE",
    "FILE_MODE",
    "MAX_LINKS",
    "READ_BYTES",
    "SYNC_ERRORS",
    "WAL_KEPT",
    "Directory",
    "Identity",
    "OpenFile",
    "Presence",
    "check_copy",
    "check_file",
    "check_links",
    "copy_database",
    "file_size",
    "find_open",
    "identity",
    "is_database",
    "leave_open",
    "make_file",
    "open_in_place",
    "open_stream",
    "read_file",
    "read_rows",
    "rewrite_log",
    "sync",
]
