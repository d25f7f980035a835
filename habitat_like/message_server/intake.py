"""Intake: where messages are pushed, by actions and by sinks."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from habitat_like.config.keys import Config
from habitat_like.journal.journal import Journal, Row
from habitat_like.message.message import Message


class Program(Protocol):
    """What the message server, and the sinks, need of the program that they run in."""

    config: Config
    journal: Journal


class Admission(Protocol):
    """An upload whose access is restricted."""

    def admit(self, callsign: str) -> None:
        """Let in a message of ``callsign``, in upper case; raises where it is not let in."""


class BacklogFull(Exception):
    """There are ``journal.max_backlog`` messages which the sinks have not taken yet."""


class _Local(threading.local):
    """What the running thread is at: ``rows`` are what its transaction collects."""

    rows: list[Row] | None = None
    #: How many rows the transaction may collect.
    room = 0
    #: Where access is restricted, the upload that is handled.
    admission: Admission | None = None


class Intake:
    """Takes messages towards the journal.

    Sinks find the configuration in ``program``. Every method is thread-safe.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.journal = program.journal
        config = program.config
        #: Told of each batch that the archive took, or did not take: documents, seconds, and what
        #: went wrong. On the sink's thread.
        self.batch_done: Callable[[int, float, str | None], None] = _nothing
        self._machine_code = msgspec.json.encode(config.gateway.machine_code)
        self._max_backlog = config.journal.max_backlog
        self._local = _Local()

    def set_max_backlog(self, messages: int) -> None:
        """Refuse messages once the sinks are this far behind."""
        self._max_backlog = messages

    @property
    def room(self) -> int:
        """How many more messages there is room for; 0 or less when the backlog is full."""
        return self._max_backlog - self.journal.backlog

    def push_message(self, message: Message) -> str:
        """Take ``message`` in; returns its id.

        Inside a ``transaction`` of this thread (the gateway's batch, a sink's batch) it is
        committed with that transaction; elsewhere it is durable when this returns. Raises
        BacklogFull, JournalError when it could not be committed here, and during an upload whose
        access is restricted what ``Admission.admit`` raises.
        """
        local = self._local
        rows = local.rows
        if rows is None:
            with self.transaction() as rows:
                identifier = self.push_message(message)
            self.journal.write(rows)
            return identifier
        if len(rows) >= local.room:
            raise BacklogFull(f"{self._max_backlog} messages wait for the archive")
        if local.admission is not None:
            local.admission.admit(message.listener.callsign)
        row = message.document(self._machine_code)
        rows.append(row)
        return row[0]

    def push_rows(self, rows: Iterable[Row]) -> None:
        """Put rows that another thread's transaction collected into this thread's transaction."""
        collected = self._local.rows
        assert collected is not None  # noqa: S101 (the caller is in a transaction)
        collected.extend(rows)

    @contextlib.contextmanager
    def admitted(self, admission: Admission) -> Iterator[None]:
        """What this thread pushes belongs to an upload whose access is restricted."""
        self._local.admission = admission
        try:
            yield
        finally:
            self._local.admission = None

    @contextlib.contextmanager
    def transaction(self, *, bounded: bool = True) -> Iterator[list[Row]]:
        """Collect what this thread pushes; the caller commits the list that it is given.

        Not ``bounded``: a sink's own pushes, which are not refused when the backlog is full, since
        refusing them would stop the sink that makes the backlog shrink.
        """
        rows: list[Row] = []
        self._local.rows = rows
        self._local.room = self.room if bounded else sys.maxsize
        try:
            yield rows
        finally:
            self._local.rows = None


def _nothing(documents: int, seconds: float, problem: str | None) -> None:
    """Nobody listens."""
