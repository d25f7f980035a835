"""Recent station activity, for ``/status`` and ``/metrics``. No I/O."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

DAY = 86400


class _Record:
    __slots__ = ("day", "events", "failed_passwords", "last_upload", "suspicious")

    def __init__(self) -> None:
        self.last_upload: float | None = None
        self.day = 0
        self.events = self.suspicious = self.failed_passwords = 0


class Activity:
    """Counts of uploads by code and by station, since the gateway's start. Thread-safe.

    Times are UNIX seconds; days are in UTC. Only stations in the station list have a record.
    """

    def __init__(self) -> None:
        # Guards all below.
        self._lock = threading.Lock()
        self._codes: Counter[str] = Counter()
        self._events = 0
        self._suspicious = 0
        self._records: dict[int, _Record] = {}

    def refused(self, code: str) -> None:
        """Count an upload that was answered with a code other than 100."""
        with self._lock:
            self._codes[code] += 1

    def wrong_password(self, station: int, now: float) -> None:
        """Count a password that was not the station's, or was not checked."""
        with self._lock:
            self._today(station, now).failed_passwords += 1

    def stored(self, code: str, station: int, events: int, suspicious: int, now: float) -> None:
        """Count a durable upload; ``suspicious`` counts its suspicious ``events``."""
        with self._lock:
            self._codes[code] += 1
            self._events += events
            self._suspicious += suspicious
            record = self._today(station, now)
            record.last_upload = now
            record.events += events
            record.suspicious += suspicious

    def snapshot(self, now: float) -> dict[str, Any]:
        """All counts as plain data, without stations that were never heard from."""
        with self._lock:
            return {
                "uploads": dict(sorted(self._codes.items())),
                "events": self._events,
                "suspicious": self._suspicious,
                "stations": {
                    str(number): {
                        "last_upload": record.last_upload,
                        "events_today": record.events,
                        "suspicious_today": record.suspicious,
                        "failed_passwords_today": record.failed_passwords,
                    }
                    for number in sorted(self._records)
                    for record in (self._today(number, now),)
                },
            }

    def _today(self, station: int, now: float) -> _Record:
        """The station's record, with the counts of a past day reset to 0."""
        record = self._records.get(station)
        if record is None:
            record = self._records[station] = _Record()
        day = int(now // DAY)
        if day != record.day:
            record.day = day
            record.events = record.suspicious = record.failed_passwords = 0
        return record
