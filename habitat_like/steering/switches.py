"""Steering: what an operator can switch while the gateway runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, get_args, get_type_hints

from habitat_like.config.keys import LogConfig
from habitat_like.log import ROOT
from habitat_like.steering.maintenance import (
    MAX_FILE,
    Closed,
    MaintenanceError,
    MaintenanceFile,
    parse,
    parse_leniently,
)

logger = logging.getLogger(__name__)

LOG_LEVELS: tuple[str, ...] = get_args(get_type_hints(LogConfig)["level"])
#: The longest threshold of the slow-request log, in seconds.
MAX_SLOW = 3600.0
#: While the gateway drains.
DRAINING = Closed("draining", "the gateway is draining")


class SteeringError(Exception):
    """A switch can't be set like this; one line saying why."""


class Steering:
    """The switches of one gateway.

    Thread-safe. Any thread reads the attributes without a lock; only the methods change them, and
    their ``by`` says who asked ("ctl uid 1000", "console alice"). Each change is logged, whatever
    the log's level. All switches but maintenance last until the next start; the log's level until
    the next reload or start. ``journal_path`` is the journal's; without it there is no maintenance
    file, and maintenance can't be set.
    """

    def __init__(self, journal_path: str | Path | None = None) -> None:
        #: Why uploads are not taken, None while they are: maintenance, or a drain.
        self.closed: Closed | None = None
        #: The maintenance in force.
        self.maintenance: Closed | None = None
        #: When the maintenance file was written, UNIX seconds; means nothing without maintenance.
        self.maintenance_since: float | None = None
        #: Requests that took this many seconds are logged; None: none are.
        self.slow_log: float | None = None
        #: Whether each batch of the archive is logged.
        self.archive_log = False
        self._draining = False
        self._file = None if journal_path is None else MaintenanceFile(journal_path)
        # Guards changes to the above, and the maintenance file.
        self._lock = threading.Lock()
        self._text: str | None = None
        self._trouble: str | None = None
        # What was switched on is logged whatever the level is.
        logger.setLevel(logging.INFO)

    @property
    def log_level(self) -> str:
        """The log's level in force."""
        return logging.getLevelName(logging.getLogger(ROOT).level).lower()

    def snapshot(self) -> dict[str, Any]:
        """The state of every switch as plain data, for display."""
        return {
            "maintenance": self.describe_maintenance(),
            "draining": self._draining,
            "log_level": self.log_level,
            "slow_log": self.slow_log,
            "archive_log": self.archive_log,
        }

    def describe_maintenance(self) -> dict[str, Any] | None:
        """The maintenance in force as plain data, None without one."""
        now = self.maintenance
        if now is None:
            return None
        return {
            "status": now.status,
            "message": now.message,
            "location": now.location,
            "since": self.maintenance_since,
        }

    def set_maintenance(self, on: bool, message: str = "", *, by: str) -> None:
        """Write the maintenance file with ``message`` as its text, or remove it; in force at once.

        Raises SteeringError for an invalid message (a bad first line, too long), and when the file
        can't be written or removed; then nothing has changed.
        """
        if self._file is None:
            raise SteeringError(
                "maintenance: there is no journal whose directory could hold the file"
            )
        try:
            text = message.encode()
            if len(text) > MAX_FILE:
                raise MaintenanceError(f"the message is over {MAX_FILE} bytes")
            with self._lock:
                if on:
                    parse(message)
                    self._file.write(text)
                else:
                    self._file.remove()
                self._look(by)
        except MaintenanceError as error:
            raise SteeringError(f"maintenance: {error}") from None
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SteeringError(f"maintenance: {self._file.path}: {reason}") from None

    def look(self) -> None:
        """Apply what the maintenance file says now. Called every second and at start."""
        with self._lock:
            try:
                self._look("the maintenance file")
            except OSError as error:
                # Out of descriptors, a failing disk: no reason to change anything.
                self._complain(error.strerror or str(error))

    def set_draining(self, by: str) -> None:
        """Take no more uploads, until the process ends."""
        with self._lock:
            if not self._draining:
                self._draining = True
                self.closed = DRAINING
                logger.info("draining", extra={"by": by})

    def set_log_level(self, level: str, *, by: str) -> None:
        """Set the log's level, until the next reload or start. Raises SteeringError."""
        if level not in LOG_LEVELS:
            raise SteeringError(f"log level: {level!r} is not one of {', '.join(LOG_LEVELS)}")
        with self._lock:
            before = self.log_level
            logging.getLogger(ROOT).setLevel(level.upper())
        logger.info("log level set", extra={"now": level, "before": before, "by": by})

    def set_slow_log(self, seconds: float | None, *, by: str) -> None:
        """Log each request that took ``seconds`` or longer; None: none. Raises SteeringError."""
        if seconds is not None and not 0 <= seconds <= MAX_SLOW:
            raise SteeringError(f"slow log: {seconds:g} is not between 0 and {MAX_SLOW:g} seconds")
        with self._lock:
            self.slow_log = seconds
        logger.info("slow log set", extra={"seconds": seconds, "by": by})

    def set_archive_log(self, on: bool, *, by: str) -> None:
        """Log each batch of the archive, or none."""
        with self._lock:
            self.archive_log = on
        logger.info("archive log set", extra={"on": on, "by": by})

    def slow_request(self, action: str, status: int, ip: str | None, seconds: float) -> None:
        """Log a request that was slower than ``slow_log``. On the gateway's thread."""
        extra = {"action": action, "status": status, "ip": ip, "seconds": round(seconds, 6)}
        logger.info("slow request", extra=extra)

    def archive_batch(self, documents: int, seconds: float, problem: str | None) -> None:
        """With the archive log on: log a batch that the archive took, or why it did not.

        On a sink's thread.
        """
        if not self.archive_log:
            return
        extra = {"documents": documents, "seconds": round(seconds, 6), "problem": problem}
        logger.info("archive batch", extra=extra)

    def _look(self, by: str) -> None:
        """The caller holds the lock. Raises OSError."""
        if self._file is None:
            return
        found = self._file.read()
        # Lock-free readers of both must never find a maintenance without its time.
        text, since = found or (None, self.maintenance_since)
        self.maintenance_since = since
        self._trouble = None
        if text == self._text:
            return
        self._text = text
        now, problem = (None, None) if text is None else parse_leniently(text)
        # In this order: once the status shows maintenance, no more uploads are taken.
        if not self._draining:
            self.closed = now
        self.maintenance = now
        if now is None:
            logger.info("maintenance ended", extra={"by": by})
            return
        extra = {"reason": now.message, "status": now.status, "location": now.location}
        logger.info("maintenance begins", extra={**extra, "by": by})
        if problem is not None:
            self._complain(problem)

    def _complain(self, problem: str) -> None:
        """Warn of the maintenance file, once for each problem."""
        if self._file is not None and problem != self._trouble:
            extra = {"file": str(self._file.path), "why": problem}
            logger.warning("the maintenance file can't be used as it is", extra=extra)
        self._trouble = problem
