"""The seven promises of the design, each tried from outside on a real gateway."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive.base import Query
from habitat_like.archive.sqlite import SqliteArchive
from tests.conftest import HabitatFactory, NginxFactory
from tests.support import scgi
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat, read_all
from tests.support.load import Load, identity, upload, wait_until_archived
from tests.support.net import short_directory
from tests.support.reply import Reply
from tests.support.wait import eventually

Identity = tuple[str, str]


def archived(gateway: Habitat) -> list[dict[str, Any]]:
    """What is in the embedded archive once the journal is empty."""
    wait_until_archived(gateway)
    # Where nothing was uploaded, the archive may not be made yet.
    eventually(lambda: '"message":"archive ready"' in gateway.log, "the archive is made")
    archive = SqliteArchive(str(gateway.directory / "archive.sqlite"))
    try:
        return list(archive.query(Query()))
    finally:
        archive.close()


def counted(documents: Iterable[dict[str, Any]]) -> Counter[Identity]:
    return Counter(identity(document) for document in documents)


def sent(bodies: Iterable[bytes]) -> set[Identity]:
    return {identity(json.loads(body)) for body in bodies}


def post(gateway: Habitat, number: int) -> Reply:
    return gateway.scgi("POST", "/message", upload(number))


def check_unavailable(reply: Reply) -> None:
    assert reply.status == 503, reply
    assert int(reply.headers["retry-after"]) > 0
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.text.count("\n") == 1


@pytest.fixture
def modules(tmp_path: Path) -> Callable[[str], Path]:
    """Writes an operator's own module ``own`` and returns the directory to put on the path."""

    def write(text: str) -> Path:
        (tmp_path / "own.py").write_text(text, encoding="utf-8")
        return tmp_path

    return write


# -- 1: 200 means on disk


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
    found = counted(archived(gateway))
    assert sent(outcome.answered) <= set(found), "a message that was answered 200 is lost"
    assert set(found.values()) == {1}


def traced(gateway: Habitat, count: int) -> str:
    """What the gateway's thread did to take messages: the words write, sync and reply."""
    tracer = shutil.which("strace")
    if tracer is None:
        pytest.skip("strace is not installed")
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
        strace.wait(10)
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
    other = sqlite3.connect(gateway.journal_path, isolation_level=None)
    with contextlib.closing(other):
        other.execute("BEGIN IMMEDIATE")  # no other commit is possible now
        check_unavailable(post(gateway, 1))
        gateway.kill()
    gateway.start()
    assert archived(gateway) == []
    assert post(gateway, 1).status == 200
    assert len(archived(gateway)) == 1


# -- 2: once


def test_2_a_repeat_is_one_document_whenever_it_comes(habitat: HabitatFactory) -> None:
    gateway = habitat()
    first = json.loads(upload(1))

    def repeat(later: int) -> None:
        body = json.dumps({**first, "time_uploaded": first["time_uploaded"] + later})
        reply = gateway.scgi("POST", "/message", body)
        assert (reply.status, reply.body) == (200, b"OK")

    repeat(0)
    (document,) = archived(gateway)
    # An id must not hang on the gateway's clock.
    eventually(lambda: time.time() >= document["time_uploaded"] + 1, "the next second begins")
    repeat(0)
    repeat(60)
    gateway.restart()
    repeat(120)
    gateway.restart(kill=True)
    repeat(180)
    assert gateway.scgi("POST", "/messages", b"[%b]" % upload(1)).status == 200
    assert archived(gateway) == [document], "the first document is the one that stays"


def test_2_a_journal_that_is_replayed_doubles_nothing(
    habitat: HabitatFactory, couch: CouchServer, database: str
) -> None:
    gateway = habitat({"archive": {"uri": couch.uri(database)}})
    for number in range(20):
        assert post(gateway, number).status == 200
    wait_until_archived(gateway)
    before = couch.all_docs(database)
    gateway.stop()
    journal = sqlite3.connect(gateway.journal_path)
    with contextlib.closing(journal), journal:
        # As after a crash between the archive's answer and the commit of the cursor.
        assert journal.execute("UPDATE cursor SET seq = 0").rowcount == 1
    gateway.start()
    eventually(lambda: gateway.status()["archive"]["messages"] == 20, "all is sent again")
    assert couch.all_docs(database) == before
    assert len(before) == 20
    assert gateway.status()["dead_letters"] == 0


def test_2_two_gateways_that_get_the_same_uploads_make_one_document_of_each(
    habitat: HabitatFactory, couch: CouchServer, database: str
) -> None:
    config = {"archive": {"uri": couch.uri(database), "batch": 7}}
    gateways = [habitat(config), habitat(config)]
    for number in range(50):
        for gateway in gateways:
            assert post(gateway, number).status == 200
    for gateway in gateways:
        wait_until_archived(gateway)
        assert gateway.status()["dead_letters"] == 0
    found = counted(couch.all_docs(database))
    assert found == Counter(sent(upload(number) for number in range(50)))


# -- 3: a bad request changes nothing

GOOD = json.loads(upload(0))
BAD = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"{",
    json.dumps({**GOOD, "callsign": "a b"}).encode(),
    json.dumps({**GOOD, "type": "TELEM"}).encode(),
    json.dumps({**GOOD, "type": "NONE"}).encode(),
    json.dumps({**GOOD, "time_created": -1}).encode(),
    json.dumps({**GOOD, "time_uploaded": "now"}).encode(),
    json.dumps({**GOOD, "data": {"string": "?"}}).encode(),
    upload(0).replace(b"{", b'{"callsign": "OTHER", ', 1),
    upload(0)[:-1],
    upload(0) + upload(1),
]


def test_3_a_bad_request_changes_nothing(habitat: HabitatFactory) -> None:
    gateway = habitat()
    for body in BAD:
        reply = gateway.scgi("POST", "/message", body)
        assert reply.status == 400, (body, reply)
        assert re.fullmatch(r"[^\n:]+: [^\n]+\n", reply.text), "field, reason, one line"
    assert gateway.scgi("GET", "/message").status == 405
    assert gateway.scgi("POST", "/nothing", upload(0)).status == 404
    assert scgi.decode(gateway.send_raw(b"POST /message HTTP/1.1", end=True)).status == 400
    status = gateway.status()
    assert status["journal"]["last_seq"] == 0
    assert status["messages"] == {"accepted": 0, "written": 0}
    assert post(gateway, 1).status == 200
    assert counted(archived(gateway)) == Counter(sent([upload(1)]))


OWN_ACTIONS = """
from habitat_like.http.actions import Refused, Response, action
from habitat_like.message import InvalidMessage

def take(application, ip, args):
    for line in args.body.splitlines():
        application.message(ip, line)

@action(fast=True)
def refuses(application, ip, args):
    take(application, ip, args)
    raise InvalidMessage("more: is needed")

def refuses_slowly(application, ip, args):
    refuses(application, ip, args)

@action(fast=True)
def fails(application, ip, args):
    take(application, ip, args)
    raise RuntimeError("fails")

def fails_slowly(application, ip, args):
    fails(application, ip, args)

@action(fast=True)
def answers_409(application, ip, args):
    take(application, ip, args)
    return Response(409, b"no")

def answers_409_slowly(application, ip, args):
    return answers_409(application, ip, args)
"""
NAMES = {
    "refuses": 400,
    "refuses_slowly": 400,
    "fails": 500,
    "fails_slowly": 500,
    "answers_409": 409,
    "answers_409_slowly": 409,
}


def test_3_an_action_that_refuses_has_changed_nothing(
    habitat: HabitatFactory, modules: Callable[[str], Path]
) -> None:
    actions = ["message", *(f"own.{name}" for name in NAMES)]
    gateway = habitat({"gateway": {"actions": actions}}, pythonpath=[modules(OWN_ACTIONS)])
    for name, status in NAMES.items():
        reply = gateway.scgi("POST", f"/{name}", b"\n".join(upload(n) for n in range(3)))
        assert reply.status == status, (name, reply)
    assert gateway.status()["journal"]["last_seq"] == 0
    assert post(gateway, 0).status == 200
    assert len(archived(gateway)) == 1


def test_3_a_batch_that_does_not_fit_into_the_backlog_is_refused_whole(
    habitat: HabitatFactory, couch: CouchServer, database: str
) -> None:
    uri = couch.uri(database)
    couch.stop()
    gateway = habitat({"journal": {"max_backlog": 10}, "archive": {"uri": uri}})
    for number in range(6):
        assert post(gateway, number).status == 200
    body = b"\n".join(upload(number) for number in range(6, 12))
    check_unavailable(gateway.scgi("POST", "/messages", body))
    assert gateway.status()["journal"]["last_seq"] == 6


# -- 4: when promise 1 can't be kept


@contextlib.contextmanager
def full_disk() -> Iterator[tuple[Path, Callable[[Habitat], AbstractContextManager[None]]]]:
    """A journal's directory on a file system of its own, and how to fill that one up."""
    directory = short_directory()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)],
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
            check_unavailable(reply)
            for _ in range(5):
                check_unavailable(one())
            ready = front.request("GET", "/readyz")
            check_unavailable(ready)
            assert "journal" in ready.text
            assert front.request("GET", "/healthz").status == 200
            assert gateway.status()["state"] != "ready"
            metrics = front.request("GET", "/metrics").text
            assert "\nhabitat_ready 0.0\n" in metrics
            bulk = b"\n".join(upload(next(numbers)) for _ in range(5))
            check_unavailable(front.request("POST", "/messages", bulk))
            assert not gateway.process_ended()
        eventually(lambda: front.request("GET", "/readyz").status == 200, "it recovers by itself")
        assert one().status == 200
        found = counted(archived(gateway))
        assert set(found) == sent(taken), "a 200 was lost, or a 503 stored"
        assert set(found.values()) == {1}
        for body in refused:
            assert front.request("POST", "/message", body).status == 200
        assert set(counted(archived(gateway))) == sent([*taken, *refused])
        # One line for each change of state, not for each request.
        told = gateway.log.count("no message can be stored")
        assert told == gateway.log.count("messages can be stored again")
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
        assert re.fullmatch(r"habitat: error: journal [^\n]*ead-only[^\n]*\n", gateway.log)
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
    check_unavailable(front.request("POST", "/message", upload(8)))
    check_unavailable(front.request("GET", "/readyz"))
    couch.start()
    eventually(lambda: front.request("GET", "/readyz").status == 200, "there is room again")
    assert front.request("POST", "/message", upload(8)).status == 200
    wait_until_archived(gateway)
    assert counted(couch.all_docs(database)) == Counter(sent(upload(n) for n in range(9)))


NEW_SINK = """
from habitat_like.message_server import SimpleSink

class Quiet(SimpleSink):
    def message(self, message):
        pass
"""


def test_4_a_sink_that_is_added_to_a_pruned_journal_is_no_backlog(
    habitat: HabitatFactory, modules: Callable[[str], Path]
) -> None:
    path = modules(NEW_SINK)
    gateway = habitat({"journal": {"max_backlog": 10}}, pythonpath=[path])
    for number in range(20):
        wait_until_archived(gateway)
        assert post(gateway, number).status == 200
    wait_until_archived(gateway)
    gateway.stop()
    journal = sqlite3.connect(gateway.journal_path)
    with contextlib.closing(journal), journal:
        journal.execute("DELETE FROM message")  # as the retention does
    gateway.config["sinks"] = ["habitat_like.archive.ArchiveSink", "own.Quiet"]
    gateway.start()
    assert post(gateway, 20).status == 200
    eventually(lambda: gateway.status()["sinks"]["own.Quiet"]["messages"] == 1)


def test_4_a_request_that_is_not_whole_when_the_gateway_stops_is_503(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat()
    request = scgi.encode("POST", "/message", upload(1))
    with gateway.connect() as client:
        client.sendall(request[:-10])
        eventually(lambda: gateway.status()["connections"] == 1, "it is read")
        gateway.signal(signal.SIGTERM)
        check_unavailable(scgi.decode(read_all(client)))
    assert gateway.wait() == 0
    gateway.start()
    assert archived(gateway) == []


# -- 5: SIGTERM loses nothing


def test_5_a_stop_under_load_answers_what_was_read_and_loses_nothing(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat()
    front = nginx(gateway)
    bodies = [upload(number) for number in range(5_000)]
    with Load(front.address, bodies, connections=32) as load:
        for goal in (500, 1_000, 1_500):
            load.wait_for(goal)
            assert gateway.stop() == 0
            assert not gateway.socket_path.exists()
            gateway.start()
        load.give_up()
        outcome = load.join()
    assert outcome.statuses[200] >= 1_500
    assert outcome.broken == 0
    # With its socket's file gone nginx can't connect; whatever it did connect for was answered.
    for line in front.error_log.splitlines():
        assert "connect() to unix:" in line, f"a request was cut off: {line}"
    found = counted(archived(gateway))
    assert sent(outcome.answered) <= set(found)
    assert set(found.values()) == {1}


def test_5_with_an_inherited_socket_a_restart_under_load_fails_no_request(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat(activated=True)
    front = nginx(gateway)
    bodies = [upload(number) for number in range(3_000)]
    with Load(front.address, bodies, connections=32, retry=False) as load:
        for goal in (500, 1_500):
            load.wait_for(goal)
            gateway.restart()
            assert gateway.socket_path.exists()
        outcome = load.join()
    assert outcome.statuses == {200: 3_000}
    assert outcome.broken == 0
    assert counted(archived(gateway)) == Counter(sent(bodies))


def test_5_a_request_that_becomes_whole_while_it_stops_is_taken(habitat: HabitatFactory) -> None:
    gateway = habitat()
    request = scgi.encode("POST", "/message", upload(1))
    with gateway.connect() as client:
        client.sendall(request[:-10])
        eventually(lambda: gateway.status()["connections"] == 1, "it is read")
        gateway.signal(signal.SIGTERM)
        eventually(lambda: '"message":"stopping"' in gateway.log)
        client.sendall(request[-10:])
        assert scgi.decode(read_all(client)).status == 200
    assert gateway.wait() == 0
    gateway.start()
    assert counted(archived(gateway)) == Counter(sent([upload(1)]))


SLOW_ACTION = """
import pathlib, time

def patient(application, ip, args):
    here = pathlib.Path(args.query)
    (here / "begun").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    return application.message(ip, args.body)
"""


def test_5_an_action_under_way_is_finished(
    habitat: HabitatFactory, modules: Callable[[str], Path]
) -> None:
    config = {"gateway": {"actions": ["message", "own.patient"], "timeout": 60}}
    gateway = habitat(config, pythonpath=[modules(SLOW_ACTION)])
    request = scgi.encode("POST", f"/patient?{gateway.directory}", upload(1))
    with gateway.connect() as client:
        client.sendall(request)
        eventually((gateway.directory / "begun").exists, "the action runs")
        gateway.signal(signal.SIGTERM)
        eventually(lambda: not gateway.socket_path.exists(), "the gateway stops")
        (gateway.directory / "go").touch()
        assert scgi.decode(read_all(client)).status == 200
    assert gateway.wait() == 0
    gateway.start()
    assert len(archived(gateway)) == 1


def test_5_an_action_that_never_ends_can_not_hold_up_the_stop(
    habitat: HabitatFactory, modules: Callable[[str], Path]
) -> None:
    actions = ["message", "own.patient"]
    config = {"gateway": {"actions": actions, "timeout": 600, "shutdown_timeout": 2}}
    gateway = habitat(config, pythonpath=[modules(SLOW_ACTION)])
    with gateway.connect() as client:
        client.sendall(scgi.encode("POST", f"/patient?{gateway.directory}", upload(1)))
        eventually((gateway.directory / "begun").exists, "the action runs")
        assert post(gateway, 2).status == 200
        gateway.signal(signal.SIGTERM)
        check_unavailable(scgi.decode(read_all(client)))
    assert gateway.wait() == 1, "a thread was left behind, and the supervisor must know"
    assert "threads did not stop in time" in gateway.log
    gateway.start()
    assert counted(archived(gateway)) == Counter(sent([upload(2)]))


# -- 6: nothing a client sends is ever executed

INNER_NAMES = [
    "__init__",
    "__class__",
    "__dict__",
    "actions",
    "application",
    "clock",
    "messages",  # not in this gateway's whitelist
    "message.__globals__",
    "message/__globals__",
    "os.system",
    "program",
    "push_message",
    "server",
    "shutdown",
    "reload",
    "..%2f..%2fetc%2fpasswd",
    "message%00",
    "MESSAGE",
    "own.take",
]


def test_6_only_what_is_whitelisted_can_be_reached(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat({"gateway": {"actions": ["message"]}})
    front = nginx(gateway)
    for name in INNER_NAMES:
        for path in (f"/{name}", f"/message/../{name}", f"//{name}"):
            status = front.request("POST", path, upload(0)).status
            assert status in (400, 404), (path, status)  # 400: nginx's own, for %00
        reply = gateway.scgi("POST", f"/{name}", upload(0))
        assert reply.status == 404, name
        assert "/message\n" in reply.text
    assert gateway.status()["journal"]["last_seq"] == 0


def test_6_nothing_in_a_request_is_executed(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = habitat()
    front = nginx(gateway)
    canary = gateway.directory / "canary"
    payloads = [
        f"__import__('os').system('touch {canary}')",
        f"$(touch {canary})",
        f"`touch {canary}`",
        f"'; touch {canary}; '",
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"{{{{ ''.__class__.__mro__[1] }}}}; touch {canary}",
        f"cos\nsystem\n(S'touch {canary}'\ntR.",
        "'); DROP TABLE message; --",
        "%s%s%s%n{0}{0.__class__}",
    ]
    for number, payload in enumerate(payloads):
        message = json.loads(upload(number))
        message["data"].update({"note": payload, payload[:40]: payload})
        assert front.request("POST", "/message", json.dumps(message)).status == 200
        for field in ("callsign", "type", "time_created", "data"):
            bad = json.dumps({**message, field: payload})
            assert front.request("POST", "/message", bad).status == 400
        assert front.request("POST", "/message", payload).status == 400
        assert front.request("POST", "/messages", payload).status == 400
        headers = {"X-Payload": payload.replace("\n", " "), "Content-Type": "application/x-yaml"}
        assert front.request("POST", "/message", payload, headers).status == 400
    documents = archived(gateway)
    assert sorted(document["data"]["note"] for document in documents) == sorted(payloads)
    assert not canary.exists()
    assert not gateway.process_ended()


# -- 7: no half-dead process

FAILURES = {
    "a fast action on the gateway's thread": ("own.dies_fast", "gateway"),
    "a slow action on a worker": ("own.dies_slowly", "worker"),
    "a thread of an action's own": ("own.thread_dies", "own thread"),
}
DYING = """
import threading
from habitat_like.http.actions import action
from habitat_like.message_server import JournalSink

class Fatal(BaseException):
    pass

@action(fast=True)
def dies_fast(application, ip, args):
    raise Fatal("of the action")

def dies_slowly(application, ip, args):
    raise SystemExit("of the action")

def thread_dies(application, ip, args):
    threading.Thread(target=lambda: 1 / 0, name="own thread").start()

class Dying(JournalSink):
    def process(self, entries):
        if any(b"DIE" in entry.document for entry in entries):
            raise Fatal("of the sink")
        return ()
"""


@pytest.mark.parametrize("name", FAILURES)
def test_7_an_exception_that_ends_a_thread_ends_the_program_in_order(
    habitat: HabitatFactory, modules: Callable[[str], Path], name: str
) -> None:
    path, thread = FAILURES[name]
    config = {"gateway": {"actions": ["message", path], "timeout": 2}}
    gateway = habitat(config, pythonpath=[modules(DYING)])
    for number in range(5):
        assert post(gateway, number).status == 200
    with contextlib.suppress(OSError):
        gateway.send_raw(scgi.encode("POST", f"/{path.removeprefix('own.')}"), timeout=20)
    check_failed(gateway, thread)
    gateway.start()
    assert counted(archived(gateway)) == Counter(sent(upload(n) for n in range(5)))


def test_7_a_sink_whose_thread_dies_ends_the_program_in_order(
    habitat: HabitatFactory, modules: Callable[[str], Path]
) -> None:
    sinks = ["habitat_like.archive.ArchiveSink", "own.Dying"]
    gateway = habitat({"sinks": sinks}, pythonpath=[modules(DYING)])
    assert post(gateway, 1).status == 200
    assert gateway.scgi("POST", "/message", upload(2, callsign="DIE")).status == 200
    check_failed(gateway, "own.Dying")
    gateway.config["sinks"] = sinks[:1]
    gateway.start()
    assert len(archived(gateway)) == 2


def check_failed(gateway: Habitat, thread: str) -> None:
    assert gateway.wait() == 1, gateway.log
    lines = [json.loads(line) for line in gateway.log.splitlines() if line[:1] == "{"]
    (line,) = (entry for entry in lines if entry["level"] == "critical")
    assert any(thread in str(value) for value in line.values()), "the thread is not named"
    assert "Traceback" in line["exception"]
    assert lines[-1]["message"] == "stopped", "it did not end in order"
    assert not gateway.socket_path.exists()


def test_7_a_supervisor_is_told_by_the_exit_code(habitat: HabitatFactory) -> None:
    gateway = habitat()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(gateway.socket_path))
        assert gateway.stop() == 0
    os.mkfifo(gateway.directory / "fifo")
    gateway.config["journal"]["path"] = str(gateway.directory / "fifo" / "journal")
    gateway.start(ready=False)
    assert gateway.wait() == 1
