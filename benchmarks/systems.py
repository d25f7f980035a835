"""The servers that are measured, and how each is started."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import sqlite3
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import load, place, prepared, scgi
from benchmarks.place import HERE, BenchError, compiled, find
from benchmarks.process import Child
from tests.support.couch import CouchServer

PYTHON = sys.executable
START_TIMEOUT = 20.0
#: Nothing listens there: an archive out of reach.
NOWHERE = "couchdb://127.0.0.1:9/nowhere"


class Place(msgspec.Struct):
    """What a server is given: its ``socket``, an empty ``directory``, and a database's URL."""

    socket: Path
    directory: Path
    couch: CouchServer | None

    def database(self, name: str) -> str:
        """The URL of a new CouchDB database. Raises BenchError where there is no server."""
        if self.couch is None:
            raise BenchError("no CouchDB-protocol server; install node and npm, and try again")
        self.couch.delete(name)
        self.couch.create(name)
        return f"{self.couch.url}/{name}"


class System(msgspec.Struct, frozen=True, kw_only=True):
    """One server under test.

    ``command`` gives its command line and environment in a place. ``missing`` says in one line what
    it needs and this machine lacks. ``stored`` counts what it stored, where that can be asked:
    every answered message must be there. ``batch`` is the number of messages in a request (0: one,
    and no array); ``checks``: it tells good messages from bad ones; ``idle`` connections hang about
    beside the load.
    """

    name: str
    command: Callable[[Place], tuple[list[str], dict[str, str]]]
    missing: Callable[[], str | None] = lambda: None
    stored: Callable[[Place], int] | None = None
    path: str = "/message"
    batch: int = 0
    checks: bool = True
    idle: int = 0
    stop: signal.Signals = signal.SIGTERM

    @property
    def messages(self) -> int:
        """Messages in one request."""
        return self.batch or 1


@contextlib.contextmanager
def running(system: System, where: Place) -> Iterator[Child]:
    """The server, started and seen to do its work, stopped afterwards."""
    where.socket.unlink(missing_ok=True)
    command, environ = system.command(where)
    child = Child(system.name, command, environ)
    try:
        wait_ready(child, where.socket)
        if system.checks:
            _check(system, where)
        yield child
        child.check()
    finally:
        child.stop(system.stop)
        where.socket.unlink(missing_ok=True)


def wait_ready(child: Child, socket: Path) -> None:
    """Wait until the server answers anything at all. Raises BenchError."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        child.check()
        try:
            scgi.request(socket, "GET", "/readyz")
        except OSError:
            if time.monotonic() > deadline:
                raise BenchError(
                    f"{child.name} does not answer after {START_TIMEOUT:g} s"
                ) from None
            time.sleep(0.01)
        else:
            return


def _check(system: System, where: Place) -> None:
    """It must take what is right and refuse what is wrong, or it is measured doing less."""
    good = load.message(int(time.time() * 1000) % 10**load.DIGITS)
    for body, expected in ((good, 200), (good.replace(b'"M0ZDR"', b'"M 0"'), 400)):
        sent = b"[" + body + b"]" if system.batch else body
        status, text = scgi.request(where.socket, "POST", system.path, sent)
        if status != expected:
            raise BenchError(f"{system.name} answered {status} instead of {expected}: {text!r}")


# -- the limits

RESPONDER = System(
    name="responder",
    command=lambda at: ([str(compiled(HERE / "peers/responder.c")), str(at.socket)], {}),
    checks=False,
)

# -- the gateway


def gateway(
    name: str,
    archive: Callable[[Place], str],
    *,
    batch: int = 0,
    idle: int = 0,
    backlog: int = 0,
    configuration: Mapping[str, Mapping[str, object]] | None = None,
    sinks: bool = True,
) -> System:
    """The gateway as shipped: full sync, metrics, its log in a file, the archive of ``archive``.

    ``backlog`` messages are in its journal when it starts, and must not run out. Without ``sinks``
    the archive is there to be read alone.
    """

    def command(where: Place) -> tuple[list[str], dict[str, str]]:
        sections: dict[str, dict[str, object]] = {
            "gateway": {"socket": str(where.socket)},
            # A burst into a gateway whose archive is away; how many it may keep isn't measured.
            "journal": {"path": str(where.directory / "journal.sqlite"), "max_backlog": 10**9},
            "archive": {"uri": archive(where)},
        }
        for section, keys in (configuration or {}).items():
            sections.setdefault(section, {}).update(keys)
        config = where.directory / "config.yml"
        whole = sections if sinks else {**sections, "sinks": []}
        config.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML too
        if backlog:
            prepared.journal(where.directory / "journal.sqlite", backlog)
        return [PYTHON, "-m", "habitat_like.cli", "serve", "--config", str(config)], {}

    def stored(where: Place) -> int:
        found = status(where.socket)
        if backlog and found["archive"]["messages"] >= backlog:
            raise BenchError("the backlog was drained before the load ended; make it larger")
        return int(found["messages"]["accepted"])

    return System(
        name=name,
        command=command,
        stored=stored,
        path="/messages" if batch else "/message",
        batch=batch,
        idle=idle,
    )


def status(socket: Path) -> dict[str, Any]:
    """The gateway's GET /status."""
    code, text = scgi.request(socket, "GET", "/status")
    if code != 200:
        raise BenchError(f"GET /status answered {code}")
    tree: dict[str, Any] = json.loads(text)
    return tree


def away(_: Place) -> str:
    """An archive that can't be reached."""
    return NOWHERE


def embedded(where: Place) -> str:
    """The embedded archive, as shipped."""
    return f"sqlite:{where.directory / 'archive.sqlite'}"


# -- the peers

Store = Callable[[Place], str]


def _memory(_: Place) -> str:
    return "memory"


def _sqlite(where: Place) -> str:
    return f"sqlite:{where.directory / 'store.sqlite'}"


def _couch(where: Place) -> str:
    return f"couch:{where.database('bench-peer')}"


def _sqlite_stored(where: Place) -> int:
    with contextlib.closing(sqlite3.connect(where.directory / "store.sqlite")) as connection:
        return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])


def _couch_stored(where: Place) -> int:
    assert where.couch is not None
    with urllib.request.urlopen(f"{where.couch.url}/bench-peer", timeout=60) as reply:
        return int(json.load(reply)["doc_count"])


def _module(name: str, *arguments: str) -> Callable[[Place], list[str]]:
    return lambda at: [PYTHON, "-m", f"benchmarks.peers.{name}", str(at.socket), *arguments]


def _uwsgi(processes: int) -> Callable[[Place], list[str]]:
    # Debian's uWSGI has Debian's Python; couchdb-python is of Python alone, so ours serves.
    packages = sysconfig.get_path("purelib")
    several = ["--thunder-lock"] if processes > 1 else []

    def command(at: Place) -> list[str]:
        listen = ["--scgi-socket", str(at.socket), "--chmod-socket=666", "--listen=4096"]
        manners = ["--master", "--die-on-term", "--need-app", "--disable-logging"]
        code = ["--plugin=python3", f"--pythonpath={place.ROOT}", f"--pythonpath={packages}"]
        module = ["--module=benchmarks.peers.wsgi", f"--processes={processes}"]
        return [place.program("uwsgi"), *listen, *manners, *code, *module, *several]

    return command


def _needs_package(*names: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = [name for name in names if importlib.util.find_spec(name) is None]
        return f"{' and '.join(absent)} (pip install '.[bench]')" if absent else None

    return missing


def _needs_uwsgi() -> str | None:
    return None if find("uwsgi") else "uwsgi (apt-get install uwsgi-core uwsgi-plugin-python3)"


def _peers() -> Iterator[System]:
    servers: list[tuple[str, Callable[[Place], list[str]], Callable[[], str | None]]] = [
        ("classic", _module("classic"), lambda: None),
        ("scgi x2", _module("prefork", "2"), lambda: None),
        ("scgi x4", _module("prefork", "4"), lambda: None),
        ("aioscgi", _module("asgi", "asyncio"), _needs_package("aioscgi")),
        ("aioscgi uvloop", _module("asgi", "uvloop"), _needs_package("aioscgi", "uvloop")),
        ("uwsgi x1", _uwsgi(1), _needs_uwsgi),
        ("uwsgi x2", _uwsgi(2), _needs_uwsgi),
    ]
    stores: list[tuple[str, Store, Callable[[Place], int] | None]] = [
        ("", _memory, None),
        (" + sqlite", _sqlite, _sqlite_stored),
        (" + couch", _couch, _couch_stored),
    ]
    for suffix, store, stored in stores:
        for name, command, missing in servers:
            yield System(
                name=name + suffix,
                command=_with_store(command, store),
                missing=missing,
                stored=stored,
                # The pre-forking server's parent ends on no signal but those that kill it.
                stop=signal.SIGKILL if name.startswith("scgi") else signal.SIGTERM,
            )


def _with_store(
    command: Callable[[Place], list[str]], store: Store
) -> Callable[[Place], tuple[list[str], dict[str, str]]]:
    return lambda at: (command(at), {"BENCH_STORE": store(at)})


PEERS = {system.name: system for system in _peers()}

MESSAGE = gateway("message", away)
MESSAGE_DRAINING = gateway("message, draining", embedded)
MESSAGES = gateway("messages", away, batch=100)
MESSAGES_DRAINING = gateway("messages, draining", embedded, batch=100)
MESSAGE_IDLE = gateway("message, 1000 idle", away, idle=1000)
MESSAGE_IDLE_DRAINING = gateway("message, draining, 1000 idle", embedded, idle=1000)
GATEWAY = (
    MESSAGE,
    MESSAGE_DRAINING,
    MESSAGES,
    MESSAGES_DRAINING,
    MESSAGE_IDLE,
    MESSAGE_IDLE_DRAINING,
)
