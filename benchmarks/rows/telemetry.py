"""Whether parsing keeps up: what the ParserSink does in a second of processor time."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

from benchmarks import place
from benchmarks.place import BenchError
from benchmarks.prepared import FIRST_TIME, callsign
from benchmarks.results import Figure
from benchmarks.rows.context import Context
from habitat_like.config.keys import ARCHIVE_SINK, PARSER_SINK, ArchiveConfig, Config
from habitat_like.journal.journal import Journal
from habitat_like.journal.reader import Entry
from habitat_like.message.message import Listener, Message
from habitat_like.message_server import JournalSink, Server
from habitat_like.telemetry.checksums import crc16_ccitt
from habitat_like.telemetry.coordinates import DAY, show_time

#: Messages in a run; every fourth one is of a packet that nobody else heard.
MESSAGES, RECEIVERS = 20_000, 4


def parser(context: Context) -> dict[str, Figure]:
    """The ParserSink and the ArchiveSink take the same messages by turns."""
    entries = [*_received(min(MESSAGES, 4 * context.size.documents))]
    rates: dict[str, list[float]] = {PARSER_SINK: [], ARCHIVE_SINK: []}
    for _ in range(context.rounds):
        for path, found in rates.items():
            with place.data("parser") as directory:
                archive = ArchiveConfig(uri=f"sqlite:{directory / 'archive.sqlite'}")
                with contextlib.closing(Journal(directory / "journal.sqlite")) as journal:
                    program = SimpleNamespace(config=Config(archive=archive), journal=journal)
                    server = Server(cast(Any, program))
                    sink = server.load(path)
                    assert isinstance(sink, JournalSink)
                    found.append(len(entries) / _processor_time(server, sink, entries))
                    sink.shutdown()
    parsed, archived = rates[PARSER_SINK], rates[ARCHIVE_SINK]
    ratios = [one / other for one, other in zip(parsed, archived, strict=True)]
    of = f"{len(entries):,} sentences, a second of processor time"
    return {
        "parser: parsed": Figure(values=parsed, unit="/s", better="higher", what=of),
        "parser: archived": Figure(
            values=archived, unit="/s", better="higher", what=f"{of}, embedded archive"
        ),
        "parser: vs archive sink": Figure(
            values=ratios, unit="", better="higher", what="parsed vs archived"
        ),
    }


def _processor_time(server: Server, sink: JournalSink, entries: Sequence[Entry]) -> float:
    """Seconds that a sink's thread works for the entries, with the rows that it makes."""
    batch = sink.batch
    with server.transaction(bounded=False):
        sink.process(entries[:batch])  # makes what is made once
    begin = time.thread_time()
    for at in range(0, len(entries), batch):
        with server.transaction(bounded=False) as rows:
            if sink.process(entries[at : at + batch]):
                raise BenchError(f"{sink.name} refused messages")
        if sink.counts and not rows:
            raise BenchError(f"{sink.name} made nothing of its messages: {dict(sink.counts)}")
    return time.thread_time() - begin


def _received(count: int) -> Iterator[Entry]:
    """What receivers upload of a flight with a packet a second."""
    for number in range(count):
        packet = number // RECEIVERS
        moment = FIRST_TIME + packet
        text = (
            f"BENCH,{packet},{show_time(moment % DAY)},{51 + packet / 1e5:.5f},"
            f"{-0.1 - packet / 1e5:.5f},{1000 + packet},23.5,9.81,11"
        )
        sentence = f"$${text}*{crc16_ccitt(text.encode())}\n"
        data = {
            "string": base64.b64encode(sentence.encode()).decode(),
            "frequency": 434075199.23 + number % 100,
        }
        message = Message(
            Listener(callsign(number), "127.0.0.1"), "RECEIVED_TELEM", moment + 1, moment + 2, data
        )
        yield Entry(number + 1, message.document(b'"bench"')[1])
