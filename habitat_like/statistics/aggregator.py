"""Aggregator: the thread that counts what was written to the journal.

It reads from its own cursor and commits sums and cursor in one transaction, so each message counts
once, whatever crashes. After a failure it reads and sums again.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path

from habitat_like import times
from habitat_like.journal.file import JournalError
from habitat_like.journal.journal import Journal
from habitat_like.journal.reader import JournalReader
from habitat_like.statistics import tables
from habitat_like.statistics.metrics import GatewayMetrics
from habitat_like.statistics.reader import StatisticsReader
from habitat_like.statistics.status import NetworkStatus, StatisticsStatus
from habitat_like.statistics.sums import CallsignLimit, Sums, read_joined, read_one
from habitat_like.statistics.tables import DAY, HOUR, MINUTE, UNBOUNDED, Statement
from habitat_like.threads import start_thread

log = logging.getLogger(__name__)

#: Seconds between two rounds.
EVERY = 2.0
#: Messages read at once, and the seconds left to the gateway after them.
CHUNK = 250
PAUSE = 0.005
#: Messages, and rows of the tables, in one transaction: the gateway's commits wait for it.
MAX_MESSAGES = 50_000
MAX_ROWS = 1500
#: Backlog in messages above which all stations go into one transaction, which is faster.
FAR_BEHIND = 100_000
MAX_ROWS_BEHIND = 30_000
#: Seconds it gets to end even if no time is left.
LEAST_STOP = 0.5
#: How many stations are kept; the least recently heard are deleted, a hundredth at a time.
STATIONS = 100_000
#: Rows that one transaction deletes.
EXPIRE_CHUNK = 1000
#: Seconds after which a station counts as silent, and as unknown, for the metrics.
SILENT_AFTER = 2 * HOUR
KNOWN_FOR = 7 * DAY

THREAD = "statistics"
#: Seconds between checks for troubles.
WATCH_EVERY = 10.0


class Aggregator:
    """Counts the journal's messages, and the requests and times in ``metrics``.

    ``places`` are directories whose disks need room, by their content. ``clock`` gives UNIX
    seconds; ``uncorrected`` are the types whose times are left as they came; ``networks`` gives the
    networks' counts since the start. Raises JournalError.
    Other threads may read every attribute.
    """

    def __init__(
        self,
        journal: Journal,
        metrics: GatewayMetrics,
        places: Mapping[str, Path],
        clock: Callable[[], float] = time.time,
        uncorrected: Callable[[], Container[str]] = frozenset,
        networks: Callable[[], Mapping[str, NetworkStatus]] = dict,
    ) -> None:
        self._journal = journal
        self._metrics = metrics
        self._places = places
        self._clock = clock
        self._uncorrected = uncorrected
        self._networks = networks
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._thread: threading.Thread | None = None
        #: Why nothing can be counted now, None while all is well.
        self.problem: str | None = None
        #: Stations heard within SILENT_AFTER seconds, and silent ones; None until they are known.
        self.stations: dict[str, int] | None = None
        #: Called on the aggregator's thread every WATCH_EVERY seconds, with the statistics.
        self.watch: Callable[[StatisticsReader], None] = lambda _: None
        # From here on, only for the aggregator's thread.
        self._messages: JournalReader | None = None
        self._questions: StatisticsReader | None = None
        self._cursor: int | None = None
        self._has_committed = False
        self._hours = self._days = CallsignLimit(lambda _: set())
        self._requests: dict[tuple[str, int], int] = {}
        self._uploads: dict[tuple[str, str, str], int] = {}
        self._latency = [0] * len(metrics.latency.counts)
        self._backlog: dict[int, tuple[int, int]] = {}
        self._minute = 0
        self._unchecked = 0
        self._watch_at = 0.0
        with StatisticsReader(journal.path) as reader:
            journal.counted = min(reader.counted(), journal.last_seq)

    @property
    def counted(self) -> int:
        """The sequence number of the last message that is counted."""
        return self._journal.counted or 0

    def status(self) -> StatisticsStatus:
        """Its health, as ``/status`` shows it."""
        behind = self._journal.last_seq - self.counted
        return StatisticsStatus(self.counted, behind, self.problem, self.stations)

    def start(self) -> None:
        """Start the thread."""
        self._thread = start_thread(THREAD, self._run)

    def stop(self, timeout: float) -> list[str]:
        """Count what there is, for up to ``timeout`` seconds, and end the thread.

        What is left is counted after the next start. Returns the thread's name if it did not end.
        """
        if self._thread is None:
            return []
        self._deadline = time.monotonic() + timeout * 0.8
        self._stopping.set()
        self._thread.join(max(timeout, LEAST_STOP))
        return [THREAD] if self._thread.is_alive() else []

    def _run(self) -> None:
        try:
            while not self._stopping.wait(EVERY):
                self._try_round()
            self._try_round()
        finally:
            self._close()

    def _try_round(self) -> None:
        try:
            self._round()
        except (JournalError, OSError) as error:
            if self.problem is None:
                log.error("statistics wait", extra={"why": str(error)})
            self.problem = str(error)
            # Discard the sums: only the file knows what is in it.
            self._close()
        else:
            if self.problem is not None:
                log.info("statistics go on")
            self.problem = None

    def _close(self) -> None:
        """Forget what was read; the next round begins at the cursor in the file."""
        self._cursor = None
        if self._messages is not None:
            self._messages.close()
        if self._questions is not None:
            self._questions.close()
        self._messages = self._questions = None

    def _round(self) -> None:
        """Count what is new; once a minute, and at the end, record the rest."""
        self._count_new()
        if time.monotonic() >= self._watch_at and not self._stopping.is_set():
            self._watch_at = time.monotonic() + WATCH_EVERY
            _, ask, _ = self._prepare()
            self.watch(ask)

    def _count_new(self) -> None:
        now = int(self._clock())
        minute = now - now % MINUTE
        self._note_backlog(minute)
        is_due = minute != self._minute or self._stopping.is_set()
        if self._journal.last_seq == self._cursor and not is_due:
            return
        reader, ask, cursor = self._prepare()
        more = True
        while more and time.monotonic() < self._deadline:
            sums, cursor, more = self._gather(reader, cursor)
            self._commit(sums, cursor, minute, is_due)
            is_due = False
            self._unchecked += sums.stations
            if self._unchecked >= STATIONS // 100:
                self._bound_stations(ask)
        if minute != self._minute and not self._stopping.is_set():
            self._correct_heard(ask, now)
            self._expire(ask, now)
            heard = ask.heard_since(now - SILENT_AFTER)
            silent = ask.heard_since(now - KNOWN_FOR) - heard
            self.stations = {"heard": heard, "silent": silent}
        self._minute = minute

    def _prepare(self) -> tuple[JournalReader, StatisticsReader, int]:
        """What a round needs: created at the first, and after a failure."""
        if self._messages is None:
            self._messages = self._journal.reader()
        if self._questions is None:
            self._questions = StatisticsReader(self._journal.path)
        if self._cursor is None:
            self._journal.update([(statement, ()) for statement in tables.SCHEMA])
            ask = self._questions
            # Numbers restart in an emptied journal: the file's cursor is then wrong.
            self._cursor = ask.counted() if self._has_committed else self.counted
            self._hours = CallsignLimit(ask.callsigns_of_hour)
            self._days = CallsignLimit(ask.callsigns_of_day)
        return self._messages, self._questions, self._cursor

    def _gather(self, reader: JournalReader, cursor: int) -> tuple[Sums, int, bool]:
        """The sums of one transaction, the last message in them, and whether there are more."""
        sums = Sums(self._hours, self._days, self._uncorrected())
        behind = self._journal.last_seq - cursor > FAR_BEHIND
        max_rows = MAX_ROWS_BEHIND if behind else MAX_ROWS
        while sums.messages < MAX_MESSAGES and sums.rows < max_rows:
            joined = reader.read_joined(cursor, CHUNK)
            if joined is None:
                return sums, cursor, False
            documents = read_joined(joined.documents, len(joined.times))
            if documents is None:
                entries = reader.read_timed(cursor, len(joined.times))
                documents = [read_one(entry.document) for entry in entries]
            sums.add(joined.times, documents)
            cursor = joined.seq
            if len(joined.times) < CHUNK:
                return sums, cursor, False
            self._stopping.wait(PAUSE)
        return sums, cursor, True

    def _commit(self, sums: Sums, cursor: int, minute: int, samples: bool) -> None:
        """Commit sums and cursor together; ``samples``: the minute's samples too."""
        statements = sums.statements() if sums.messages else []
        requests, latency = self._deltas(statements, minute)
        uploads = self._upload_deltas(statements, minute)
        if samples:
            backlogs = [(when, *values) for when, values in self._backlog.items()]
            statements.append(tables.insert("sample_backlog", backlogs))
            statements.append(tables.insert("sample_disk", self._disks(minute)))
        self._journal.update([*statements, tables.move_cursor(cursor)])
        self._cursor = self._journal.counted = cursor
        self._has_committed = True
        self._requests, self._latency, self._uploads = requests, latency, uploads
        if samples:
            self._backlog = {}

    def _deltas(
        self, statements: list[Statement], minute: int
    ) -> tuple[dict[tuple[str, int], int], list[int]]:
        """Add what the gateway counted since the last commit; returns its counters."""
        requests = self._metrics.answered()
        histogram = self._metrics.latency
        latency = list(histogram.counts)
        day = minute - minute % DAY
        rows = [
            (day, action, status, count - self._requests.get((action, status), 0))
            for (action, status), count in sorted(requests.items())
        ]
        if rows := [row for row in rows if row[-1]]:
            statements.append(tables.insert("sum_requests", rows))
        bounds = (*histogram.bounds, UNBOUNDED)
        times = [
            (minute, bound, count - before)
            for bound, count, before in zip(bounds, latency, self._latency, strict=True)
            if count != before
        ]
        if times:
            statements.append(tables.insert("sum_latency", times))
        return requests, latency

    def _upload_deltas(
        self, statements: list[Statement], minute: int
    ) -> dict[tuple[str, str, str], int]:
        """The same of what networks counted: by network, kind and reason."""
        uploads = dict(_uploads(self._networks()))
        rows = []
        for key, number in sorted(uploads.items()):
            before = self._uploads.get(key, 0)
            # A network that was turned off and on again counts from 0.
            new = number - before if number >= before else number
            if new:
                rows.append((minute - minute % DAY, *key, new))
        if rows:
            statements.append(tables.insert("sum_network", rows))
        return uploads

    def _note_backlog(self, minute: int) -> None:
        """Keep the last and the largest backlog of each minute until they are committed."""
        backlog = self._journal.backlog
        _, largest = self._backlog.get(minute, (0, 0))
        self._backlog[minute] = (backlog, max(largest, backlog))
        if len(self._backlog) > HOUR // MINUTE:  # nothing could be written for an hour
            del self._backlog[min(self._backlog)]

    def _disks(self, minute: int) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for place, path in self._places.items():
            with contextlib.suppress(OSError):  # not there (yet): no sample
                usage = shutil.disk_usage(path)
                rows.append((minute, place, usage.free, usage.total))
        return rows

    def _bound_stations(self, ask: StatisticsReader) -> None:
        """Delete the least recently heard stations if there are too many."""
        self._unchecked = 0
        self._watch_at = 0.0
        count = ask.count_stations()
        if count <= STATIONS:
            return
        oldest = ask.least_recently_heard(count - STATIONS + STATIONS // 100)
        for at in range(0, len(oldest), EXPIRE_CHUNK):
            self._journal.update([tables.forget(oldest[at : at + EXPIRE_CHUNK])])
            self._stopping.wait(PAUSE)

    def _correct_heard(self, ask: StatisticsReader, now: int) -> None:
        """Correct impossible last-heard times, from a clock that has since been set."""
        bounds = times.RELEASED, now + MINUTE
        if times.is_set(now) and ask.heard_wrongly(*bounds):
            self._journal.update([tables.correct_heard(now, *bounds)])

    def _expire(self, ask: StatisticsReader, now: int) -> None:
        """Delete what is too old."""
        for retention in tables.RETENTIONS:
            while ask.oldest(retention.table, retention.column) < now - retention.seconds:
                self._journal.update([tables.expire(retention, now, EXPIRE_CHUNK)])
                if self._stopping.wait(PAUSE):
                    return


def _uploads(networks: Mapping[str, NetworkStatus]) -> Iterator[tuple[tuple[str, str, str], int]]:
    """The counts of all networks: network, kind and reason, and how many."""
    for name, counts in networks.items():
        yield (name, "requests", ""), counts.requests
        yield (name, "observations", ""), sum(counts.observations.values())
        yield (name, "suspicious", ""), counts.suspicious
        yield (name, "problems", ""), counts.problems
        for reason, number in counts.refused.items():
            yield (name, "refused", reason), number
