"""Archives for the console's pages: each page has its own while it is made."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol

import msgspec
from flask import current_app

from habitat_like.archive import Archive, ArchiveUnavailable, open_archive
from habitat_like.config.keys import ArchiveConfig
from habitat_like.console import rights

#: The most seconds that a page waits for the archive: somebody is watching.
PATIENCE = 10.0


class Lender(Protocol):
    """Lends archives."""

    def lend(self) -> contextlib.AbstractContextManager[Archive]:
        """An archive for the calling thread alone. Raises ArchiveUnavailable and ConfigError."""


class Archives:
    """As many archives as there are pages being made. Thread-safe.

    None stays open between pages: the sink must be able to have the file of an embedded archive
    to itself.
    """

    def __init__(self, config: ArchiveConfig) -> None:
        self._config = msgspec.structs.replace(config, timeout=min(config.timeout, PATIENCE))
        # Guards all below, so that interrupt reaches what hangs.
        self._lock = threading.Lock()
        self._idle: list[Archive] = []
        self._lent: set[Archive] = set()
        self._is_interrupted = False

    @contextlib.contextmanager
    def lend(self) -> Iterator[Archive]:
        """An archive for the calling thread alone. Raises ArchiveUnavailable and ConfigError."""
        with self._lock:
            if self._is_interrupted:
                raise ArchiveUnavailable("the gateway is shutting down")
            archive = self._idle.pop() if self._idle else open_archive(self._config)
            self._lent.add(archive)
        try:
            yield archive
        finally:
            archive.close()
            with self._lock:
                self._lent.discard(archive)
                self._idle.append(archive)

    def interrupt(self) -> None:
        """Make hanging calls fail, as the program is about to stop. Any thread."""
        with self._lock:
            self._is_interrupted = True
            for archive in self._lent:
                archive.interrupt()


class AddresslessArchives:
    """The same for a user who may not see the addresses of stations."""

    def __init__(self, archives: Archives) -> None:
        self._archives = archives

    @contextlib.contextmanager
    def lend(self) -> Iterator[Archive]:
        """An archive for the calling thread alone. Raises ArchiveUnavailable and ConfigError."""
        with self._archives.lend() as archive:
            yield rights.AddresslessArchive(archive)


def this_archives() -> Lender:
    """The archives of the current request's application, as its user may see them."""
    archives: Archives = current_app.extensions["archives"]
    return archives if rights.is_operator() else AddresslessArchives(archives)
