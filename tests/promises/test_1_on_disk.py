"""Promise 1: 200 means on disk."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
import subprocess

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.gateway import Habitat
from tests.support.load import Load, counted, post, sent, upload
from tests.support.net import program
from tests.support.reply import unavailable
from tests.support.wait import PATIENCE, eventually


def test_1_what_was_answered_200_survives_kill_9(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat()
    front = nginx(gateway)
    bodies = [upload(number) for number in range(2_000)]
    with Load(front.address, bodies, connections=16) as load:
        for goal in (200, 500, 800, 1_100):
            load.wait_for(goal)
            gateway.restart(kill=True)
        load.give_up()
        outcome = load.join()
    found = counted(gateway.documents())
    assert sent(outcome.answered) <= set(found), "a message that was answered 200 is lost"
    assert set(found.values()) == {1}


def traced(gateway: Habitat, count: int) -> str:
    """What the gateway's thread did to take messages: the words write, sync and reply."""
    tracer = program("strace")
    output, errors = gateway.directory / "trace", gateway.directory / "trace-errors"
    calls = "trace=write,pwrite64,pwritev,fsync,fdatasync,sendto,sendmsg"
    with errors.open("wb") as log:
        strace = subprocess.Popen(
            [tracer, "-f", "-y", "-s", "64", "-e", calls, "-o", output, "-p", str(gateway.pid)],
            stderr=log,
        )
    try:
        attached = eventually(lambda: strace.poll() is not None or "attached" in errors.read_text())
        if not attached or strace.poll() is not None:
            pytest.skip(f"strace can't attach here: {errors.read_text().strip()}")
        for number in range(count):
            assert post(gateway, number).status == 200
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(PATIENCE)
    lines = output.read_text().splitlines()
    threads = {line.split()[0] for line in lines if "Status: 200" in line}
    assert len(threads) == 1, "more threads than the gateway's send answers"
    (thread,) = threads
    kinds = {
        "write": re.compile(r"pwrite\w*\(.*-wal"),
        "sync": re.compile(r"f(data)?sync(\(.*-wal.*| resumed.*)= 0"),
        "reply": re.compile(r"\b(write|send\w+)\(.*Status: 200"),
    }
    return " ".join(
        kind
        for line in lines
        if line.split()[0] == thread
        for kind, pattern in kinds.items()
        if pattern.search(line)
    )


def test_1_the_message_is_written_and_synced_before_its_answer(habitat: HabitatFactory) -> None:
    # A log that begins anew has a synced header before it.
    did = traced(habitat(), 5)
    assert re.fullmatch("((write |sync )*write sync reply ?){5}", did), did


def test_1_only_an_operator_can_trade_the_sync_away(habitat: HabitatFactory) -> None:
    did = traced(habitat({"journal": {"sync": "normal"}}), 5)
    assert did.count("write reply") == did.count("reply") == 5, did


def test_1_no_commit_no_200(habitat: HabitatFactory) -> None:
    gateway = habitat()
    # What the gateway commits by itself may take long on a busy disk.
    other = sqlite3.connect(gateway.journal_path, isolation_level=None, timeout=PATIENCE)
    with contextlib.closing(other):
        other.execute("BEGIN IMMEDIATE")  # no other commit is possible now
        unavailable(post(gateway, 1))
        gateway.kill()
    gateway.start()
    assert gateway.documents() == []
    assert post(gateway, 1).status == 200
    assert len(gateway.documents()) == 1
