"""A rig: a gateway with nginx before it and an archive behind it, and what is in that archive."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Literal

import msgspec

from habitat_like.archive.base import Query
from habitat_like.archive.sqlite import SqliteArchive
from tests.faults.shim import Shim
from tests.faults.stations import Client, HttpClient, ScgiClient
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat, merge
from tests.support.nginx import Nginx
from tests.support.proxy import Proxy
from tests.support.wait import PATIENCE, eventually

Kind = Literal["sqlite", "couch", "proxy"]
#: Seconds without progress after which a backlog is given up, once all faults are over.
STUCK = PATIENCE
_databases = count(1)

#: What the campaign sets: short waits, so that a run is mostly faults.
CONFIG: dict[str, Any] = {
    "gateway": {"timeout": 5},
    "archive": {"retry_min": 0.02, "retry_max": 0.2, "timeout": 2, "verify": 5},
    "log": {"level": "info"},
}


class Rig:
    """The servers of one scenario, down until ``start``.

    ``archive`` is the embedded one, a CouchDB-protocol server, or such a server behind a proxy.
    ``in_server``, ``in_http`` and ``block`` are for nginx; @socket@ in them is the socket's path.
    ``files`` puts journal and embedded archive elsewhere than into the gateway's directory. With
    ``shim`` the gateway's disk and clock obey ``rig.shim``; ``record`` has it record, too.
    """

    def __init__(
        self,
        *,
        archive: Kind = "sqlite",
        config: Mapping[str, Any] | None = None,
        couch: CouchServer | None = None,
        files: Path | None = None,
        shim: bool = False,
        record: bool = False,
        front: bool = True,
        in_server: str = "",
        in_http: str = "",
        block: str | None = None,
        activated: bool = False,
    ) -> None:
        self.habitat = Habitat(merge(CONFIG, config or {}), activated=activated)
        self.archive = archive
        self.database = f"faults{os.getpid()}_{next(_databases)}"
        #: Whether there is a database for each month.
        self.months = False
        self.proxy: Proxy | None = None
        self._couch = couch
        self._shim = Shim(self.habitat.directory, record=record) if shim or record else None
        if self._shim is not None:
            self.habitat.environ.update(self._shim.environ)
        own = self.habitat.config
        if files is not None:
            own["journal"]["path"] = str(files / "journal.sqlite")
            own["archive"]["uri"] = f"sqlite:{files / 'archive.sqlite'}"
        if archive == "couch":
            own["archive"]["uri"] = self.couch.uri(self.database)
        elif archive == "proxy":
            self.proxy = Proxy(self.couch)
            own["archive"]["uri"] = self.proxy.uri(self.database)
        self.front: Nginx | None = None
        if front:
            if block is not None:
                block = block.replace("@socket@", str(self.habitat.socket_path))
            in_http = in_http.replace("@socket@", str(self.habitat.socket_path))
            self.front = Nginx(self.habitat, in_server=in_server, in_http=in_http, block=block)

    @property
    def couch(self) -> CouchServer:
        assert self._couch is not None, "this rig has no CouchDB-protocol server"
        return self._couch

    @property
    def shim(self) -> Shim:
        assert self._shim is not None, "this rig has no shim"
        return self._shim

    @property
    def toxic(self) -> Proxy:
        assert self.proxy is not None, "this rig has no proxy"
        return self.proxy

    @property
    def nginx(self) -> Nginx:
        assert self.front is not None, "this rig has no nginx"
        return self.front

    @property
    def journal(self) -> Path:
        return Path(self.habitat.config["journal"]["path"])

    @property
    def kills(self) -> int:
        """How often the gateway was killed with signal 9 so far, by whomever."""
        process = self.habitat.process
        last = None if process is None else process.poll()
        return [*self.habitat.exits, last].count(-signal.SIGKILL)

    def start(self) -> Rig:
        """Start what the stations see."""
        self.habitat.start()
        if self.front is not None:
            self.front.start()
        return self

    def clients(self, number: int, timeout: float = 10) -> list[Client]:
        """So many stations: through nginx if there is one."""
        if self.front is None:
            path = str(self.habitat.socket_path)
            return [ScgiClient(path, timeout) for _ in range(number)]
        address = self.front.address
        return [HttpClient(address, timeout) for _ in range(number)]

    def crash(self) -> None:
        """kill -9, whether or not the gateway still runs."""
        self.habitat.signal(signal.SIGKILL)
        self.habitat.wait()

    def up(self) -> None:
        """Have the gateway run and serve, as a supervisor that finds it ended."""
        if self.habitat.process_ended():
            self.habitat.start()

    def try_start(self) -> None:
        """Start the gateway and wait until it answers, whatever that is, or has ended."""
        self.habitat.start(ready=False)

        def is_settled() -> bool:
            return self.habitat.process_ended() or self.habitat.scgi("GET", "/healthz").status > 0

        eventually(is_settled, "it serves or ends")

    def ready(self) -> None:
        """Wait until the gateway takes messages, with no more help than a supervisor's."""

        def is_ready() -> bool:
            self.up()
            return self.habitat.scgi("GET", "/readyz").status == 200

        eventually(is_ready, "it recovers")

    def drain(self) -> None:
        """Wait until all that is in the journal is archived, as long as it gets less."""
        left = sys.maxsize
        while left:

            def shrunk() -> tuple[int] | None:
                self.up()
                backlog: int = self.habitat.status()["backlog"]
                return (backlog,) if backlog < left else None  # noqa: B023 (called in this turn)

            shown = eventually(shrunk, f"of {left} messages more are archived", timeout=STUCK)
            assert shown is not None
            (left,) = shown

    def count(self) -> None:
        """Wait until the statistics have counted all that is in the journal: it can be pruned."""

        def is_counted() -> bool:
            self.up()
            behind: int = self.habitat.status()["statistics"]["behind"]
            return behind == 0

        eventually(is_counted, "all is counted", timeout=STUCK)

    def documents(self) -> Iterator[dict[str, Any]]:
        """Everything in the archive."""
        if self.archive != "sqlite":
            for name in self._databases():
                yield from self.couch.all_docs(name)
            return
        archive = SqliteArchive(self.habitat.config["archive"]["uri"].removeprefix("sqlite:"))
        try:
            yield from archive.query(Query(suspicious=True))
        finally:
            archive.close()

    def _databases(self) -> list[str]:
        """The databases of a CouchDB-protocol server that are its archive."""
        if not self.months:
            return [self.database]
        return [one for one in self.couch.databases() if one.startswith(f"{self.database}-")]

    def dead_letters(self) -> list[dict[str, Any]]:
        """The documents of all dead letters."""
        printed = self.habitat.cli("journal", "export", "--dead", "-")
        assert printed.returncode == 0, printed.stderr
        return [msgspec.json.decode(line) for line in printed.stdout.splitlines()]

    def close(self) -> None:
        """Take everything away, whatever state it is in."""
        if self.habitat.process is not None and self.habitat.process.poll() is None:
            self.habitat.signal(signal.SIGCONT)
        if self.front is not None:
            self.front.close()
        if self.proxy is not None:
            self.proxy.close()
        if self._couch is not None and self.archive != "sqlite" and self._couch.running():
            for name in self._databases():
                self._couch.delete(name)
        self.habitat.close()
