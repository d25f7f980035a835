"""The CouchDB-protocol server of tests/couchdb."""

from __future__ import annotations

import json
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.net import ROOT, LocalServer, end, program, short_directory
from tests.support.reply import Reply, http_request
from tests.support.wait import PATIENCE

SERVER = ROOT / "tests" / "couchdb" / "server.js"


class CouchServer(LocalServer):
    """A server with a data directory and a port that stay the same over restarts."""

    def __init__(self) -> None:
        self.directory = short_directory()
        self.data = self.directory / "data"
        self.log_path = self.directory / "log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def uri(self, database: str) -> str:
        """The ``archive.uri`` of a database."""
        return f"couchdb://127.0.0.1:{self.port}/{database}"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self) -> CouchServer:
        """Start it, and wait until it listens. Without Node.js the test is skipped."""
        node = program("node")
        if not (SERVER.parent / "node_modules").is_dir():
            pytest.skip("there is no CouchDB-protocol server; `make test` gets it from npm")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [node, str(SERVER), str(self.data), str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        with self.process.stdout as output:
            readable, _, _ = select.select([output], [], [], PATIENCE)
            line = output.readline() if readable else b""
        if not line.startswith(b"listening on "):
            self.kill()
            raise AssertionError(f"the CouchDB-protocol server did not start:\n{self.log}")
        self.port = int(line.split()[-1])
        return self

    def stop(self) -> int | None:
        """SIGTERM, and wait; the exit code."""
        assert self.process is not None, "not started"
        return end(self.process, signal.SIGTERM, PATIENCE)

    def kill(self) -> None:
        """SIGKILL: the crash."""
        assert self.process is not None, "not started"
        end(self.process, signal.SIGKILL, PATIENCE)

    def restart(self, *, kill: bool = False) -> CouchServer:
        """Stop it (or kill it), and start it on the same port with the same data."""
        if kill:
            self.kill()
        else:
            self.stop()
        return self.start()

    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Reply:
        """One HTTP request; a body that is neither bytes nor None is sent as JSON."""
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        return http_request(self.address, method, path, payload, sent, timeout)

    def create(self, database: str) -> None:
        """Make a database."""
        reply = self.request("PUT", f"/{quote(database, safe='')}")
        assert reply.status == 201, reply

    def delete(self, database: str) -> None:
        """Delete a database, if there is such a one."""
        reply = self.request("DELETE", f"/{quote(database, safe='')}")
        assert reply.status in (200, 404), reply

    def databases(self) -> list[str]:
        """The names of all databases."""
        names: list[str] = self.request("GET", "/_all_dbs").json()
        return names

    def all_docs(self, database: str, *, design: bool = False) -> list[dict[str, Any]]:
        """All documents in the order of their ids, without (or with) the design documents."""
        path = f"/{quote(database, safe='')}/_all_docs?include_docs=true"
        reply = self.request("GET", path, timeout=PATIENCE)
        assert reply.status == 200, reply
        docs = [row["doc"] for row in reply.json()["rows"]]
        return [doc for doc in docs if design or not doc["_id"].startswith("_design/")]

    def ids(self, database: str, page: int = 20_000) -> Iterator[str]:
        """The ids of all documents in their order, without those of the design documents."""
        last = ""
        while True:
            more = f"&startkey={quote(json.dumps(last))}&skip=1" if last else ""
            path = f"/{quote(database, safe='')}/_all_docs?limit={page}{more}"
            reply = self.request("GET", path, timeout=300)
            assert reply.status == 200, reply
            rows = [row["id"] for row in reply.json()["rows"]]
            if not rows:
                return
            last = rows[-1]
            yield from (name for name in rows if not name.startswith("_design/"))

    def close(self) -> None:
        """Take everything away, whatever state it is in."""
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
