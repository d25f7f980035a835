"""What every peer does with an upload: parse it, check its fields, store the message.

The store is named by the environment variable ``BENCH_STORE``: ``memory``, ``sqlite:PATH`` (one
commit with ``synchronous=FULL`` a message) or ``couch:URL`` of a database (one couchdb-python
``save`` a message).
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

#: Messages that the store in memory keeps, so that no peer pays for a heap that only grows.
KEPT = 10_000

_CALLSIGN = re.compile(r"[A-Za-z0-9/_-]{1,64}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_TYPES = frozenset({"RECEIVED_TELEM", "LISTENER_INFO", "LISTENER_TELEM"})

Message = dict[str, Any]


class Work:
    """The work of one server process; thread-safe. The store is opened at the first message."""

    def __init__(self, store: str | None = None) -> None:
        self._store = store or os.environ["BENCH_STORE"]
        self._opening = threading.Lock()
        self._save: Callable[[Message], None] | None = None

    def take(self, body: bytes) -> tuple[str, bytes]:
        """The HTTP status line and the answer's body for one upload."""
        try:
            message = check(body)
        except ValueError as error:
            return "400 Bad Request", str(error).encode()
        save = self._save or self._open()
        save(message)
        return "200 OK", b"OK"

    def _open(self) -> Callable[[Message], None]:
        # After the fork of a pre-forking server: no connection may be shared between processes.
        with self._opening:
            if self._save is None:
                kind, _, where = self._store.partition(":")
                self._save = _STORES[kind](where)
            return self._save


def check(body: bytes) -> Message:
    """The message in ``body``. Raises ValueError with field and reason."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("body: must be an object")
    callsign = message.get("callsign")
    if not isinstance(callsign, str) or not _CALLSIGN.fullmatch(callsign):
        raise ValueError("callsign: must be 1 to 64 characters of A-Z a-z 0-9 / _ -")
    if message.get("type") not in _TYPES:
        raise ValueError("type: unknown")
    for field in ("time_created", "time_uploaded"):
        value = message.get(field)
        if not isinstance(value, int | float) or not 0 <= value < 10_000_000_000:
            raise ValueError(f"{field}: must be UNIX seconds")
    data = message.get("data")
    if not isinstance(data, dict):
        raise ValueError("data: must be an object")
    string = data.get("string")
    if not isinstance(string, str) or not _BASE64.fullmatch(string):
        raise ValueError("data.string: must be base64")
    frequency = data.get("frequency", 0)
    if not isinstance(frequency, int | float) or frequency < 0:
        raise ValueError("data.frequency: must be a number >= 0")
    message["callsign"] = callsign.upper()
    message["time_created"] += int(time.time()) - message["time_uploaded"]
    return message


def _memory(_: str) -> Callable[[Message], None]:
    return deque[Message](maxlen=KEPT).append


def _sqlite(path: str) -> Callable[[Message], None]:
    connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS message (seq INTEGER PRIMARY KEY, document TEXT)"
    )
    turn = threading.Lock()  # guards the connection: a server's threads share it

    def save(message: Message) -> None:
        document = json.dumps(message)
        with turn:
            connection.execute("INSERT INTO message (document) VALUES (?)", (document,))

    return save


def _couch(url: str) -> Callable[[Message], None]:
    import couchdb  # noqa: PLC0415 (the other stores have no need of it)

    database = couchdb.Database(url)

    def save(message: Message) -> None:
        database.save(message)

    return save


_STORES = {"memory": _memory, "sqlite": _sqlite, "couch": _couch}
