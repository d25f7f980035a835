"""The message server: takes messages into the journal and feeds them to the sinks."""

from habitat_like.message_server.intake import BacklogFull, Intake, MessageTooLarge
from habitat_like.message_server.server import Server, SinkError
from habitat_like.message_server.sinks import (
    Example,
    JournalSink,
    Retry,
    SimpleSink,
    Sink,
    ThreadedSink,
)

__all__ = [
    "BacklogFull",
    "Example",
    "Intake",
    "JournalSink",
    "MessageTooLarge",
    "Retry",
    "Server",
    "SimpleSink",
    "Sink",
    "SinkError",
    "ThreadedSink",
]
