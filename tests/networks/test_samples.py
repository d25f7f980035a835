"""Every sample as its client sends it: raw bytes, through nginx with the printed block, twice."""

from __future__ import annotations

import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from habitat_like.networks.catalogue import BUILT_IN
from tests.support.gateway import Habitat
from tests.support.nginx import Nginx
from tests.support.wait import eventually

SAMPLES = Path(__file__).parent / "samples"
ANSWERS: dict[str, dict[str, Any]] = yaml.safe_load((SAMPLES / "answers.yml").read_text())
#: Passwords, keys and tokens in the samples, as they are sent and as they are meant.
SECRETS = (
    b"PASSWORD=secret",
    b"c3RhdGlvbjc6c2VjcmV0",
    b"Y2FyOnNlY3JldA",
    b"secret",
    b"3B876B890000000000000000AFBE2C55",
    b"FC:F5:C4:00:00:60",
    b"94:3C:C6:00:01:1F",
    b"0123456789ABCDEF0123456789ABCDEF",
    b"345544D8000000000000000000000000",
    b"24C86E000001",
    b"q1LKu7RQ8s5pmyxunnDW",
    b"a9c1a9c1a9c1",
    b"CiIKIAoU",
    b"eyJhbGciOiJSUzI1",
    b"abc.def",
    b"Bearer",
    b"Token abc",
)


class Everything:
    """A gateway with all networks on, behind nginx."""

    def __init__(self) -> None:
        names = [name for name in BUILT_IN if name != "hisparc"]
        # What a parser adds comes when it likes.
        sinks = ["habitat_like.archive.ArchiveSink"]
        self.gateway = Habitat({"networks": {name: {} for name in names}, "sinks": sinks})
        self.nginx = Nginx(self.gateway)

    def send(self, raw: bytes) -> tuple[int | None, bytes]:
        """Status and body of the answer to raw bytes; no status where it has no head."""
        with socket.create_connection(self.nginx.address, timeout=60) as client:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            data = b""
            while piece := client.recv(65536):
                data += piece
        if not data.startswith(b"HTTP/"):
            return None, data
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body

    def taken(self) -> Counter[str]:
        """How many messages were taken, by type."""
        total: Counter[str] = Counter()
        for counts in self.gateway.status()["networks"].values():
            total.update(counts["observations"])
        return total

    def written(self) -> int:
        """How many messages are in the journal."""
        number: int = self.gateway.status()["journal"]["last_seq"]
        return number

    def close(self) -> None:
        self.nginx.close()
        self.gateway.close()


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    made = Everything()
    try:
        made.gateway.start()
        made.nginx.start()
        yield made
    finally:
        made.close()


def test_every_sample_has_its_answer_in_the_table() -> None:
    files = {str(path.relative_to(SAMPLES).with_suffix("")) for path in SAMPLES.rglob("*.http")}
    assert files == set(ANSWERS)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_sample_is_answered_right_and_the_same_again_adds_nothing(
    everything: Everything, name: str
) -> None:
    raw = (SAMPLES / f"{name}.http").read_bytes()
    expected = ANSWERS[name]
    before = everything.taken()
    status, body = everything.send(raw)
    assert status == expected["status"]
    text = body.decode("utf-8")
    assert re.fullmatch(expected["body"], text, re.DOTALL), text
    assert everything.taken() - before == expected["messages"]
    written = everything.written()
    assert everything.send(raw)[0] == status
    again = everything.written() - written
    if expected.get("clock") == "gateway":
        assert again <= sum(expected["messages"].values())
    else:
        assert again == 0


def test_nothing_that_is_secret_is_kept_anywhere(everything: Everything) -> None:
    for name in ANSWERS:
        everything.send((SAMPLES / f"{name}.http").read_bytes())
    eventually(lambda: everything.gateway.status()["backlog"] == 0, "all is archived")
    status = everything.gateway.scgi("GET", "/status").body
    metrics = everything.gateway.scgi("GET", "/metrics").body
    everything.gateway.signal(signal.SIGTERM)
    everything.gateway.wait()
    # While the gateway is away, nginx answers by itself, and says so in its log of errors.
    for name in ANSWERS:
        everything.send((SAMPLES / f"{name}.http").read_bytes())
    files = [
        path
        for directory in (everything.gateway.directory, everything.nginx.directory)
        for path in directory.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".yml", ".conf")
    ]
    assert any(path.name.startswith("archive") for path in files)
    assert any(path.name == "access.log" for path in files)
    kept = {str(path): path.read_bytes() for path in files}
    kept |= {"/status": status, "/metrics": metrics}
    found = [
        (place, secret)
        for place, data in kept.items()
        for secret in SECRETS
        if secret.lower() in data.lower()
    ]
    assert found == []
