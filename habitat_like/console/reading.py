"""Reading: what is read from the archive a while at a time, once for everybody who looks at it."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod

from habitat_like.archive import Archive, ArchiveError
from habitat_like.config.keys import ConfigError
from habitat_like.console.archives import Archives
from habitat_like.console.downloads import Pace


class Reading(ABC):
    """Something that is filled from the archive, by one thread at a time. Thread-safe.

    ``lock`` guards what is read, and ``problem``: why the archive can't be read, None if it can.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.problem: str | None = None
        # Held by the thread that reads.
        self._reader = threading.Lock()

    def read(self, archives: Archives, seconds: float, pace: Pace | None = None) -> None:
        """Read for about so many seconds, unless all is read, or another thread does it.

        With a ``pace`` it gives way to uploads.
        """
        if not self._reader.acquire(blocking=False):
            return
        try:
            if not self._is_due(in_haste=pace is None):
                return
            problem = None
            try:
                with archives.lend() as archive:
                    self._read(archive, time.monotonic() + seconds, pace)
            except (ArchiveError, ConfigError) as error:
                problem = str(error)
            with self.lock:
                self.problem = problem
        finally:
            self._reader.release()

    @abstractmethod
    def _is_due(self, *, in_haste: bool) -> bool:
        """Whether there may be anything to read; ``in_haste``: somebody waits for it."""

    @abstractmethod
    def _read(self, archive: Archive, deadline: float, pace: Pace | None) -> None:
        """Read until the ``deadline`` (monotonic), or a moment longer. Raises ArchiveError."""
