"""A trial: steps on a machine, what each needs, and what it came to."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.judge import Verdict, judge
from tests.faults.ledger import ACKNOWLEDGED, SENT, Ledger
from tests.faults.messages import Messages
from tests.faults.stations import HttpClient, Mix, Stations
from tests.machine.image import ROOT
from tests.machine.vm import Machine
from tests.support.reply import Reply, http_request
from tests.support.wait import eventually

#: Where the release is on the machine.
RELEASE = "/usr/local/src/habitat_like"
#: Seconds in which the machine has to do something that takes it a moment.
PATIENCE = 300.0
#: Stations at a time. The machine is slow, where it has no KVM.
STATIONS = 4
#: Seconds within which a station that is turned away must be told so.
AT_ONCE = 5.0


@dataclass(frozen=True)
class Step:
    """Something to try. ``on`` is the machine that it needs.

    ``host``: none, the step has its own. ``bare``: a new one. ``installed``: one that is installed,
    after what other steps did on it. ``new``: one as it was right after the installation.
    """

    name: str
    text: str
    on: str
    run: Callable[[Trial], str]


#: Every step by its name, in order.
STEPS: dict[str, Step] = {}


def step(
    name: str, text: str, on: str = "installed"
) -> Callable[[Callable[[Trial], str]], Callable[[Trial], str]]:
    """Register a function as a step; it returns what was seen, for the report."""

    def register(run: Callable[[Trial], str]) -> Callable[[Trial], str]:
        STEPS[name] = Step(name, text, on, run)
        return run

    return register


@dataclass
class Trial:
    """What steps work with: the machine, and what stations were told by it."""

    machine: Machine
    rng: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    messages: Messages = field(default_factory=Messages)

    def begin(self, count: int = 0) -> None:
        """A machine with another disk, which has taken the first ``count`` messages alone."""
        self.ledger = Ledger()
        self.ledger.sending(range(count))
        self.ledger.answered(200, range(count))

    # Commands.

    def say(self, text: str) -> None:
        """Tell who watches how far it is."""
        print(f"    {text}", flush=True)

    def root(self, command: str, timeout: float = PATIENCE, given: str = "") -> str:
        """The output of a command that root runs; MachineError if it fails."""
        return self.machine.check(command, timeout, given.encode())

    def documented(self, block: str, timeout: float = PATIENCE, given: str = "") -> str:
        """Run a block of the documentation: in the directory of the release, else at home."""
        return self.root(f"set -e\ncd {RELEASE} 2>/dev/null || cd\n{block}", timeout, given)

    def put_package(self, package: Path) -> None:
        """Have this package, and no other, in root's directory."""
        self.root("rm -f /root/*.deb")
        self.machine.put(package.parent, [package.name], "/root")

    def put_release(self, directory: str) -> None:
        """What a clone would have, with what is not committed yet."""
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
        self.machine.put(Path(ROOT), names, directory)

    def configure(self, script: str) -> None:
        """Change the configuration with sed."""
        self.root(f"sed -i {script} /etc/habitat/config.yml")

    # Stations.

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 60,
    ) -> Reply:
        """One HTTP request from outside of the machine."""
        return http_request(self.machine.address, method, path, body, headers or {}, timeout)

    def upload(self, host: str = "") -> Reply:
        """One message, numbered and in the ledger; the server's name is ``host``."""
        return self._send(len(self.ledger), {"Host": host} if host else {})

    def _send(self, number: int, headers: dict[str, str]) -> Reply:
        self.ledger.sending([number])
        reply = self.request("POST", "/message", self.messages.body(number), headers)
        self.ledger.answered(reply.status, [number] if reply.status == 200 else [])
        return reply

    def uploads_work(self, when: str) -> None:
        """A station is served: at once, as nothing is being restarted."""
        reply = self.upload()
        assert reply.status == 200, f"{when}: an upload got {reply.status} {reply.text.strip()}"
        user = self.root("stat -c %U:%G /run/habitat/habitat.sock").strip()
        assert user == "habitat:www-data", f"{when}: the socket belongs to {user}"

    def uploads_are_refused_at_once(self, when: str) -> float:
        """A station hears 503 and when to try again, as text; returns the seconds it took."""
        begin = time.monotonic()
        reply = self.upload()
        seconds = time.monotonic() - begin
        kind = reply.headers.get("content-type", "")
        assert reply.status == 503, f"{when}: an upload got {reply.status}"
        assert "retry-after" in reply.headers, f"{when}: 503 without Retry-After"
        assert kind.startswith("text/plain"), f"{when}: 503 as {kind}"
        assert seconds < AT_ONCE, f"{when}: 503 after {seconds:.1f} s"
        return seconds

    @contextmanager
    def load(self, limit: float = 3600) -> Iterator[Stations]:
        """Stations that upload; left, each has its 200 for all it sent."""
        clients = [HttpClient(self.machine.address, timeout=60) for _ in range(STATIONS)]
        mix = Mix(bulk=0.1, size=10, bad=0, repeat=0)
        stations = Stations(
            list(clients),
            self.messages,
            self.ledger,
            self.rng,
            mix=mix,
            count=1_000_000,
            limit=limit,
        )
        with stations:
            yield stations

    def served(self, timeout: float = PATIENCE) -> float:
        """Wait until a station is served; returns the seconds that it took."""
        begin = time.monotonic()
        eventually(lambda: self.upload().status == 200, "an upload gets 200", timeout=timeout)
        return time.monotonic() - begin

    # The archive.

    def verdict(self) -> Verdict:
        """Wait until all is archived, and compare the archive with what stations were told."""
        self.wait_until_archived()
        documents = self.documents()
        return judge(self.ledger, self.messages, documents, strangers=len(documents))

    def documents(self, options: str = "") -> list[dict[str, Any]]:
        """All that is archived."""
        query = f"habitat query {options} --suspicious --limit all --format ndjson"
        return [json.loads(line) for line in self.root(query, 900).splitlines()]

    def nothing_is_lost(self) -> Verdict:
        """As ``verdict``, once stations have sent again what was refused.

        Raises AssertionError if a promise was broken.
        """
        for number in self.ledger.numbers(SENT, ACKNOWLEDGED):
            assert self._send(number, {}).status == 200
        verdict = self.verdict()
        assert not verdict.findings, str(verdict)
        return verdict

    def wait_until_archived(self, config: str = "/etc/habitat/config.yml") -> None:
        def archived() -> bool:
            status, output = self.machine.run(f"habitat status --json {config}")
            return status == 0 and json.loads(output)["backlog"] == 0

        eventually(archived, "the backlog is empty", timeout=PATIENCE, pause=0.5)


def no_host(address: tuple[str, int], body: bytes) -> int:
    """The status of an upload of a client that knows HTTP 1.0 alone, and names no host."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    connection.putrequest("POST", "/message", skip_host=True, skip_accept_encoding=True)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    status = connection.getresponse().status
    connection.close()
    return status
