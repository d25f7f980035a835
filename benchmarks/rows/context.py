"""What every row is given."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.place import BenchError
from benchmarks.results import Report
from benchmarks.sizes import Size
from tests.support.couch import CouchServer


class Context(msgspec.Struct, frozen=True):
    """``sockets`` is a directory with a short path; ``report`` holds the cells by now."""

    size: Size
    rounds: int
    sockets: Path
    couch: CouchServer | None
    report: Report

    def couch_server(self) -> CouchServer:
        """The CouchDB-protocol server. Raises BenchError where there is none."""
        if self.couch is None:
            raise BenchError("no CouchDB-protocol server; install node and npm, and try again")
        return self.couch
