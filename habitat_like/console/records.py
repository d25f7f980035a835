"""The flights that were last looked at."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

import msgspec
from flask import current_app

from habitat_like.console.record import Record
from habitat_like.console.views import Views

#: Flights that are kept, and seconds after which one that goes on is read anew, for what came late.
RECORDS, RENEWED = 8, 600


class _Kept(msgspec.Struct):
    """A record that was begun at a monotonic time; ``fresh`` is read to take its place."""

    begun: float
    record: Record
    fresh: Record | None = None


class Records:
    """The flights that were last looked at. Thread-safe."""

    def __init__(self, views: Views) -> None:
        self._views = views
        # Guards the records.
        self._lock = threading.Lock()
        self._records: OrderedDict[tuple[str, int], _Kept] = OrderedDict()

    def of(self, key: str, moment: int) -> Record:
        """The flight of the payload ``key`` about a UNIX time, with what time allows to be read."""
        now = time.monotonic()
        with self._lock:
            kept = self._records.get((key, moment))
            if kept is None:
                kept = _Kept(now, self._views.record(key, moment))
                self._records[key, moment] = kept
            elif kept.fresh is not None and kept.fresh.is_whole:
                kept.record, kept.fresh = kept.fresh, None
            elif kept.fresh is None and now - kept.begun > RENEWED and not kept.record.is_over:
                kept.begun, kept.fresh = now, self._views.record(key, moment)
            self._records.move_to_end((key, moment))
            if len(self._records) > RECORDS:
                self._records.popitem(last=False)
            record, fresh = kept.record, kept.fresh
        self._views.read(record)
        if fresh is not None:
            self._views.read(fresh)
        return record


def this_records() -> Records:
    """The flights of the current request's application."""
    records: Records = current_app.extensions["records"]
    return records
