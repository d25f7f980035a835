"""The ParserSink by itself: a message that it fails on, and how it gives way to uploads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from habitat_like.config.keys import Config, JournalConfig, SinkConfig
from habitat_like.journal.journal import Journal
from habitat_like.journal.reader import Entry
from habitat_like.message.message import type_of
from habitat_like.message.types import Registry
from habitat_like.message_server import Server
from habitat_like.telemetry.fix import Fix, ParseError
from habitat_like.telemetry.sink import BEHIND, DEFECT, FAR_BEHIND, PARSED, SHARE, SLICE, ParserSink
from tests.telemetry.test_dates import FIX, sentence
from tests.telemetry.test_sink import heard

BACKLOG = 1000


class Waiting(threading.Event):
    """Notes how long it was waited for, in place of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0)
        return self.is_set()


class Watched(ParserSink):
    """Meets what a test wants it to meet whenever it reads a packet."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.waiting = self._stopping = Waiting()
        self.uploads = 0
        self.bad = b""

    def read(self, packet: bytes) -> tuple[list[Fix], list[ParseError]]:
        if packet == self.bad:
            raise ZeroDivisionError("a bug")
        for _ in range(self.uploads):
            seq = self.server.journal.last_seq
            self.server.journal.write([(f"upload {seq}", b"{}")])
        return super().read(packet)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.sqlite")
    yield made
    made.close()


@pytest.fixture
def sink(journal: Journal) -> Watched:
    config = Config(journal=JournalConfig(max_backlog=BACKLOG))
    server = Server(cast(Any, SimpleNamespace(config=config, journal=journal)))
    made = Watched(server)
    made.config = SinkConfig("p", "p")
    made.settings = ParserSink.Settings()
    made.setup()
    return made


def received(count: int, first: int = 1) -> list[Entry]:
    """Receptions of different sentences, as the journal has them."""
    registry = Registry()
    return [
        Entry(
            number,
            registry.parse(heard(sentence(FIX + number)), "192.0.2.1", FIX + 5).document(b'"x"')[1],
        )
        for number in range(first, first + count)
    ]


def take(sink: Watched, entries: list[Entry]) -> list[bytes]:
    """What the sink pushes for these entries."""
    with sink.server.transaction(bounded=False) as rows:
        assert sink.process(entries) == ()
    return [document for _, document in rows]


def test_a_message_that_the_parser_fails_on_holds_up_no_other(
    sink: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    entries = received(7)
    sink.bad = sentence(FIX + 4)
    pushed = take(sink, [*entries, *entries])
    assert {type_of(one) for one in pushed} == {"TELEM"}
    assert len(pushed) == 12
    assert sink.counts == {PARSED: 12, DEFECT: 2}
    assert sink.examples[DEFECT].text == "ZeroDivisionError: a bug"
    assert sink.examples[DEFECT].callsign == "M0ZDR"
    assert len(caplog.records) == 1, "thousands may follow"


def test_without_uploads_it_works_at_full_speed(sink: Watched) -> None:
    take(sink, received(10 * SLICE))
    assert sink.waiting.waits == []


def test_while_uploads_come_in_it_works_a_part_of_its_time(sink: Watched) -> None:
    sink.uploads = 1
    take(sink, received(5 * SLICE))
    assert len(sink.waiting.waits) == 5
    assert all(one > 0 for one in sink.waiting.waits)
    assert SHARE <= 0.1


def test_the_further_it_is_behind_the_less_it_gives_way(sink: Watched, journal: Journal) -> None:
    many = int(BACKLOG * FAR_BEHIND) + 2 * SLICE
    journal.write([(f"waits {number}", b"{}") for number in range(many)])
    sink.uploads = 1
    for behind in (many, int(BACKLOG * (BEHIND + FAR_BEHIND) / 2), 0):
        take(sink, received(SLICE, first=journal.last_seq - behind))
    far, halfway, near = sink.waiting.waits
    assert far == 0 < halfway < near


def test_a_packet_that_several_receivers_heard_is_read_once(sink: Watched) -> None:
    sink.uploads = 1
    (entry,) = received(1)
    pushed = take(sink, [entry] * 4)
    assert sink.server.journal.last_seq == 1, "it was read once"
    assert len(set(pushed)) == 1
    assert sink.counts == {PARSED: 4}


def test_what_is_pushed_again_is_not_written_again(sink: Watched, journal: Journal) -> None:
    entries = received(3)
    for _ in range(3):
        with sink.server.transaction(bounded=False) as rows:
            sink.process(entries)
        journal.advance("p", 3, rows)
    assert journal.last_seq == 3
