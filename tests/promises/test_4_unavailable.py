"""Promise 4: what can't be made durable is told 503 at once."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.couch import CouchServer
from tests.support.gateway import ARCHIVE_SINK, OWN, Habitat
from tests.support.load import counted, post, sent, upload
from tests.support.net import short_directory
from tests.support.reply import Reply, unavailable
from tests.support.wait import eventually


@contextlib.contextmanager
def full_disk() -> Iterator[tuple[Path, Callable[[Habitat], AbstractContextManager[None]]]]:
    """A journal's directory on a file system of its own, and how to fill that one up."""
    directory = short_directory()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        directory.rmdir()
        pytest.skip(f"can't mount a small file system here: {mounted.stderr.strip()}")

    @contextlib.contextmanager
    def fill(_: Habitat) -> Iterator[None]:
        filler = directory / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (65536, 4096):
                with contextlib.suppress(OSError):
                    for _block in range(1000):
                        file.write(bytes(size))
        yield
        filler.unlink()

    try:
        yield directory, fill
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
        directory.rmdir()


@contextlib.contextmanager
def refusing_disk() -> Iterator[tuple[Path, Callable[[Habitat], AbstractContextManager[None]]]]:
    """A journal's directory, and how to have the kernel refuse that its files grow."""
    directory = short_directory()

    @contextlib.contextmanager
    def limit(gateway: Habitat) -> Iterator[None]:
        before = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
        # Above the log's size, so that it can still tell.
        size = len(gateway.log) + 65536
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (size, before[1]))
        yield
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, before)

    try:
        yield directory, limit
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("disk", [full_disk, refusing_disk])
def test_4_a_disk_that_takes_no_more_is_503_until_it_does_again(
    habitat: HabitatFactory,
    nginx: NginxFactory,
    disk: Callable[
        [], AbstractContextManager[tuple[Path, Callable[[Habitat], AbstractContextManager[None]]]]
    ],
) -> None:
    with disk() as (directory, broken):
        gateway = habitat({"journal": {"path": str(directory / "j.sqlite")}})
        front = nginx(gateway)
        taken: list[bytes] = []
        refused: list[bytes] = []
        numbers = iter(range(5_000))

        def one() -> Reply:
            body = upload(next(numbers))
            reply = front.request("POST", "/message", body)
            (taken if reply.status == 200 else refused).append(body)
            return reply

        assert one().status == 200
        with broken(gateway):
            reply = next(reply for reply in iter(one, None) if reply.status != 200)
            unavailable(reply)
            for _ in range(5):
                unavailable(one())
            ready = front.request("GET", "/readyz")
            unavailable(ready)
            assert "journal" in ready.text
            assert front.request("GET", "/healthz").status == 200
            assert gateway.status()["state"] != "ready"
            metrics = front.request("GET", "/metrics").text
            assert "\nhabitat_ready 0.0\n" in metrics
            bulk = b"\n".join(upload(next(numbers)) for _ in range(5))
            unavailable(front.request("POST", "/messages", bulk))
            assert not gateway.process_ended()
        eventually(lambda: front.request("GET", "/readyz").status == 200, "it recovers by itself")
        assert one().status == 200
        found = counted(gateway.documents())
        assert set(found) == sent(taken), "a 200 was lost, or a 503 stored"
        assert set(found.values()) == {1}
        for body in refused:
            assert front.request("POST", "/message", body).status == 200
        assert set(counted(gateway.documents())) == sent([*taken, *refused])
        # One line for each change of state, not for each request.
        again = "messages can be stored again"
        eventually(lambda: again in gateway.log)
        told = gateway.log.count("no message can be stored")
        assert told == gateway.log.count(again)
        assert told == 1
        assert gateway.stop() == 0


def test_4_a_journal_that_can_not_be_written_at_start_is_told_in_one_line(
    habitat: HabitatFactory,
) -> None:
    with full_disk() as (directory, _):
        subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
        gateway = habitat({"journal": {"path": str(directory / "j.sqlite")}}, start=False)
        gateway.start(ready=False)
        assert gateway.wait() == 1
        assert re.fullmatch(r"habitat: journal [^\n]*ead-only[^\n]*\n", gateway.log)
        assert not gateway.socket_path.exists()


def test_4_a_full_backlog_is_503_until_the_archive_is_back(
    habitat: HabitatFactory, nginx: NginxFactory, couch: CouchServer, database: str
) -> None:
    uri = couch.uri(database)
    couch.stop()
    gateway = habitat({"journal": {"max_backlog": 8}, "archive": {"uri": uri}})
    front = nginx(gateway)
    for number in range(8):
        assert front.request("POST", "/message", upload(number)).status == 200
    assert "backlog" in unavailable(front.request("POST", "/message", upload(8)))
    assert "backlog" in unavailable(front.request("POST", "/messages", upload(8)))
    assert "backlog" in unavailable(front.request("GET", "/readyz"))
    assert front.request("GET", "/healthz").status == 200
    # What is wrong in itself is not worth another try.
    assert front.request("POST", "/message", b"{}").status == 400
    couch.start()
    eventually(lambda: front.request("GET", "/readyz").status == 200, "there is room again")
    assert front.request("POST", "/message", upload(8)).status == 200
    gateway.wait_until_archived()
    assert counted(couch.all_docs(database)) == Counter(sent(upload(n) for n in range(9)))


def test_4_a_sink_that_is_added_to_a_pruned_journal_is_no_backlog(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat({"journal": {"max_backlog": 10}}, own=OWN)
    for number in range(20):
        gateway.wait_until_archived()
        assert post(gateway, number).status == 200
    gateway.wait_until_archived()
    gateway.stop()
    journal = sqlite3.connect(gateway.journal_path)
    with contextlib.closing(journal), journal:
        journal.execute("DELETE FROM message")  # as the retention does
    gateway.config["sinks"] = [ARCHIVE_SINK, "own.Quiet"]
    gateway.start()
    assert post(gateway, 20).status == 200
    eventually(lambda: gateway.status()["sinks"]["own.Quiet"]["messages"] == 1)


def test_4_bytes_that_wait_are_503_until_there_is_room(habitat: HabitatFactory) -> None:
    gateway = habitat({"journal": {"max_bytes": 10_000}}, start=False)
    good = gateway.config["archive"]["uri"]
    gateway.config["archive"]["uri"] = f"sqlite:{gateway.directory}/log/no-directory.sqlite"
    gateway.start()
    taken: list[int] = []
    reply = post(gateway, 0)
    while reply.status == 200:
        taken.append(len(taken))
        assert len(taken) < 100
        reply = post(gateway, len(taken))
    assert len(taken) > 10
    assert "journal.max_bytes" in unavailable(reply)
    bulk = b"\n".join(upload(number) for number in range(100, 110))
    assert "journal.max_bytes" in unavailable(gateway.scgi("POST", "/messages", bulk))
    assert "journal.max_bytes" in unavailable(gateway.scgi("GET", "/readyz"))
    journal = gateway.status()["journal"]
    assert journal["message_bytes"] <= journal["max_bytes"] == 10_000
    metrics = gateway.scgi("GET", "/metrics").text
    assert f"\nhabitat_journal_message_bytes {float(journal['message_bytes'])}\n" in metrics
    assert "\nhabitat_journal_max_bytes 10000.0\n" in metrics
    # A reload gives more room, the archive even more.
    gateway.config["journal"]["max_bytes"] = 12_000
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.scgi("GET", "/readyz").status == 200, "there is room")
    assert post(gateway, len(taken)).status == 200
    taken.append(len(taken))
    gateway.config["archive"]["uri"] = good
    gateway.restart()
    assert set(counted(gateway.documents())) == sent(upload(number) for number in taken)


def test_4_archived_messages_go_early_and_the_bytes_stay_bounded(habitat: HabitatFactory) -> None:
    """With an archive that keeps up no station is told 503."""
    gateway = habitat({"journal": {"max_bytes": 10_000}})
    for number in range(300):
        reply = post(gateway, number)
        if number % 10 == 9:
            gateway.wait_until_archived()
            assert gateway.status()["journal"]["message_bytes"] <= 10_000
        assert reply.status == 200, reply
    assert set(counted(gateway.documents())) == sent(upload(number) for number in range(300))
