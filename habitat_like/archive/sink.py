"""ArchiveSink: the sink that puts the journal's messages into the archive."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from habitat_like.archive import ArchiveError, open_archive
from habitat_like.archive.base import (
    AgingArchive,
    ClusterArchive,
    FileArchive,
    Node,
    Rejected,
)
from habitat_like.archive.retention import DAY, Retention
from habitat_like.archive.verify import verify
from habitat_like.config.keys import ConfigError
from habitat_like.journal.reader import Entry
from habitat_like.message_server.intake import Intake
from habitat_like.message_server.sinks import JournalSink, Refusal, Retry, SinkNode

log = logging.getLogger(__name__)

#: Seconds for which old messages go at once while nothing is to be stored.
IDLE_RETENTION = 0.2


class ArchiveSink(JournalSink):
    """Stores every message in the archive of the configuration's ``archive`` section.

    The archive may be unavailable for any length of time: the messages wait in the journal, and a
    batch not known to be stored is stored again, which the ids make harmless.
    """

    is_archive = True

    def __init__(self, server: Intake) -> None:
        super().__init__(server)
        config = server.program.config.archive
        self.batch = config.batch
        self.retry_min = config.retry_min
        self.retry_max = config.retry_max
        self.archive = open_archive(config)
        self._files = self.archive if isinstance(self.archive, FileArchive) else None
        self._cluster = self.archive if isinstance(self.archive, ClusterArchive) else None
        self._left: dict[str, Node] = {}
        self._retention: Retention | None = None
        if config.keep is not None:
            if not isinstance(self.archive, AgingArchive):
                text = f"{self.archive.name} can't let old messages go: remove the key"
                raise ConfigError(text, "archive.keep")
            self._retention = Retention(self.archive, config.keep)
        self._verify = config.verify
        # When, by the monotonic clock. Once a day again: the next month's database is made early.
        self._prepared: float | None = None

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        """Store the batch; raises Retry while the archive can't be used."""
        try:
            rejected = self._store([entry.document for entry in entries])
        except ArchiveError as error:
            raise Retry(str(error)) from error
        finally:
            self._tend_nodes()
        self._check_begun_anew()
        self._let_go(0.0)
        return [(entries[one.index], one.reason) for one in rejected]

    def idle(self) -> None:
        """Create the database at start, so that a wrong password shows before the first message."""
        try:
            self._prepare()
            if self._files is not None:
                self._files.tend()
        except ArchiveError as error:
            raise Retry(str(error)) from error
        finally:
            self._tend_nodes()
        self._check_begun_anew()
        self._let_go(IDLE_RETENTION)

    def nodes(self) -> list[SinkNode]:
        """The nodes of a cluster, none for an archive in one place."""
        found = [] if self._cluster is None else self._cluster.nodes()
        return [SinkNode(**msgspec.structs.asdict(one)) for one in found if len(found) > 1]

    def interrupt(self) -> None:
        """Make a hanging call fail."""
        self.archive.interrupt()

    def shutdown(self) -> None:
        """Release connections and files."""
        self.archive.close()

    def _let_go(self, seconds: float) -> None:
        """Let old messages go, for about so long, if it is time."""
        if self._retention is not None and not self.stopping:
            self._retention.turn(seconds)
            self.counts["dropped"] = self._retention.dropped

    def _tend_nodes(self) -> None:
        """Ask failed nodes again, and log which have failed or work again since the last time."""
        if self._cluster is None or len(self._cluster.nodes()) < 2 or self.stopping:
            return
        self._cluster.tend_nodes()
        before = self._left
        self._left = {node.name: node for node in self._cluster.nodes() if node.problem}
        for name, node in self._left.items():
            if name not in before:
                log.warning("archive node left", extra={"node": name, "why": node.problem})
        for name in before.keys() - self._left.keys():
            log.info("archive node works again", extra={"node": name})

    def _store(self, documents: list[bytes]) -> list[Rejected]:
        begin = time.monotonic()
        problem: str | None = None
        try:
            self._prepare()
            return self._verified(documents, self.archive.store(documents))
        except ArchiveError as error:
            problem = str(error)
            raise
        finally:
            self.server.batch_done(len(documents), time.monotonic() - begin, problem)

    def _verified(self, documents: list[bytes], rejected: list[Rejected]) -> list[Rejected]:
        """What was ``rejected``, and what comes back different, if a sample is to be read back."""
        if not self._verify:
            return rejected
        different = verify(self.archive, documents, rejected, self._verify)
        self.counts["verified"] += min(self._verify, len(documents) - len(rejected))
        self.counts["different"] += len(different)
        return [*rejected, *different]

    def _check_begun_anew(self) -> None:
        """Restart from what the journal still holds, if earlier documents may be missing."""
        why = None if self._files is None else self._files.begun_anew()
        if why is not None:
            again = self.rewind()
            raise Retry(f"{why}; {again} messages of the journal are archived once more")

    def _prepare(self) -> None:
        if self._files is not None and (why := self._files.gone()) is not None:
            raise ArchiveError(why)
        now = time.monotonic()
        is_first = self._prepared is None
        if self._prepared is None or (self._cluster is not None and now >= self._prepared + DAY):
            for warning in self.archive.prepare():
                log.warning(warning)
            self._prepared = now
        if is_first:
            log.info("archive ready", extra={"archive": self.archive.name})
