"""``habitat tail`` in real processes, on a real archive."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from habitat_like.archive.base import Archive
from tests.support.cli import PATIENCE, document, environment, run, store


def test_tail_prints_the_newest_the_oldest_of_them_first(
    config_file: str, embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(number) for number in range(30)])

    def numbers(*words: str) -> list[int]:
        done = run("tail", "--config", config_file, "--format", "ndjson", *words)
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line)["data"]["number"] for line in done.stdout.splitlines()]

    assert numbers() == list(range(10, 30))
    assert numbers("-n", "2") == [28, 29]
    assert numbers("-n", "0") == []
    assert numbers("-n", "2", "--callsign", "m0zdr", "--type", "received_telem") == [18, 24]
    compact = run("tail", "--config", config_file, "-n", "1").stdout
    assert compact == (
        '2026-11-19T15:53:47+00:00 A/P-1 LISTENER_INFO {"string":"JCQ=","number":29}\n'
    )


class Following:
    """A running ``habitat tail -f`` whose lines can be waited for."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "habitat_like.cli", "tail", "-f", "--format", "ndjson", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        self._rest: dict[int, bytes] = {}

    def line(self, *, error: bool = False) -> str:
        """The next line of standard output or error; fails after PATIENCE seconds."""
        stream = self.process.stderr if error else self.process.stdout
        assert stream is not None
        fd = stream.fileno()
        got = self._rest.get(fd, b"")
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in got:
            ready, _, _ = select.select([fd], [], [], deadline - time.monotonic())
            assert ready, f"no further line; so far {got!r}"
            piece = os.read(fd, 65536)
            assert piece, f"it ended; so far {got!r}"
            got += piece
        line, _, self._rest[fd] = got.partition(b"\n")
        return line.decode()

    def number(self) -> int:
        number: int = json.loads(self.line())["data"]["number"]
        return number

    def interrupt(self) -> tuple[int, bytes, bytes]:
        self.process.send_signal(signal.SIGINT)
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, errors


@pytest.fixture
def follow(config_file: str) -> Iterator[Callable[..., Following]]:
    started = []

    def start(*words: str) -> Following:
        started.append(Following("--config", config_file, *words))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_tail_follows_until_interrupted(
    follow: Callable[..., Following], embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(number) for number in range(3)])
    tail = follow("-n", "2")
    assert [tail.number(), tail.number()] == [1, 2]
    store(embedded_archive, [document(3), document(1)])
    assert tail.number() == 3
    # Older by its time, yet newly archived.
    store(embedded_archive, [document(0, _id="0000000001-0", time_created=1, data={"number": -1})])
    assert tail.number() == -1
    assert tail.interrupt() == (130, b"", b"")


def test_tail_filters_what_it_follows(
    follow: Callable[..., Following], embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(0)])
    tail = follow("--callsign", "m0zdr", "--type", "RECEIVED_TELEM")
    assert tail.number() == 0
    store(embedded_archive, [document(number) for number in range(1, 13)])
    assert [tail.number(), tail.number()] == [6, 12]


def test_tail_leaves_suspicious_messages_out_unless_asked_for(
    follow: Callable[..., Following], config_file: str, embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(0), document(1, suspicious="dated 1980")])
    without, everything = follow(), follow("--suspicious")
    assert [without.number(), everything.number(), everything.number()] == [0, 0, 1]
    store(embedded_archive, [document(2, suspicious="dated 1980"), document(3)])
    assert [without.number(), everything.number(), everything.number()] == [3, 2, 3]
    assert "[dated 1980]" in run("tail", "--config", config_file, "--suspicious").stdout


def test_tail_goes_on_through_an_outage(
    follow: Callable[..., Following], embedded_archive: Archive, tmp_path: Path
) -> None:
    store(embedded_archive, [document(0)])
    tail = follow()
    assert tail.number() == 0
    embedded_archive.close()  # moves the write-ahead log into the file
    file, away = tmp_path / "var/archive.sqlite", tmp_path / "away"
    file.rename(away)
    assert "still trying" in tail.line(error=True)
    # Longer than a few tries: the outage is told once.
    assert tail.process.stderr is not None
    assert not select.select([tail.process.stderr], [], [], 2.5)[0]
    away.rename(file)
    assert "is back" in tail.line(error=True)
    store(embedded_archive, [document(1)])
    assert tail.number() == 1


def test_tail_misses_and_repeats_nothing_while_much_is_archived(
    follow: Callable[..., Following], embedded_archive: Archive
) -> None:
    total = 3000
    begun = threading.Event()

    def write() -> None:
        for number in range(total):
            store(embedded_archive, [document(number)])
            if number == 50:
                begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(PATIENCE)
        tail = follow("-n", "100000")
        numbers = [tail.number() for _ in range(total)]
    finally:
        writer.join()
    assert sorted(numbers) == list(range(total))
    assert tail.interrupt() == (130, b"", b"")
