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


@scenario("clients.unread", f"{MANY} clients that never read their answers, beside others", 3)
def unread(run: Run) -> None:
    """What they are answered is longer than a socket holds, so that the gateway has to wait."""
    config = {"gateway": {"max_connections": 2 * MANY, "timeout": 2}}
    rig = run.rig(front=False, config=config).start()
    bulk = b"\n".join([b"{}"] * 3000)  # refused, with a reason for each
    for number in range(run.faults):
        clients = open_many(rig, MANY)
        run.inject(f"{MANY} readers that don't {number}")
        for at, client in enumerate(clients):
            request = scgi.encode("POST", "/messages", bulk) if at % 5 == 0 else b"9:"
            with contextlib.suppress(OSError):
                client.send(request)
        with run.stations(rig, 8, mix=Mix(bulk=0)) as stations:
            stations.wait_for(10 * BETWEEN)
        eventually(lambda: rig.habitat.status()["connections"] == 0, "all are given up", timeout=30)
        for client in clients:
            client.close()
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


@scenario("clients.flood", "floods over max_connections, beside stations that get through", 8, 2)
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
