"""Batches are bounded in bytes: whatever waits in the journal goes through little memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from habitat_like.config.keys import Config
from habitat_like.disk import READ_BYTES
from habitat_like.journal.dead_letters import DeadLetters
from habitat_like.journal.file import open_file
from habitat_like.journal.journal import Journal
from habitat_like.journal.reader import Entry
from habitat_like.message.message import Message
from habitat_like.message_server import JournalSink, Server, SimpleSink, ThreadedSink
from habitat_like.message_server.sinks import Refusal
from tests.conftest import HabitatFactory
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.large import MB, fill, peak, row
from tests.support.wait import PATIENCE, eventually

COUNT = 30


class Batches(JournalSink):
    """Remembers how large its batches were; refuses all while ``refusing``."""

    batch = 500
    refusing = False

    def setup(self) -> None:
        self.seen: list[int] = []
        self.sizes: list[int] = []

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        self.seen += [entry.seq for entry in entries]
        self.sizes.append(sum(len(entry.document) for entry in entries))
        return [(entry, "no") for entry in entries] if self.refusing else ()


class Refusing(Batches):
    refusing = True


class Simple(SimpleSink):
    batch = 500

    def setup(self) -> None:
        self.waiting = 0
        self.most = 0
        self.taken: list[str] = []
        self.guard = threading.Lock()

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        self.most = max(self.most, sum(len(entry.document) for entry in entries))
        return super().process(entries)

    def message(self, message: Message) -> None:
        with self.guard:
            self.taken.append(message.id)


class Threaded(ThreadedSink, Simple):
    def setup(self) -> None:
        ThreadedSink.setup(self)
        Simple.setup(self)


def run(journal: Journal, sink: type[JournalSink]) -> Any:
    """A server with the one sink, over the journal."""
    server = Server(SimpleNamespace(config=Config(), journal=journal))
    server.load(f"{__name__}.{sink.__name__}")
    server.start()
    return server


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    path = tmp_path / "journal.sqlite"
    fill(path, COUNT)
    with closing(Journal(path)) as journal:
        yield journal


def only(server: Server) -> Any:
    (sink,) = server.sinks.values()
    return sink


def test_a_sink_gets_as_many_as_a_number_of_bytes_allows(journal: Journal) -> None:
    server = run(journal, Batches)
    sink = only(server)
    eventually(lambda: journal.backlog == 0)
    assert server.shutdown(PATIENCE) == []
    assert sink.seen == list(range(1, COUNT + 1))
    assert max(sink.sizes) <= READ_BYTES
    assert len(sink.sizes) >= COUNT * MB / READ_BYTES


@pytest.mark.parametrize("kind", [Simple, Threaded])
def test_so_do_sinks_of_single_messages(journal: Journal, kind: type[JournalSink]) -> None:
    server = run(journal, kind)
    sink = only(server)
    eventually(lambda: journal.backlog == 0)
    assert server.shutdown(PATIENCE) == []
    assert len(sink.taken) == COUNT
    assert sink.most <= READ_BYTES


def test_a_message_larger_than_that_goes_alone(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        for number, size in enumerate((1000, READ_BYTES + MB, READ_BYTES + MB, 1000, 1000)):
            journal.write([row(number, size)])
        with closing(journal.reader()) as reader:
            batches = []
            after = 0
            while entries := reader.read(after, 100):
                batches.append([entry.seq for entry in entries])
                after = entries[-1].seq
        assert batches == [[1], [2], [3], [4, 5]]


def test_dead_letters_are_tried_again_in_such_batches(journal: Journal) -> None:
    server = run(journal, Refusing)
    sink = only(server)
    eventually(lambda: journal.backlog == 0)
    sink.refusing = False
    sink.sizes, sink.seen = [], []
    with journal.dead_letters() as letters:
        assert letters.retry() == COUNT
    eventually(lambda: not journal.count_dead_letters())
    assert server.shutdown(PATIENCE) == []
    assert sorted(sink.seen) == list(range(1, COUNT + 1))
    assert max(sink.sizes) <= READ_BYTES


def test_a_list_of_dead_letters_reads_no_large_data(journal: Journal) -> None:
    with closing(journal.reader()) as reader, journal.dead_letters() as letters:
        for entry in reader.read(0, 3):
            letters.add("a", [(entry.seq, entry.document, "no")])
        letters.add("a", [(99, row(99, 100)[1], "no")])
    with closing(open_file(journal.path)) as connection:
        found = list(DeadLetters(connection).newest(10))
        assert [len(letter.document) < 1000 for letter in found] == [True] * 4
        assert b'"data"' in found[0].document
        assert [b'"callsign":"LARGE"' in letter.document for letter in found] == [True] * 4
        whole = DeadLetters(connection).get(found[-1].id)
    assert whole is not None
    assert len(whole.document) > MB


@pytest.mark.parametrize("kind", ["sqlite", "couch"])
def test_a_journal_full_of_large_messages_drains_in_bounded_memory(
    habitat: HabitatFactory, request: pytest.FixtureRequest, kind: str
) -> None:
    gateway = Habitat()
    request.addfinalizer(gateway.close)
    count = 150
    if kind == "couch":
        couch: CouchServer = request.getfixturevalue("couch")
        database = request.getfixturevalue("database")
        gateway.config["archive"]["uri"] = couch.uri(database)
        count = 60  # the test's server is slow, and keeps all in memory
    fill(gateway.journal_path, count)
    gateway.start()
    eventually(lambda: gateway.status()["backlog"] == 0, timeout=300)
    eventually(lambda: gateway.status()["statistics"]["behind"] == 0)
    assert peak(gateway.pid) < (240 if kind == "sqlite" else 150) * MB
    # The sink counts them once its cursor has moved.
    eventually(lambda: gateway.status()["archive"]["messages"] == count, "they are counted")
