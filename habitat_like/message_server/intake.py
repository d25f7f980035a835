"""Intake: where messages are pushed, by actions and by sinks."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from habitat_like.config.keys import Config
from habitat_like.journal.file import JournalError
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


_FULL = "the backlog is full (journal.{})"


class BacklogFull(Exception):
    """The sinks have not taken ``journal.max_backlog`` messages, or ``journal.max_bytes`` of them.

    The text says which, in one line.
    """


class MessageTooLarge(Exception):
    """A message whose document has more bytes than ``gateway.max_message``."""


class _Local(threading.local):
    """What the running thread is at: ``rows`` are what its transaction collects."""

    rows: list[Row] | None = None
    #: How many rows the transaction may collect, and how many bytes of documents still.
    room = 0
    space = 0
    #: How many bytes a document may have.
    max_message = 0
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
        self._max_bytes = config.journal.max_bytes
        # The bytes of the smallest message that found no space; 0 once there is space for it.
        self._refused = 0
        self._max_message = config.gateway.max_message
        self._local = _Local()

    def set_max_backlog(self, messages: int) -> None:
        """Refuse messages once the sinks are this far behind."""
        self._max_backlog = messages

    def set_max_bytes(self, size: int) -> None:
        """Refuse messages once those that the sinks have not taken have this many bytes."""
        self._max_bytes = size

    def set_max_message(self, size: int) -> None:
        """Refuse messages whose document has more bytes than ``size``."""
        self._max_message = size

    @property
    def room(self) -> int:
        """How many more messages there is room for; 0 or less when the backlog is full."""
        return self._max_backlog - self.journal.backlog

    def problem(self) -> str | None:
        """Why a message would be refused now, None when there is room for it."""
        if self.room <= 0:
            return _FULL.format("max_backlog")
        if self._refused and self.journal.message_bytes + self._refused > self._max_bytes:
            return _FULL.format("max_bytes")
        self._refused = 0
        return None

    def push_message(self, message: Message) -> str:
        """Take ``message`` in; returns its id.

        Inside a ``transaction`` of this thread (the gateway's batch, a sink's batch) it is
        committed with that transaction; elsewhere it is durable when this returns. Raises
        BacklogFull, MessageTooLarge, JournalError when it could not be committed here, and during
        an upload whose access is restricted what ``Admission.admit`` raises.
        """
        local = self._local
        rows = local.rows
        if rows is None:
            with self.transaction() as rows:
                identifier = self.push_message(message)
            self.journal.write(rows)
            return identifier
        if len(rows) >= local.room:
            raise BacklogFull(_FULL.format("max_backlog"))
        row = message.document(self._machine_code)
        size = len(row[1])
        if size > local.max_message:
            raise MessageTooLarge(
                f"message: {size} bytes as a document, over the limit of {local.max_message} bytes"
            )
        if size > local.space:
            local.space = self._make_space(rows, size)
        if local.admission is not None:
            local.admission.admit(message.listener.callsign)
        local.space -= size
        rows.append(row)
        return row[0]

    def _make_space(self, rows: list[Row], size: int) -> int:
        """Have archived messages go for ``size`` bytes more; returns the bytes there are.

        Raises BacklogFull where there are fewer.
        """
        collected = sum(len(document) for _, document in rows)
        with contextlib.suppress(JournalError):  # then nothing is stored either, which says why
            self.journal.make_room(collected + size, self._max_bytes)
        space = self._max_bytes - self.journal.message_bytes - collected
        if size > space:
            self._refused = min(self._refused or size, size)
            raise BacklogFull(_FULL.format("max_bytes"))
        return space

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
        refusing them would stop the sink that makes the backlog shrink, nor for their size, since
        what they are made of was taken already.
        """
        rows: list[Row] = []
        self._local.rows = rows
        self._local.room = self.room if bounded else sys.maxsize
        space = self._max_bytes - self.journal.message_bytes
        self._local.space = space if bounded else sys.maxsize
        self._local.max_message = self._max_message if bounded else sys.maxsize
        try:
            yield rows
        finally:
            self._local.rows = None


def _nothing(documents: int, seconds: float, problem: str | None) -> None:
    """Nobody listens."""
