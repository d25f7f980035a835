"""Parts: where the program is assembled and taken down.

``Program`` (a process with a socket) and the WSGI application build on it: both serve requests and
do housekeeping in the same way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time

from habitat_like import log
from habitat_like.archive import disk_places
from habitat_like.config.file import unknown_environment
from habitat_like.config.imports import make_importable
from habitat_like.config.keys import Config
from habitat_like.http.site import Site
from habitat_like.http.status import status
from habitat_like.journal.journal import Journal
from habitat_like.main.housekeeping import Housekeeping
from habitat_like.message.types import Registry, load_types
from habitat_like.message_server import Server
from habitat_like.networks.networks import Networks
from habitat_like.statistics import Aggregator, StatisticsReader, troubles
from habitat_like.statistics.status import Trouble
from habitat_like.steering.access import Access
from habitat_like.steering.switches import Steering

logger = logging.getLogger(__name__)

#: Seconds between two rounds of housekeeping, and when one left something to do.
HOUSEKEEPING = 1.0
BUSY_HOUSEKEEPING = 0.02


class Parts:
    """Takes in messages, keeps them and passes them on; it has no threads of its own.

    ``config`` is the configuration in force and ``config_path`` the file it came from. Made, built,
    maintained and taken down by one thread.
    """

    def __init__(self, config: Config, config_path: str | None = None) -> None:
        self.config = config
        self.config_path = config_path
        self.started = time.time()
        self.registry = Registry()
        #: The networks whose stations upload here.
        self.networks: Networks
        #: What an operator can change while it runs.
        self.steering = Steering(config.journal.path)
        #: Who may upload, and how much.
        self.access = Access(config.access)
        self.journal: Journal
        self.server: Server
        self.site: Site
        #: What was wrong a moment ago, worst first.
        self.troubles: tuple[Trouble, ...] = ()
        self._statistics: Aggregator | None = None
        self._housekeeping: Housekeeping | None = None

    @property
    def dead_letters(self) -> dict[str, int]:
        """Recent counts of dead letters by sink."""
        return {} if self._housekeeping is None else self._housekeeping.dead_letters

    @property
    def statistics(self) -> Aggregator | None:
        """The statistics, None before they are kept."""
        return self._statistics

    def build(self, undo: contextlib.ExitStack) -> None:
        """Make every part; ``undo`` takes down what was made if something fails later.

        Raises ConfigError, SinkError, JournalError, ValueError and OSError.
        """
        config = self.config
        log.configure(config.log)
        for line in unknown_environment(os.environ, config):
            logger.warning(line)
        make_importable(self.config_path)
        self.networks = Networks(config)
        self.registry = Registry(load_types(config.types), self.networks.types)
        self.steering.look()
        self.journal = Journal(config.journal.path, sync=config.journal.sync)
        undo.callback(self.journal.close)
        self._housekeeping = Housekeeping(self.journal, self.beat)
        self.server = Server(self)
        undo.callback(self.server.shutdown, 0)
        self.server.batch_done = self.steering.archive_batch
        for index, sink in enumerate(config.sinks):
            self.server.load(sink, f"sinks[{index}]")
        self.site = self.make_site()
        self.site.router = self.networks.router
        self._statistics = Aggregator(
            self.journal,
            self.site.metrics,
            disk_places(config),
            uncorrected=lambda: self.registry.reserved,
            networks=self.networks.counts,
        )
        self._statistics.watch = self._look_for_troubles
        undo.callback(self._statistics.stop, 1)
        self.keep_house()

    def _look_for_troubles(self, ask: StatisticsReader) -> None:
        """On the statistics' thread."""
        self.troubles = tuple(troubles.find(troubles.gather(status(self.site), ask, time.time())))

    def make_site(self) -> Site:
        """What requests can reach. Raises ValueError for an action that doesn't exist."""
        return Site(self.server, self)

    def beat(self) -> None:
        """Called now and then by the housekeeping thread during long steps."""

    def keep_house(self) -> bool:
        """One round of what must be done every HOUSEKEEPING seconds.

        Returns whether the next one should come soon.
        """
        self.steering.look()
        assert self._housekeeping is not None  # noqa: S101 (it is built)
        return self._housekeeping.round(self.config.journal)

    def stop_sinks(self, until: float) -> list[str]:
        """Stop every sink at a batch boundary by ``until`` (monotonic); returns those left."""
        return self.server.shutdown(max(until - time.monotonic(), 0))

    def stop_statistics(self, until: float) -> list[str]:
        """Stop the statistics by ``until``; after the sinks, which push until they stop."""
        if self._statistics is None:
            return []
        return self._statistics.stop(until - time.monotonic())
