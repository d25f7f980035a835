"""Archives for the console's pages: each page has one for itself while it is made."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator

import msgspec
from flask import current_app

from habitat_like.archive import Archive, ArchiveUnavailable, open_archive
from habitat_like.config import ArchiveConfig

#: Seconds that a page waits for the archive at most: somebody sits before it.
PATIENCE = 10.0


class Archives:
    """At most ``count`` archives, opened when first needed and kept. Thread-safe."""

    def __init__(self, config: ArchiveConfig, count: int) -> None:
        self._config = msgspec.structs.replace(config, timeout=min(config.timeout, PATIENCE))
        self._idle: queue.LifoQueue[Archive | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        # Guards _lent, so that interrupt reaches what hangs.
        self._lock = threading.Lock()
        self._lent: set[Archive] = set()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Archive]:
        """An archive for the calling thread alone. Raises ArchiveUnavailable and ConfigError."""
        try:
            archive = self._idle.get(timeout=PATIENCE)
        except queue.Empty:
            raise ArchiveUnavailable("too many pages wait for the archive; try again") from None
        try:
            if archive is None:
                archive = open_archive(self._config)
            with self._lock:
                self._lent.add(archive)
            yield archive
        finally:
            with self._lock:
                self._lent.discard(archive)
            self._idle.put(archive)

    def interrupt(self) -> None:
        """Make calls that hang fail, as the program is about to stop. Any thread."""
        with self._lock:
            for archive in self._lent:
                archive.interrupt()

    def close(self) -> None:
        """Give back connections and files; called once no page is being made."""
        while not self._idle.empty():
            if (archive := self._idle.get_nowait()) is not None:
                archive.close()


def this_archives() -> Archives:
    """Those of the application that the present request is for."""
    archives: Archives = current_app.extensions["archives"]
    return archives
