"""Intake: where actions and sinks push messages."""

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


class StoringProgram(Protocol):
    """What the message server and the sinks need from the program they run in."""

    config: Config
    journal: Journal


_FULL = "the backlog is full (journal.{})"


class BacklogFull(Exception):
    """The sinks have not taken ``journal.max_backlog`` messages, or ``journal.max_bytes`` of them.

    The text says which, in one line.
    """


class MessageTooLarge(Exception):
    """A message whose document has more bytes than ``gateway.max_message``."""


class _Local(threading.local):
    """The current thread's state: ``rows`` are what its transaction collects."""

    rows: list[Row] | None = None
    #: How many more rows, and bytes of documents, the transaction may collect.
    room = 0
    space = 0
    #: How many bytes a document may have.
    max_message = 0
    #: If access is restricted: admits a message of a callsign, in upper case, or raises.
    admit: Callable[[str], None] | None = None


class Intake:
    """Takes messages towards the journal.

    Sinks find the configuration in ``program``. Every method is thread-safe.
    """

    def __init__(self, program: StoringProgram) -> None:
        self.program = program
        self.journal = program.journal
        config = program.config
        #: Called for each batch that the archive took or refused: documents, seconds, and what went
        #: wrong. On the sink's thread.
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
        """Refuse messages once those the sinks have not taken total this many bytes."""
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
        an upload whose access is restricted what its ``admit`` raises.
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
        if local.admit is not None:
            local.admit(message.listener.callsign)
        local.space -= size
        rows.append(row)
        return row[0]

    def _make_space(self, rows: list[Row], size: int) -> int:
        """Delete archived messages to make room for ``size`` bytes; returns the room there is.

        Raises BacklogFull if there is less.
        """
        collected = sum(len(document) for _, document in rows)
        with contextlib.suppress(JournalError):  # storing then fails too, and says why
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
    def admitted(self, admit: Callable[[str], None]) -> Iterator[None]:
        """Mark what this thread pushes as part of an upload with restricted access.

        ``admit`` is called with the callsign of each message, in upper case, and raises if the
        message is not admitted.
        """
        self._local.admit = admit
        try:
            yield
        finally:
            self._local.admit = None

    @contextlib.contextmanager
    def transaction(self, *, bounded: bool = True) -> Iterator[list[Row]]:
        """Collect what this thread pushes; the caller commits the yielded list.

        Not ``bounded``: a sink's own pushes. They are not refused when the backlog is full, since
        that would stop the sink that shrinks the backlog, nor for their size, since their source
        has already been taken.
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
