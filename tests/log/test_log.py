"""A log that can't be written costs lines of the log, which are counted, and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from habitat_like import log
from habitat_like.config.keys import LogConfig
from habitat_like.log.writer import QUEUE_BYTES
from tests.conftest import HabitatFactory
from tests.support.gateway import Habitat
from tests.support.log import wait_for_log
from tests.support.station import archived, body
from tests.support.wait import PATIENCE, eventually

#: An action that fails, with a traceback in the log; and code that prints, in the gateway's thread.
OWN = """
import sys
from habitat_like.http import action

@action(lane="fast")
def fall(application, ip, args):
    raise ValueError("own " + "x" * 1000)

@action(lane="fast")
def talk(application, ip, args):
    print("a word on stdout", "x" * 1000)
    print("a word on stderr", "x" * 1000, file=sys.stderr, flush=True)
    return "said"
"""
OWN_ACTIONS = {"gateway": {"actions": ["message", "own.fall", "own.talk"]}}


def lost(gateway: Habitat) -> int:
    """The lines that are not in the log, as /status and /metrics tell them."""
    count = int(gateway.status()["log"]["lost"])
    (line,) = [
        line
        for line in gateway.scgi("GET", "/metrics").text.splitlines()
        if line.startswith("habitat_log_lost_lines_total ")
    ]
    assert float(line.split()[1]) >= count
    return count


def make_noise(gateway: Habitat, times: int = 1) -> None:
    """Have the gateway's thread log."""
    assert b"400" in gateway.send_raw(b"x:", end=True)  # logged once a minute
    for _ in range(times):
        assert gateway.scgi("POST", "/fall").status == 500


def check_serves_and_ends(gateway: Habitat, numbers: range) -> None:
    """It takes messages, archives them, and ends in order when it is told to."""
    for number in numbers:
        assert gateway.scgi("POST", "/message", body(number)).status == 200
    assert archived(gateway) == list(numbers)
    assert gateway.scgi("GET", "/readyz").status == 200
    assert gateway.stop() == 0
    assert not gateway.socket_path.exists()


def entries(path: Path) -> list[dict[str, Any]]:
    """The lines of a log in JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def failures(path: Path) -> int:
    """How often an action failed, by a log in JSON."""
    return [one["message"] for one in entries(path)].count("action failed")


@pytest.fixture
def place(habitat: HabitatFactory) -> tuple[Habitat, Path]:
    """A gateway that logs to a file in a directory of its own."""
    gateway = habitat(OWN_ACTIONS, own=OWN, start=False)
    path = gateway.directory / "logs" / "habitat.log"
    gateway.config["log"]["file"] = str(path)
    gateway.start()
    eventually(lambda: "archive ready" in path.read_text(encoding="utf-8"))  # a start's last line
    return gateway, path


# a file


def test_a_directory_that_is_gone_is_made_anew(place: tuple[Habitat, Path]) -> None:
    gateway, path = place
    shutil.rmtree(path.parent)
    make_noise(gateway)
    eventually(lambda: "malformed requests" in path.read_text(encoding="utf-8"))
    check_serves_and_ends(gateway, range(3))


def test_a_directory_that_can_not_be_made_anew_costs_lines(place: tuple[Habitat, Path]) -> None:
    gateway, path = place
    shutil.rmtree(path.parent)
    path.parent.touch()
    before = lost(gateway)
    make_noise(gateway, 3)
    eventually(lambda: lost(gateway) >= before + 4)
    eventually(lambda: gateway.status()["log"]["problem"])
    assert "lines are lost" in gateway.cli("status").stdout
    check_serves_and_ends(gateway, range(3))


def test_what_is_lost_is_told_once_there_is_a_log_again(place: tuple[Habitat, Path]) -> None:
    gateway, path = place
    shutil.rmtree(path.parent)
    path.parent.touch()
    make_noise(gateway, 2)
    (count,) = eventually(lambda: [count for count in [lost(gateway)] if count >= 3])
    path.parent.unlink()
    make_noise(gateway)
    first = eventually(lambda: entries(path))[0]
    assert first["message"] == "lines of the log are missing"
    assert (first["level"], first["lines"]) == ("error", count)
    eventually(lambda: gateway.status()["log"] == {"lost": count, "problem": None})


def test_a_file_that_was_moved_away_goes_on_until_there_is_a_new_one(
    place: tuple[Habitat, Path],
) -> None:
    gateway, path = place
    moved = path.rename(path.with_suffix(".1"))
    path.mkdir()  # so that no file can be made there
    before = lost(gateway)
    make_noise(gateway, 2)
    eventually(lambda: lost(gateway) >= before + 3)
    assert failures(moved) == 2
    path.rmdir()
    make_noise(gateway)
    eventually(lambda: "action failed" in path.read_text(encoding="utf-8"))
    check_serves_and_ends(gateway, range(3))


def test_logrotate_gets_a_new_file_and_no_line_twice(place: tuple[Habitat, Path]) -> None:
    gateway, path = place
    make_noise(gateway, 2)
    eventually(lambda: failures(path) == 2, "both are out")
    moved = path.rename(path.with_suffix(".1"))
    make_noise(gateway, 3)
    eventually(lambda: failures(path) == 3, "the others are out")
    assert failures(moved) == 2
    assert lost(gateway) == 0
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_under_the_log_stops_no_upload(habitat: HabitatFactory) -> None:
    gateway = habitat({**OWN_ACTIONS, "log": {"file": "/dev/full"}}, own=OWN)
    before = lost(gateway)
    make_noise(gateway, 3)
    eventually(lambda: lost(gateway) >= before + 4)
    eventually(lambda: gateway.status()["log"]["problem"] == "No space left on device")
    check_serves_and_ends(gateway, range(5))


def test_a_log_file_that_can_not_be_had_is_told_at_the_start(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    gateway.config["log"]["file"] = "/dev/null/habitat.log"
    gateway.start(ready=False)
    assert gateway.wait() == 2
    assert "log.file /dev/null/habitat.log" in gateway.log


# standard error


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of one page: the end that is read, and the one that is written."""
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    yield reads, writes
    for end in (reads, writes):
        with contextlib.suppress(OSError):
            os.close(end)


def piped(habitat: HabitatFactory, end: int) -> Habitat:
    """A gateway, not started, whose stdout and stderr are a pipe."""
    gateway = habitat(OWN_ACTIONS, own=OWN, start=False)
    gateway.output = end
    return gateway


def fill(end: int) -> None:
    """Write to a pipe until it takes no more; its other users see no change of its flags."""
    os.set_blocking(end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(end, b"x")
    os.set_blocking(end, True)


def test_a_pipe_that_nobody_reads_holds_up_nobody(
    habitat: HabitatFactory, pipe: tuple[int, int]
) -> None:
    fill(pipe[1])
    gateway = piped(habitat, pipe[1]).start()
    make_noise(gateway, 5)
    for _ in range(5):
        assert gateway.scgi("POST", "/talk").text.strip() == "said"
    eventually(lambda: gateway.status()["log"]["problem"] == "nobody reads it")
    check_serves_and_ends(gateway, range(5))


def test_what_a_pipe_does_not_take_is_kept_in_order_and_then_counted(
    habitat: HabitatFactory, pipe: tuple[int, int]
) -> None:
    reads, writes = pipe
    gateway = piped(habitat, writes).start()
    make_noise(gateway)
    # Each failure's traceback is over 1 kB.
    while not lost(gateway):
        make_noise(gateway, 50)
    os.set_blocking(reads, False)
    text = b""

    def read_on() -> bool:
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            while part := os.read(reads, 65536):
                text += part
        return b"lines of the log are missing" in text and text.endswith(b"\n")

    eventually(read_on)
    found = [json.loads(line) for line in text.splitlines()]
    assert len(text) > QUEUE_BYTES / 2
    at = [one["message"] for one in found].index("lines of the log are missing")
    assert at > len(found) / 2, "they are missing behind what was kept"
    assert found[at]["lines"] == lost(gateway)
    times = [one["time"] for one in found if one["message"] == "action failed"]
    assert times == sorted(times)


def test_a_full_pipe_does_not_keep_a_start_that_fails_from_ending(
    habitat: HabitatFactory, pipe: tuple[int, int]
) -> None:
    fill(pipe[1])
    gateway = piped(habitat, pipe[1])
    gateway.config["sinks"] = ["own.Nothing"]
    gateway.start(ready=False)
    assert gateway.wait() == 2


def test_a_pipe_whose_reader_has_gone_costs_lines(
    habitat: HabitatFactory, pipe: tuple[int, int]
) -> None:
    os.close(pipe[0])
    gateway = piped(habitat, pipe[1]).start()
    make_noise(gateway, 3)
    eventually(lambda: lost(gateway) >= 4)
    eventually(lambda: gateway.status()["log"]["problem"] == "Broken pipe")
    check_serves_and_ends(gateway, range(5))


@pytest.mark.parametrize("redirect", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_cost_lines_and_harm_no_file(
    habitat: HabitatFactory, redirect: str
) -> None:
    gateway = habitat(OWN_ACTIONS, own=OWN, start=False)
    gateway.redirect = redirect
    gateway.start()
    make_noise(gateway, 3)
    assert gateway.scgi("POST", "/talk").status == 200
    eventually(lambda: lost(gateway) >= 4)
    eventually(lambda: gateway.status()["log"]["problem"] == "standard error is closed")
    check_serves_and_ends(gateway, range(5))
    assert archived(gateway.start()) == list(range(5))


# lines


def test_what_own_code_prints_is_in_the_log(habitat: HabitatFactory) -> None:
    gateway = habitat(OWN_ACTIONS, own=OWN)
    assert gateway.scgi("POST", "/talk").status == 200
    printed = [entry["message"][:16] for entry in wait_for_log(gateway, "a word", 2)]
    assert printed == ["a word on stdout", "a word on stderr"]


class Nameless:
    """Something that can't be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who logs waits for a line to be out for as long as a busy machine takes."""
    monkeypatch.setattr("habitat_like.log.writer.PATIENCE", PATIENCE)


@pytest.fixture
def own_log(tmp_path: Path, patient: None) -> Iterator[Path]:
    """The log of this process, in a file."""
    path = tmp_path / "log"
    log.configure(LogConfig(file=str(path)))
    yield path
    log.close()


def say(text: str, *arguments: Any, **extra: Any) -> None:
    """Log an error, past what the test runner itself listens to."""
    logger = logging.Logger("habitat_like.test")
    logger.addHandler(log.handler())
    logger.error(text, *arguments, extra=extra)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("%d", "no number"), {}),
        (("%s %s", "one"), {}),
        (("text",), {"why": Nameless()}),
        (("%s", Nameless()), {}),
        (("x" * 100_000,), {}),
    ],
)
def test_a_record_that_can_not_be_written_leaves_a_line_that_says_so(
    own_log: Path, arguments: tuple[Any, ...], extra: dict[str, Any]
) -> None:
    before = log.state().lost
    say(*arguments, **extra)
    (line,) = entries(own_log)
    assert line["message"] == "a line of the log could not be made"
    assert (line["level"], line["source"]) == ("error", "habitat_like.test")
    assert log.state().lost == before + 1


def test_a_line_is_out_before_who_logs_goes_on(own_log: Path) -> None:
    for number in range(50):
        say("line %d", number)
        assert len(entries(own_log)) == number + 1


@pytest.mark.usefixtures("patient")
def test_a_change_of_the_file_loses_no_line(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "a")]
    for number, path in enumerate(paths):
        log.configure(LogConfig(file=str(path)))
        say("line %d", number)
    log.close()
    assert [one["message"] for one in entries(paths[0])] == ["line 0", "line 2"]
    assert [one["message"] for one in entries(paths[1])] == ["line 1"]
    log.close()  # a second time is nothing


ELSEWHERE = """
import logging, sys, warnings
from habitat_like import log
from habitat_like.config.keys import LogConfig

class Broken:
    def __del__(self):
        raise ValueError("in a destructor")

log.configure(LogConfig(file=sys.argv[1]))
log.capture()
logging.getLogger("some.library").error("a library's word")
warnings.warn("a warning")
Broken()
log.close()
print("out", flush=True)
print("err", file=sys.stderr)
"""


def test_what_libraries_and_python_say_goes_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, path], capture_output=True, text=True, check=True
    )
    library, warning, destructor = entries(path)
    assert library["message"] == "a library's word"
    assert "UserWarning: a warning" in warning["message"]
    assert "in a destructor" in destructor["exception"]
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
