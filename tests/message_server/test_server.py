"""The message server: pushing, sinks of every kind, retries, dead letters, loading."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import msgspec
import pytest

from habitat_like.config.keys import Config, GatewayConfig, JournalConfig
from habitat_like.journal.journal import Journal
from habitat_like.journal.reader import Entry
from habitat_like.message.message import Listener, Message
from habitat_like.message_server import (
    BacklogFull,
    JournalSink,
    Retry,
    Server,
    SimpleSink,
    Sink,
    SinkError,
    ThreadedSink,
)
from tests.support.wait import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("switches")

HERE = __name__


def message(number: int, type: str = "RECEIVED_TELEM") -> Message:
    return Message(Listener("M0ZDR"), type, number, 2000, {"string": "", "number": number})


class Collecting(SimpleSink):
    """Remembers what it got; tests read ``got``."""

    retry_min = retry_max = 0.001

    def setup(self) -> None:
        self.got: list[int] = []

    def message(self, message: Message) -> None:
        self.got.append(message.time_created)


class Second(Collecting):
    """Another one, with a cursor of its own."""


class OnlyInfo(Collecting):
    types = frozenset({"LISTENER_INFO"})


class Picky(Collecting):
    """Refuses even numbers, always."""

    attempts = 3

    def setup(self) -> None:
        super().setup()
        self.tries: list[int] = []

    def message(self, message: Message) -> None:
        self.tries.append(message.time_created)
        if message.time_created % 2 == 0:
            raise ValueError("even\nnumber")
        super().message(message)


class Mended(Picky):
    """Refuses even numbers until it is mended."""

    mended = False

    def message(self, message: Message) -> None:
        if not self.mended:
            super().message(message)
        else:
            self.got.append(message.time_created)


class Parser(Collecting):
    """Makes a TELEM of each RECEIVED_TELEM."""

    types = frozenset({"RECEIVED_TELEM"})

    def message(self, message: Message) -> None:
        self.server.push_message(
            Message(message.listener, "TELEM", message.time_created, 3000, {"parsed": True})
        )


class ThreadedParser(ThreadedSink):
    types = frozenset({"RECEIVED_TELEM"})
    workers = 3

    def setup(self) -> None:
        super().setup()
        self.threads: set[str] = set()
        self.meeting = threading.Barrier(3)

    def message(self, message: Message) -> None:
        self.threads.add(threading.current_thread().name)
        self.meeting.wait(PATIENCE)  # passes only if three run at once
        self.server.push_message(
            Message(message.listener, "TELEM", message.time_created, 3000, {"parsed": True})
        )


class Telems(Collecting):
    types = frozenset({"TELEM"})


class Away(JournalSink):
    """What it writes to is away until a test lets it come back."""

    retry_min = retry_max = 0.001

    def setup(self) -> None:
        self.back = threading.Event()
        self.got: list[int] = []

    def process(self, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        if not self.back.is_set():
            raise Retry("away")
        self.got += [entry.seq for entry in entries]
        return []


class Blocking(SimpleSink):
    """Hangs until it is interrupted."""

    def setup(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def message(self, message: Message) -> None:
        self.entered.set()
        self.let_go.wait(PATIENCE)

    def interrupt(self) -> None:
        self.let_go.set()


class NoSetup(Sink):
    def setup(self) -> None:
        raise RuntimeError("no power")


def path_of(sink: type) -> str:
    return f"{HERE}.{sink.__name__}"


ServerFactory = Callable[..., Server]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[ServerFactory]:
    """Makes servers over one journal, each after the one before was shut down."""
    servers: list[Server] = []

    def close() -> None:
        for server in servers:
            assert server.shutdown(PATIENCE) == []
            server.journal.close()
        servers.clear()

    def factory(*sinks: type, max_backlog: int = 1000) -> Server:
        close()
        config = Config(
            gateway=GatewayConfig(machine_code="a1"), journal=JournalConfig(max_backlog=max_backlog)
        )
        program = SimpleNamespace(config=config, journal=Journal(tmp_path / "journal.sqlite"))
        server = Server(program)
        servers.append(server)
        for sink in sinks:
            server.load(path_of(sink))
        server.start()
        return server

    yield factory
    close()


S = TypeVar("S", bound=Sink)


def sink_of(server: Server, kind: type[S]) -> S:
    sink = server.sinks[path_of(kind)]
    assert isinstance(sink, kind)
    return sink


def dead(server: Server) -> list[tuple[str, int, str]]:
    with server.journal.dead_letters() as letters:
        return [(one.sink.rpartition(".")[2], one.seq, one.reason) for one in letters.select()]


def marked(server: Server) -> list[int]:
    """The dead letters that are to be tried again."""
    with server.journal.dead_letters() as letters:
        return [one.seq for one in letters.select() if one.retry]


def test_a_pushed_message_is_durable_on_return(make: ServerFactory) -> None:
    server = make()
    server.push_message(message(1))
    reader = server.journal.reader()
    document = msgspec.json.decode(reader.read(0, 10)[0].document)
    reader.close()
    assert document["callsign"] == "M0ZDR"
    assert document["gateway"] == "a1"


def test_a_transaction_is_committed_by_its_owner_or_not_at_all(make: ServerFactory) -> None:
    server = make()
    with server.transaction() as rows:
        server.push_message(message(1))
        server.push_message(message(2))
        assert len(rows) == 2
    assert server.journal.last_seq == 0
    server.journal.write(rows)
    assert server.journal.last_seq == 2


def test_every_sink_gets_every_message_in_order(make: ServerFactory) -> None:
    server = make(Collecting, Second)
    for number in range(250):
        server.push_message(message(number))
    for kind in (Collecting, Second):
        got = sink_of(server, kind).got
        eventually(lambda got=got: len(got) >= 250, "all messages")  # type: ignore[misc]
        assert got == list(range(250))


def test_a_sink_gets_only_the_types_that_interest_it(make: ServerFactory) -> None:
    server = make(OnlyInfo)
    for number in range(10):
        server.push_message(message(number, "LISTENER_INFO" if number % 3 == 0 else "TELEM"))
    eventually(lambda: server.journal.backlog == 0, "the sink has passed all")
    sink = sink_of(server, OnlyInfo)
    assert sink.got == [0, 3, 6, 9]


def test_a_sink_carries_on_after_a_restart(make: ServerFactory) -> None:
    server = make(Collecting)
    server.push_message(message(1))
    eventually(lambda: server.journal.backlog == 0, "taken")
    server = make()
    server.push_message(message(2))
    server = make(Collecting)
    eventually(lambda: server.journal.backlog == 0, "taken")
    sink = sink_of(server, Collecting)
    assert sink.got == [2]


def test_a_message_that_a_sink_can_not_take_goes_to_its_dead_letters(make: ServerFactory) -> None:
    server = make(Picky, Collecting)
    for number in range(1, 5):
        server.push_message(message(number))
    eventually(lambda: server.journal.backlog == 0, "both sinks have passed all")
    picky, other = sink_of(server, Picky), sink_of(server, Collecting)
    assert picky.got == [1, 3]
    assert picky.tries == [1, 2, 2, 2, 3, 4, 4, 4]
    assert other.got == [1, 2, 3, 4]
    assert dead(server) == [
        ("Picky", 2, "ValueError: even number"),
        ("Picky", 4, "ValueError: even number"),
    ]


def test_a_dead_letter_is_tried_again_when_asked(make: ServerFactory) -> None:
    server = make(Mended)
    server.push_message(message(2))
    server.push_message(message(4))
    eventually(lambda: len(dead(server)) == 2, "two dead letters")
    sink = sink_of(server, Mended)
    with server.journal.dead_letters() as letters:
        letters.retry([1])
    eventually(lambda: len(sink.tries) == 9, "tried again")
    # Only then is it marked as one that was: else the mark of the next retry would be lost.
    eventually(lambda: not marked(server), "what came of it is written down")
    assert [seq for _, seq, _ in dead(server)] == [1, 2]
    sink.mended = True
    with server.journal.dead_letters() as letters:
        letters.retry()
    eventually(lambda: dead(server) == [], "no dead letter left")
    assert sink.got == [2, 4]


def test_a_sink_can_push_messages_back(make: ServerFactory) -> None:
    server = make(Parser, Telems)
    for number in range(20):
        server.push_message(message(number))
    telems = sink_of(server, Telems)
    eventually(lambda: len(telems.got) == 20, "all parsed")
    assert telems.got == list(range(20))


def test_a_sinks_own_messages_are_taken_when_the_backlog_is_full(make: ServerFactory) -> None:
    server = make(Parser, Telems, max_backlog=5)
    with server.transaction() as rows:
        for number in range(5):
            server.push_message(message(number))
        with pytest.raises(BacklogFull):
            server.push_message(message(5))
    server.journal.write(rows)
    telems = sink_of(server, Telems)
    eventually(lambda: len(telems.got) == 5, "all parsed")


def test_a_threaded_sink_runs_messages_side_by_side(make: ServerFactory) -> None:
    server = make(ThreadedParser, Telems)
    with server.transaction() as rows:
        for number in range(6):
            server.push_message(message(number))
    server.journal.write(rows)
    telems = sink_of(server, Telems)
    eventually(lambda: len(telems.got) == 6, "all parsed")
    sink = sink_of(server, ThreadedParser)
    assert len(sink.threads) == 3


def test_messages_wait_while_what_a_sink_writes_to_is_away(make: ServerFactory) -> None:
    server = make(Away, Collecting)
    server.push_message(message(1))
    away = sink_of(server, Away)
    eventually(lambda: away.state.retries > 3, "some tries")
    assert away.state.problem == "away"
    other = sink_of(server, Collecting)
    eventually(lambda: other.got == [1], "the other sink goes on")
    assert server.journal.backlog == 1
    away.back.set()
    eventually(lambda: server.journal.backlog == 0, "taken")
    assert away.got == [1]
    eventually(lambda: away.state.problem is None, "well again")


def test_a_hanging_sink_is_interrupted_at_shutdown(make: ServerFactory) -> None:
    server = make(Blocking)
    server.push_message(message(1))
    sink = sink_of(server, Blocking)
    assert sink.entered.wait(PATIENCE)
    # It is interrupted half-way.
    assert server.shutdown(10) == []


def test_a_sink_that_does_not_stop_is_named(make: ServerFactory) -> None:
    server = make(Blocking)
    sink = sink_of(server, Blocking)
    sink.interrupt = lambda: None  # type: ignore[method-assign]
    server.push_message(message(1))
    assert sink.entered.wait(PATIENCE)
    assert server.shutdown(0.2) == [path_of(Blocking)]
    sink.let_go.set()
    assert sink.join(PATIENCE)


def test_sinks_come_and_go_at_run_time(make: ServerFactory) -> None:
    server = make(Collecting)
    server.load(path_of(Second))
    server.push_message(message(1))
    second = sink_of(server, Second)
    eventually(lambda: second.got == [1], "the new sink works")
    eventually(lambda: server.journal.backlog == 0, "so does the other one")
    server.unload(path_of(Collecting))
    assert list(server.sinks) == [path_of(Second)]
    server.push_message(message(2))
    eventually(lambda: server.journal.backlog == 0, "only the loaded sink counts")
    server.load(path_of(Collecting))
    first = sink_of(server, Collecting)
    eventually(lambda: first.got == [2], "it carries on at its cursor")


def test_reload_takes_the_modules_new_text(
    make: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "from habitat_like.message_server import SimpleSink\n"
        "class Mine(SimpleSink):\n"
        "    version = %d\n"
    )
    module = tmp_path / "my_reloaded_sink.py"
    module.write_text(text % 1)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "my_reloaded_sink", raising=False)
    server = make()
    assert getattr(server.load("my_reloaded_sink.Mine"), "version") == 1  # noqa: B009
    module.write_text(text % 22)
    assert getattr(server.reload("my_reloaded_sink.Mine"), "version") == 22  # noqa: B009


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere.Sink", "No module named"),
        (f"{HERE}.Nothing", "has no Nothing"),
        (f"{HERE}.message", "is not a Sink class"),
        (f"{HERE}.NoSetup", "no power"),
        ("Sink", "not a dotted path"),
    ],
)
def test_a_sink_that_can_not_be_loaded_is_told(make: ServerFactory, path: str, says: str) -> None:
    server = make()
    with pytest.raises(SinkError, match=says) as caught:
        server.load(path)
    assert "\n" not in str(caught.value)
    assert server.sinks == {}


def test_a_sink_is_loaded_once(make: ServerFactory) -> None:
    server = make(Collecting)
    with pytest.raises(SinkError, match="already loaded"):
        server.load(path_of(Collecting))
    with pytest.raises(SinkError, match="not loaded"):
        server.unload(path_of(Second))


def test_the_backoff_grows_to_its_limit_with_jitter(make: ServerFactory) -> None:
    sink = sink_of(make(Away), Away)
    sink.retry_min, sink.retry_max = 0.5, 60
    for tries, ceiling in [(1, 0.5), (2, 1), (5, 8), (8, 60), (5000, 60)]:
        waits = {sink.backoff(tries) for _ in range(50)}
        assert ceiling / 2 <= min(waits) <= max(waits) <= ceiling
        assert len(waits) > 1
