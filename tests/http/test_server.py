"""SCGIApplication, started and stopped in this process: it leaves no thread, file or descriptor."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from habitat_like.config.keys import Config, GatewayConfig, JournalConfig
from habitat_like.http import SCGIApplication
from habitat_like.journal.journal import Journal
from habitat_like.message.types import Registry
from habitat_like.message_server import Server
from habitat_like.steering.access import Access
from habitat_like.steering.switches import Steering
from tests.support import scgi
from tests.support.net import short_directory
from tests.support.station import answer, at_once, upload
from tests.support.wait import PATIENCE


class Parts(SimpleNamespace):
    """What SCGIApplication needs of a program, without the process around it."""

    config: Config
    registry: Registry
    journal: Journal
    started: float
    dead_letters: dict[str, int]
    steering: Steering
    access: Access
    statistics: None


@pytest.fixture
def directory() -> Iterator[Path]:
    path = short_directory()
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


@pytest.fixture
def application(directory: Path) -> Iterator[SCGIApplication]:
    """A real application on a real message server and journal, not started."""
    config = Config(
        gateway=GatewayConfig(socket=str(directory / "s"), machine_code="test", workers=3),
        journal=JournalConfig(path=str(directory / "journal.sqlite"), sync="normal"),
    )
    journal = Journal(config.journal.path, sync="normal")
    program = Parts(
        config=config,
        registry=Registry(),
        journal=journal,
        started=time.time(),
        dead_letters={},
        steering=Steering(),
        access=Access(config.access),
        statistics=None,
    )
    made = SCGIApplication(Server(program), program, config.gateway.socket, PATIENCE)
    yield made
    made.shutdown()
    journal.close()


def held() -> tuple[list[str], dict[str, int]]:
    """The threads, and how many descriptors there are of each kind that the gateway makes."""
    gc.collect()  # an earlier test's
    kinds: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the listing's own
        if not target.startswith("/"):
            kinds[target.split("[")[-1].split("]")[0] if "anon" in target else target[:5]] += 1
        elif "journal.sqlite" in target:
            kinds["journal"] += 1
    return sorted(thread.name for thread in threading.enumerate()), dict(kinds)


def ask(path: Path, data: bytes) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(data)
        return answer(connection).status


def test_a_thousand_starts_and_stops_leave_nothing_behind(
    application: SCGIApplication, directory: Path
) -> None:
    before = held()
    files = sorted(directory.iterdir())
    for _ in range(1000):
        application.start()
        assert application.shutdown() == []
    assert held() == before
    assert sorted(directory.iterdir()) == files
    application.start()
    assert ask(directory / "s", upload(1)) == 200


#: A line that is no message, and long enough to be one.
WRONG = b'{"padding": "%b"}\n' % (b"x" * 60)


def test_starts_and_stops_with_clients_at_the_door_leave_nothing_behind(
    application: SCGIApplication, directory: Path
) -> None:
    before = held()
    for number in range(20):
        application.start()
        clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for client in clients:
            client.settimeout(PATIENCE)
            client.connect(str(directory / "s"))
        whole, slow, gone, half = clients
        whole.sendall(upload(number))
        slow.sendall(scgi.encode("POST", "/messages", WRONG * 8_000))
        gone.sendall(upload(number)[:50])
        gone.close()
        half.close()
        steps: list[Callable[[], Any]] = [
            application.shutdown,
            lambda whole=whole: answer(whole).status,  # type: ignore[misc]
            lambda slow=slow: len(answer(slow).body) > 200_000,  # type: ignore[misc]
        ]
        assert at_once(3, lambda n, steps=steps: steps[n]()) == [[], 200, True]  # type: ignore[misc]
        for client in clients:
            client.close()
    assert held() == before


def test_a_stop_before_the_start_and_a_second_stop_are_nothing(
    application: SCGIApplication, directory: Path
) -> None:
    before = held()
    assert application.shutdown() == []
    application.start()
    assert ask(directory / "s", upload(1)) == 200
    assert application.shutdown() == []
    assert application.shutdown() == []
    assert held() == before


def test_stops_from_many_threads_agree(application: SCGIApplication) -> None:
    before = held()
    for _ in range(50):
        application.start()
        assert at_once(4, lambda _: application.shutdown()) == [[]] * 4
    assert held() == before


def test_starts_and_stops_from_many_threads_never_deadlock(application: SCGIApplication) -> None:
    before = held()
    for _ in range(30):
        at_once(6, lambda n: application.shutdown() if n % 2 else application.start())
        application.shutdown()
    assert held() == before


def test_a_start_that_fails_leaves_nothing_behind(
    application: SCGIApplication, directory: Path
) -> None:
    (directory / "s").write_text("no socket")
    before = held()
    for _ in range(20):
        with pytest.raises(Exception, match="not a socket"):
            application.start()
    assert application.shutdown() == []
    assert held() == before
    (directory / "s").unlink()
    application.start()
    assert ask(directory / "s", upload(1)) == 200
