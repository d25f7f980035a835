"""Stations: the messages they send, and what became of them."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tests.support import scgi
from tests.support.gateway import Habitat
from tests.support.reply import Reply

START = 1295103598


def message(number: int = 0, callsign: str = "M0ZDR") -> dict[str, Any]:
    """A message unlike that of any other number."""
    return {
        "callsign": callsign,
        "type": "RECEIVED_TELEM",
        "time_created": START,
        "time_uploaded": START,
        "data": {"string": base64.b64encode(b"$$test,%d" % number).decode(), "number": number},
    }


def body(number: int = 0, callsign: str = "M0ZDR") -> bytes:
    """The JSON of ``message``."""
    return json.dumps(message(number, callsign)).encode()


def bulk(numbers: Sequence[int]) -> bytes:
    """Many messages, as NDJSON."""
    return b"\n".join(body(number) for number in numbers)


def upload(number: int = 0) -> bytes:
    """The SCGI request that uploads one message."""
    return scgi.encode("POST", "/message", body(number))


def archived(habitat: Habitat) -> list[int]:
    """The numbers of all archived messages, sorted, once every sink has taken all."""
    return sorted(document["data"]["number"] for document in habitat.documents())


def answer(connection: socket.socket) -> Reply:
    """Read one whole reply, whether or not the gateway closes after it."""
    data = b""
    while True:
        head, separator, rest = data.partition(b"\r\n\r\n")
        if separator:
            (length,) = (
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            if len(rest) >= length:
                return scgi.decode(data)
        part = connection.recv(65536)
        assert part, f"no whole answer: {data[:200]!r}"
        data += part


def each(connections: Sequence[socket.socket]) -> list[int]:
    """The status of the reply on each connection, in their order."""
    return [answer(connection).status for connection in connections]


def send(connections: Sequence[socket.socket], data: bytes) -> None:
    """Send the same on each connection."""
    for connection in connections:
        connection.sendall(data)


def close(connections: Sequence[socket.socket]) -> None:
    """Hang up."""
    for connection in connections:
        connection.close()


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What ``call`` returns for 0 to ``count`` - 1, each on a thread, all let go together."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = call(number)
        except Exception as error:  # shown by whatever the test expects in its place
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
