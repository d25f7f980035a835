"""The message server: takes messages into the journal and feeds them to the sinks."""

from habitat_like.message_server.server import BacklogFull, Server, SinkError
from habitat_like.message_server.sinks import JournalSink, Retry, SimpleSink, Sink, ThreadedSink

__all__ = [
    "BacklogFull",
    "JournalSink",
    "Retry",
    "Server",
    "SimpleSink",
    "Sink",
    "SinkError",
    "ThreadedSink",
]
