"""The flights that were last looked at."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict

from flask import current_app

from habitat_like.console.record import Record
from habitat_like.console.views import Views

#: Flights that are kept, and seconds after which one that goes on is read anew, for what came late.
RECORDS, RENEWED = 8, 600


class Records:
    """The flights that were last looked at. Thread-safe."""

    def __init__(self, views: Views) -> None:
        self._views = views
        # Guards the records, each with the monotonic time at which it was begun.
        self._lock = threading.Lock()
        self._records: OrderedDict[tuple[str, int], tuple[float, Record]] = OrderedDict()

    def of(self, key: str, moment: int) -> Record:
        """The flight of the payload ``key`` about a UNIX time."""
        now = time.monotonic()
        with self._lock:
            begun, record = self._records.get((key, moment), (-math.inf, None))
            if record is None or (now - begun > RENEWED and record.is_whole and not record.is_over):
                begun, record = now, self._views.record(key, moment)
                self._records[key, moment] = begun, record
            self._records.move_to_end((key, moment))
            if len(self._records) > RECORDS:
                self._records.popitem(last=False)
        return record


def this_records() -> Records:
    """The flights of the current request's application."""
    records: Records = current_app.extensions["records"]
    return records
