"""Faults of clients: slow, vanishing, too many, repeating themselves."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import time

from tests.faults.gateway_faults import BETWEEN
from tests.faults.messages import STATIONS, Messages
from tests.faults.rig import Rig
from tests.faults.run import Run, scenario
from tests.faults.stations import Mix
from tests.support import scgi
from tests.support.wait import eventually

#: Sockets of slow clients at once.
MANY = 1000
#: Of so many slow readers one gets an answer that is longer than a socket holds.
LONG = 10
#: A message that is refused, as short as an upload of very many may have them, and how many are
#: answered with more than the 230 KB that a UNIX socket takes.
FILLER = b'{"callsign":"A","type":"%s"}' % (b"Q" * 36)
FILLERS = 3600


def open_many(rig: Rig, count: int) -> list[socket.socket]:
    """So many connections to the gateway's socket, non-blocking."""
    opened = []
    for _ in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(rig.habitat.socket_path))
        connection.setblocking(False)
        opened.append(connection)
    return opened


def trickle(run: Run, clients: list[socket.socket], rng: random.Random) -> None:
    """Send good uploads a piece at a time, all clients in turn, and note what is answered."""
    first = len(run.ledger)
    requests = {
        client: (number, scgi.encode("POST", "/message", run.messages.body(number)))
        for number, client in enumerate(clients, first)
    }
    run.ledger.sending([number for number, _ in requests.values()])
    sent = dict.fromkeys(clients, 0)
    deadline = time.monotonic() + 60
    while sent and time.monotonic() < deadline:
        for client in list(sent):
            _, data = requests[client]
            try:
                sent[client] += client.send(data[sent[client] :][: rng.randint(1, 60)])
            except BlockingIOError:
                continue
            except OSError:
                del sent[client]
                continue
            if sent[client] == len(data):
                del sent[client]
    read_answers(run, {client: number for client, (number, _) in requests.items()})


def read_answers(run: Run, waiting: dict[socket.socket, int]) -> None:
    """Note for each client what it was answered."""
    poll = select.poll()
    by_fd = {client.fileno(): client for client in waiting}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + 30
    while by_fd and time.monotonic() < deadline:
        for fd, _ in poll.poll(1000):
            client = by_fd.pop(fd)
            poll.unregister(fd)
            data = b""
            with contextlib.suppress(OSError):
                data = client.recv(4096)
            status = int(data[8:11]) if data.startswith(b"Status: ") else 0
            run.ledger.answered(status, [waiting[client]] if status == 200 else [])


def send_again(run: Run, rig: Rig) -> None:
    """The careful client's part: upload whatever has no 200 yet."""
    for number in run.ledger.numbers(1, 2 | 4):
        reply = rig.habitat.scgi("POST", "/message", run.messages.body(number))
        run.ledger.answered(reply.status, [number] if reply.status == 200 else [])


@scenario("clients.slow", f"{MANY} clients at once that send a few bytes at a time", 4, 1)
def slow(run: Run) -> None:
    config = {"gateway": {"max_connections": 2 * MANY, "timeout": 30}}
    rig = run.rig(front=False, config=config).start()
    for number in range(run.faults):
        clients = open_many(rig, MANY)
        run.inject(f"{MANY} slow senders {number}")
        trickle(run, clients, random.Random(run.rng.random()))
        for client in clients:
            client.close()
    send_again(run, rig)
    run.judge(rig)


def long_upload(run: Run, numbers: range) -> bytes:
    """An upload of these messages whose answer makes the gateway wait for its reader."""
    parts = [run.messages.body(number) for number in numbers]
    return scgi.encode("POST", "/messages", b"\n".join([*parts, *[FILLER] * FILLERS]))


def send_slowly_read(run: Run, clients: list[socket.socket]) -> dict[socket.socket, range]:
    """Send what has a long answer for one of LONG clients, a short one for the others."""
    uploads: dict[socket.socket, range] = {}
    for at, client in enumerate(clients):
        first = len(run.ledger)
        uploads[client] = range(first, first + (3 if at % LONG == 0 else 1))
        run.ledger.sending(uploads[client])
        if at % LONG == 0:
            data = long_upload(run, uploads[client])
        else:
            data = scgi.encode("POST", "/message", run.messages.body(first))
        client.setblocking(True)
        with contextlib.suppress(OSError):  # it may have been given up in the meantime
            client.sendall(data)
        client.setblocking(False)
    return uploads


def sip(run: Run, uploads: dict[socket.socket, range], rng: random.Random) -> int:
    """Read all answers in turn, a few bytes of each at a time, and note what they say.

    Returns how many were long.
    """
    whole = 0
    got = {client: bytearray() for client in uploads}
    deadline = time.monotonic() + 120
    while got and time.monotonic() < deadline:
        for client in list(got):
            try:
                part = client.recv(rng.randint(1, 2000 if len(uploads[client]) > 1 else 20))
            except BlockingIOError:
                continue
            except OSError:
                part = b""
            got[client] += part
            if not part:
                whole += len(got[client]) > 200_000
                note_answer(run, uploads[client], bytes(got.pop(client)))
        run.pause(0.01, 0.02)
    assert not got, f"{len(got)} slow readers had no whole answer"
    return whole


def note_answer(run: Run, numbers: range, data: bytes) -> None:
    """Write down which messages an answer takes."""
    status = int(data[8:11]) if data.startswith(b"Status: ") else 0
    taken: list[int] = []
    if status == 200:
        taken = list(numbers)
    elif status == 207:
        results = scgi.decode(data).json()["results"]
        assert len(results) == len(numbers) + FILLERS, "an answer is not whole"
        taken = [number for number, result in zip(numbers, results, strict=False) if "id" in result]
    run.ledger.answered(status, taken)


@scenario("clients.read", f"{MANY} clients at once that read a few bytes at a time, and others", 4)
def slow_readers(run: Run) -> None:
    config = {"gateway": {"max_connections": 2 * MANY, "timeout": 60}}
    rig = run.rig(front=False, config=config).start()
    for number in range(run.faults):
        clients = open_many(rig, MANY)
        run.inject(f"{MANY} slow readers {number}")
        uploads = send_slowly_read(run, clients)
        with run.stations(rig, 4, mix=Mix(bulk=0)) as stations:
            # Long uploads have a lane of their own, and those that would wait too long get 503.
            eventually(lambda: rig.habitat.connections() >= 10, "it waits for its readers")
            stations.wait_for(BETWEEN)
            whole = sip(run, uploads, random.Random(run.rng.random()))
            run.notes["long answers"] = run.notes.get("long answers", 0) + whole
        for client in clients:
            client.close()
    send_again(run, rig)
    run.judge(rig)


@scenario("clients.unread", f"{MANY} clients that never read their answers, beside others", 4)
def unread(run: Run) -> None:
    """What they are answered is longer than a socket holds, so that the gateway has to wait."""
    config = {"gateway": {"max_connections": 2 * MANY, "timeout": 10}}
    rig = run.rig(front=False, config=config).start()
    for number in range(run.faults):
        clients = open_many(rig, MANY)
        run.inject(f"{MANY} readers that don't {number}")
        send_slowly_read(run, clients)
        with run.stations(rig, 8, mix=Mix(bulk=0)) as stations:
            stations.wait_for(10 * BETWEEN)
        eventually(lambda: rig.habitat.connections() == 0, "all are given up")
        for client in clients:
            client.close()
    send_again(run, rig)
    run.judge(rig)


@scenario("clients.vanish", "clients that hang up half-way and before their answer", 3000, 200)
def vanish(run: Run) -> None:
    rig = run.rig(front=False).start()
    numbers = range(len(run.ledger), len(run.ledger) + run.faults)
    run.ledger.sending(numbers)
    with run.stations(rig, 8):
        for number in numbers:
            data = scgi.encode("POST", "/message", run.messages.body(number))
            cut = len(data) if run.rng.random() < 0.5 else run.rng.randrange(len(data))
            with rig.habitat.connect() as client:
                client.sendall(data[:cut])
            run.injected += 1
    run.schedule.append(f"{run.injected} clients vanish")
    send_again(run, rig)
    run.judge(rig)


@scenario("clients.flood", "floods over max_connections, beside stations that get through", 8)
def flood(run: Run) -> None:
    config = {"gateway": {"max_connections": 50, "timeout": 2}}
    rig = run.rig(config=config).start()
    with run.stations(rig) as stations:
        for number in range(run.faults):
            clients = open_many(rig, run.rng.randint(60, 400))
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(b"70:CONTENT_LENGTH")
            run.inject(f"flood {number} of {len(clients)}")
            run.pause(0.2, 0.5)
            for client in clients:
                client.close()
            stations.wait_for(BETWEEN)
    run.judge(rig)


@scenario("clients.repeat", "every request is sent again, at once and later, over kills", 12, 2)
def repeat(run: Run) -> None:
    rig = run.rig().start()
    with run.stations(rig, 32, mix=Mix(repeat=1, twice=True)) as stations:
        for number in range(run.faults):
            stations.wait_for(2 * BETWEEN)
            run.inject(f"kill {number} among repeats")
            rig.crash()
            rig.up()
        stations.wait_for(2 * BETWEEN)
    run.judge(rig)


@scenario("clients.chorus", "the same packet from a thousand stations within a second", 5, 1)
def chorus(run: Run) -> None:
    """Each is a message of its own: none may be taken for another's repeat."""
    run.messages = Messages(chorus=True)
    rig = run.rig(front=False).start()
    for number in range(run.faults):
        clients = open_many(rig, STATIONS)
        first = len(run.ledger)
        waiting = {client: first + at for at, client in enumerate(clients)}
        run.ledger.sending(waiting.values())
        for client, message in waiting.items():
            client.send(scgi.encode("POST", "/message", run.messages.body(message)))
        run.inject(f"{len(clients)} receivers of packet {number}")
        read_answers(run, waiting)
        for client in clients:
            client.close()
    send_again(run, rig)
    run.judge(rig)
