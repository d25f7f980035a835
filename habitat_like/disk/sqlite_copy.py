"""Copies of SQLite databases that are in use: consistent, in pieces, checked."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from habitat_like.disk.directory import check_links

#: Pages copied in one piece; with the usual page of 4096 bytes that is 8 MiB.
PIECE = 2048
#: Seconds to wait for a lock of a program that is just starting or stopping.
BUSY = 30.0
#: What every SQLite database begins with (https://www.sqlite.org/fileformat.html).
MAGIC = b"SQLite format 3\0"


def is_database(path: Path) -> bool:
    """Whether the file is an SQLite database. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def copy_database(source: Path, target: Path, told: Callable[[float], None]) -> None:
    """Copy the database ``source`` as it is now to the new file ``target``, and to the disk.

    Others may go on writing: one read transaction holds over all pieces, so the copy never starts
    over. ``told`` is called after each piece with the share that is done. Raises sqlite3.Error and
    OSError. Memory is that of SQLite's caches.
    """
    with contextlib.ExitStack() as opened:
        reader = opened.enter_context(contextlib.closing(_connect(source, "mode=ro")))
        writer = opened.enter_context(
            contextlib.closing(sqlite3.connect(target, isolation_level=None))
        )
        writer.execute("PRAGMA journal_mode = OFF")
        writer.execute("PRAGMA synchronous = OFF")  # fsynced as a whole, below
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reader.backup(
            writer,
            pages=PIECE,
            progress=lambda _, left, total: told(1 - left / total if total else 1.0),
        )
    with target.open("rb+") as file:
        os.fsync(file.fileno())


def check_copy(path: Path) -> str | None:
    """What is wrong inside of a copied database, one line; None if it is sound.

    Reads all of it, and changes nothing. Raises OSError.
    """
    try:
        with contextlib.closing(_connect(path, "mode=ro&immutable=1")) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if found == "ok" else " ".join(str(found).split())


def _connect(path: Path, how: str) -> sqlite3.Connection:
    check_links(path)
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?{how}",
        uri=True,
        isolation_level=None,
        timeout=BUSY,
    )
