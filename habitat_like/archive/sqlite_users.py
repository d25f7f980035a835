"""Which archives of this process have an SQLite file open, and which files all must release.

SQLite uses POSIX locks, which separate processes but not connections within one. Thread-safe.
"""

from __future__ import annotations

import threading
from collections import Counter

#: A file, whatever its name: device and inode.
File = tuple[int, int]

# Guards the two below.
_lock = threading.Lock()
_users: Counter[File] = Counter()
_suspects: set[File] = set()


def enter(file: File) -> None:
    """Count one more archive that has the file open."""
    with _lock:
        _users[file] += 1


def leave(file: File) -> None:
    """Count one fewer."""
    with _lock:
        _users[file] -= 1
        if not _users[file]:
            del _users[file]


def has_users(file: File) -> bool:
    """Whether an archive of this process has the file open."""
    with _lock:
        return file in _users


def suspect(file: File) -> None:
    """An fsync of the file failed: everybody must close it, and its log must be reread."""
    with _lock:
        _suspects.add(file)


def trust(file: File) -> None:
    """Its log has been reread."""
    with _lock:
        _suspects.discard(file)


def is_suspect(file: File | None) -> bool:
    """Whether the file's log must be reread before use."""
    with _lock:
        return file in _suspects
