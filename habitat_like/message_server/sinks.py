"""Sinks: what takes messages out of the journal.

Every working sink reads the journal from its own durable cursor, on its own thread, at least once:
a slow or broken one blocks neither the gateway nor other sinks. To write one, derive from
SimpleSink and write ``message``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import msgspec

from habitat_like.config.keys import SinkConfig
from habitat_like.journal.file import JournalError
from habitat_like.journal.journal import Row
from habitat_like.journal.reader import Entry, JournalReader
from habitat_like.message.message import Message, from_document, type_of
from habitat_like.message_server.intake import Intake
from habitat_like.threads import backoff, start_thread

log = logging.getLogger(__name__)

#: How often an idle sink looks for dead letters that an operator wants retried, in seconds.
IDLE = 1.0

#: Seconds until the next batch after one that was not full: what comes in meanwhile costs the sink
#: one commit, not many, and the gateway has the processor and the disk to itself.
PAUSE = 0.02

#: A message refused for good, and why.
Refusal = tuple[Entry, str]


class Retry(Exception):
    """The sink's target can't be used now; the text says why. The batch is retried."""


class Sink:
    """What every sink has: the types it wants, and the hooks the server calls.

    ``types`` are the types of interest, None for all of them. ``Settings`` is the Struct that the
    sink's settings in the configuration must fit, None for a sink that takes none. The server sets
    ``name``, ``config`` and ``settings``, an instance of ``Settings``, before ``setup``.
    """

    types: ClassVar[frozenset[str] | None] = None
    Settings: ClassVar[type[msgspec.Struct] | None] = None
    #: Whether the messages this sink has taken are archived.
    is_archive: ClassVar[bool] = False
    name: str = ""
    config: SinkConfig
    settings: Any = None

    def __init__(self, server: Intake) -> None:
        self.server = server

    @classmethod
    def check(cls, settings: Any) -> None:
        """Called by ``habitat check``: raises ConfigError for settings that ``setup`` refuses."""

    def setup(self) -> None:
        """Called once, before the first message; an exception here refuses the sink."""

    def shutdown(self) -> None:
        """Called once, after the last message."""

    def stop(self) -> None:
        """Begin to stop; returns at once."""

    def interrupt(self) -> None:
        """Make a hanging call fail soon, as the server is about to stop."""

    def join(self, timeout: float) -> bool:
        """Wait until it has stopped, for ``timeout`` seconds; returns whether it has."""
        return True

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return False

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return False


class SinkNode(msgspec.Struct, frozen=True):
    """One of the servers that a sink writes to.

    ``state`` is "left" after a failure; then ``problem`` is one line, and ``since`` when it began,
    in UNIX seconds.
    """

    name: str
    state: str
    problem: str | None = None
    since: float | None = None


class SinkState:
    """A sink's health, for the logs, ``/status`` and the metrics. Written by the sink's thread.

    Each attribute is replaced as a whole, so other threads read it without a lock. ``problem`` and
    ``problem_since`` are None while all is well, ``last_success`` is None before the first; times
    are in UNIX seconds.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self.problem_since: float | None = None
        self.last_success: float | None = None
        self.messages = 0
        self.batches = 0
        self.retries = 0


class Example(msgspec.Struct, frozen=True):
    """A message that a sink could not use: when (UNIX seconds), of which station, and why."""

    time: float
    callsign: str
    message: str
    text: str


class JournalSink(Sink):
    """A sink that gets the journal's messages in batches, at least once each.

    Derive from it and write ``process``. ``batch`` is the maximum number of messages in one,
    ``pause`` the seconds until the next after one that was not full; the waits between tries grow
    from ``retry_min`` to ``retry_max`` seconds.
    """

    batch: int = 100
    pause: float = PAUSE
    retry_min: float = 0.5
    retry_max: float = 60

    def __init__(self, server: Intake) -> None:
        super().__init__(server)
        self.state = SinkState()
        #: The sink's own counters, named by a word or two: ``/status`` and the metrics show them. A
        #: sink must bound their number.
        self.counts: Counter[str] = Counter()
        #: For what it counts, the last message that was counted so, where there is one.
        self.examples: dict[str, Example] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._cursor = 0
        self._look_at = 0.0

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        """Take ``entries``, all of types of interest, in the journal's order.

        Returns those refused for good, with a reason: they become dead letters. Raises Retry, or
        anything else, to get the same batch again later.
        """
        raise Retry(f"{type(self).__name__} has no process method")

    def idle(self) -> None:
        """Called while there is nothing to take; may raise like ``process``."""

    def nodes(self) -> list[SinkNode]:
        """The servers that it writes to, if it knows of several. Any thread."""
        return []

    def register(self) -> None:
        """Register the sink with the journal. Raises JournalError."""
        self._cursor = self.server.journal.register(self.name)

    def rewind(self) -> int:
        """Get what the journal still holds once more; returns how many messages that is.

        Fewer if the backlog would come too near its limit. For the sink's own thread. Raises
        JournalError.
        """
        journal = self.server.journal
        messages = journal.backlog + max(self.server.room // 2, 0)
        before, self._cursor = self._cursor, journal.rewind(self.name, messages)
        return before - self._cursor

    def start(self) -> None:
        """Start the sink's thread."""
        self._thread = start_thread(f"sink {self.name}", self._run)

    def stop(self) -> None:
        """Stop at the next batch boundary."""
        self._stopping.set()
        self.server.journal.wake()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end."""
        if self._thread is not None:
            self._thread.join(max(timeout, 0))
        return not self.alive

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def _run(self) -> None:
        journal = self.server.journal
        reader: JournalReader | None = None
        tries = 0
        try:
            while not self._stopping.is_set():
                try:
                    # The file can be lost before it was opened.
                    reader = reader or journal.reader()
                    taken = self._turn(reader)
                    tries = 0
                    self._is_well()
                    if not taken:
                        journal.wait(self._cursor, IDLE)
                    elif taken < self.batch:
                        self._stopping.wait(self.pause)
                except Exception as error:
                    if self._stopping.is_set():
                        break
                    tries += 1
                    self.state.retries += 1
                    self._is_unwell(error)
                    self._stopping.wait(self.backoff(tries))
        finally:
            if reader is not None:
                reader.close()

    def _turn(self, reader: JournalReader) -> int:
        """Take due dead letters, then the next batch; returns the batch's size."""
        journal = self.server.journal
        if time.monotonic() >= self._look_at:
            self._take_due()
            self._look_at = time.monotonic() + IDLE
        entries = reader.read(self._cursor, self.batch)
        if not entries:
            self.idle()
            return 0
        refused, rows = self._take([entry for entry in entries if self._wants(entry)])
        if refused:
            with journal.dead_letters() as letters:
                letters.add(self.name, [(e.seq, e.document, reason) for e, reason in refused])
        # The cursor moves last: whatever fails earlier is repeated.
        journal.advance(self.name, entries[-1].seq, rows)
        self._cursor = entries[-1].seq
        self.state.messages += len(entries) - len(refused)
        return len(entries)

    def _take_due(self) -> None:
        journal = self.server.journal
        with journal.dead_letters() as letters:
            due = letters.due(self.name, self.batch)
        if not due:
            return
        entries = [Entry(letter.seq, letter.document) for letter in due]
        refused, rows = self._take(entries)
        if rows:
            journal.write(rows)
        again = {entry.seq for entry, _ in refused}
        with journal.dead_letters() as letters:
            letters.add(self.name, [(e.seq, e.document, reason) for e, reason in refused])
            letters.drop([letter.id for letter in due if letter.seq not in again])
        self.state.messages += len(due) - len(refused)

    def _take(self, entries: Sequence[Entry]) -> tuple[Sequence[Refusal], list[Row]]:
        if not entries:
            return (), []
        with self.server.transaction(bounded=False) as rows:
            refused = self.process(entries)
        self.state.batches += 1
        self.state.last_success = time.time()
        for entry, reason in refused:
            log.warning("dead letter", extra={"sink": self.name, "seq": entry.seq, "why": reason})
        return refused, rows

    def _wants(self, entry: Entry) -> bool:
        return self.types is None or type_of(entry.document) in self.types

    def backoff(self, tries: int) -> float:
        """Seconds to wait after this many failed tries: exponential, with jitter."""
        return backoff(tries, self.retry_min, self.retry_max)

    def _is_well(self) -> None:
        if self.state.problem is not None:
            self.state.problem = self.state.problem_since = None
            log.info("sink works again", extra={"sink": self.name})

    def _is_unwell(self, error: Exception) -> None:
        problem = str(error) or type(error).__name__
        if not isinstance(error, Retry | JournalError):
            problem = f"{type(error).__name__}: {problem}"
        before, self.state.problem = self.state.problem, problem
        self.state.problem_since = self.state.problem_since or time.time()
        if before is None:
            # One line per change of state, not per try.
            expected = isinstance(error, Retry | JournalError)
            log.error(
                "sink can't go on, messages wait in the journal",
                extra={"sink": self.name, "why": problem},
                exc_info=None if expected else error,
            )


class SimpleSink(JournalSink):
    """A sink that takes one message at a time, in order: write ``message``.

    A message for which ``message`` raises is tried ``attempts`` times with growing waits, then goes
    to this sink's dead letters.
    """

    attempts: int = 5
    retry_max: float = 10

    def message(self, message: Message) -> None:
        """Take one message. May push others with ``self.server.push_message``."""
        raise Retry(f"{type(self).__name__} has no message method")

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        """Give each entry to ``message``."""
        return [refusal for entry in entries for refusal in self._attempt(entry)]

    def _attempt(self, entry: Entry) -> Iterator[Refusal]:
        """Nothing, or the refusal after the last attempt; an unfinished one raises Retry."""
        for attempt in range(1, self.attempts + 1):
            if self._stopping.is_set():
                raise Retry("stopping")
            try:
                self.message(from_document(entry.document))
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if attempt == self.attempts:
                    yield entry, reason.replace("\n", " ")
                else:
                    self.state.retries += 1
                    self._stopping.wait(self.backoff(attempt))
            else:
                return


class ThreadedSink(SimpleSink):
    """A SimpleSink whose ``message`` runs on a pool of ``workers`` threads, in no special order."""

    workers: int = 4

    def setup(self) -> None:
        """Make the pool; its threads are joined in ``shutdown``."""
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix=f"sink {self.name}")

    def shutdown(self) -> None:
        """Join the pool's threads."""
        self._pool.shutdown()

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        """Give the entries to the pool and wait for all of them."""
        refused: list[Refusal] = []
        for refusals, rows in list(self._pool.map(self._one, entries)):
            refused += refusals
            self.server.push_rows(rows)
        return refused

    def _one(self, entry: Entry) -> tuple[list[Refusal], list[Row]]:
        with self.server.transaction(bounded=False) as rows:
            return list(self._attempt(entry)), rows
