"""ArchiveSink: the sink that puts the journal's messages into the archive."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from habitat_like.archive import ArchiveError, open_archive
from habitat_like.archive.base import Rejected
from habitat_like.journal.journal import Entry
from habitat_like.message_server.intake import Intake
from habitat_like.message_server.sinks import JournalSink, Refusal, Retry

log = logging.getLogger(__name__)


class ArchiveSink(JournalSink):
    """Stores every message in the archive of the configuration's ``archive`` section.

    The archive may be away for as long as it likes: the messages wait in the journal, and the batch
    that was not known to be stored is stored again, which the ids make harmless.
    """

    is_archive = True

    def __init__(self, server: Intake) -> None:
        super().__init__(server)
        config = server.program.config.archive
        self.batch = config.batch
        self.retry_min = config.retry_min
        self.retry_max = config.retry_max
        self.archive = open_archive(config)
        self._prepared = False

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        """Store the batch; raises Retry while the archive can't be used."""
        try:
            rejected = self._store([entry.document for entry in entries])
        except ArchiveError as error:
            raise Retry(str(error)) from error
        return [(entries[one.index], one.reason) for one in rejected]

    def idle(self) -> None:
        """Make the database at start, so that a wrong password is told before the first message."""
        try:
            self._prepare()
        except ArchiveError as error:
            raise Retry(str(error)) from error

    def interrupt(self) -> None:
        """Make a call that hangs fail."""
        self.archive.interrupt()

    def shutdown(self) -> None:
        """Give back connections and files."""
        self.archive.close()

    def _store(self, documents: list[bytes]) -> list[Rejected]:
        begin = time.monotonic()
        problem: str | None = None
        try:
            self._prepare()
            return self.archive.store(documents)
        except ArchiveError as error:
            problem = str(error)
            raise
        finally:
            self.server.batch_done(len(documents), time.monotonic() - begin, problem)

    def _prepare(self) -> None:
        if not self._prepared:
            for warning in self.archive.prepare():
                log.warning(warning)
            self._prepared = True
            log.info("archive ready", extra={"archive": self.archive.name})
