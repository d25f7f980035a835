"""A journal with its statistics, without a gateway, at a time that a test sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from habitat_like.journal.journal import Journal
from habitat_like.message.message import Listener, Message
from habitat_like.message.types import Registry
from habitat_like.statistics import Aggregator, StatisticsReader
from habitat_like.statistics.metrics import GatewayMetrics
from habitat_like.statistics.status import NetworkStatus
from tests.support.wait import PATIENCE

#: A midnight, UTC.
MIDNIGHT = 1_795_219_200


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = float(MIDNIGHT)

    def __call__(self) -> float:
        return self.now


class Site:
    """A journal with an aggregator, and what a gateway would do to them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.metrics = GatewayMetrics()
        #: What networks counted since the start.
        self.uploads: dict[str, NetworkStatus] = {}
        self._number = 0
        self.open()

    def open(self) -> None:
        """Start anew with the file as it is."""
        self.journal = Journal(self.path, clock=self.clock)
        self.aggregator = Aggregator(
            self.journal,
            self.metrics,
            {"journal": self.path.parent},
            self.clock,
            uncorrected=lambda: {"HISPARC_EVENT"},
            networks=lambda: self.uploads,
        )

    def write(self, callsign: str = "M0ZDR", type: str = "RECEIVED_TELEM", **more: Any) -> None:
        """Write a message unlike any other; ``more`` is its data."""
        self._number += 1
        data = {"number": self._number, **more}
        now = int(self.clock.now)
        message = Message(Listener(callsign, "203.0.113.7"), type, now, now, data)
        assert self.journal.write([message.document(b'"a1"')]) == 1

    def upload(self, message: dict[str, Any]) -> None:
        """Take a station's message in, as an action does."""
        parsed = Registry().parse(json.dumps(message).encode(), "203.0.113.7", int(self.clock.now))
        assert self.journal.write([parsed.document(b'"a1"')]) == 1

    def count(self) -> None:
        """Have all counted: the last round of a stop, and the next start."""
        self.aggregator.start()
        assert self.aggregator.stop(PATIENCE) == []
        self.close()
        self.metrics = GatewayMetrics()
        self.uploads = {}
        self.open()

    def close(self) -> None:
        """End it; what is not counted stays so."""
        self.aggregator.stop(PATIENCE)
        self.journal.close()

    def ask(self) -> StatisticsReader:
        """A reader by the site's clock."""
        return StatisticsReader(self.path, self.clock)
