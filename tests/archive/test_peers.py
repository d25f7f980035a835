"""CouchArchive against peers that break HTTP or TLS in ways that no real server can be made to."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive import Query, open_archive
from habitat_like.config.keys import ArchiveConfig
from tests.support.archive import batch, fails, message
from tests.support.station import at_once
from tests.support.wait import PATIENCE

REFUSED = b"HTTP/1.1 500 No\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\noops"


class Raw:
    """A peer that answers each request with the bytes that ``answer`` returns.

    ``answer`` may return an iterator to send pieces; None closes. With ``early`` the answer goes
    out, and the connection is closed, when the headers are there and the body isn't.
    """

    def __init__(
        self, answer: Callable[[bytes], Any], *, early: bool = False, tls: Path | None = None
    ) -> None:
        self.answer = answer
        self.early = early
        self.context: ssl.SSLContext | None = None
        if tls is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(tls)
        self.accepted = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run)
        self.threads = [self.thread]

    def __enter__(self) -> Raw:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()

    def open(
        self, timeout: float = PATIENCE, scheme: str = "couchdb", host: str = "127.0.0.1"
    ) -> Any:
        uri = f"{scheme}://{host}:{self.listener.getsockname()[1]}/a"
        return open_archive(ArchiveConfig(uri=uri, timeout=timeout))

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self.meet, args=(connection,))
            self.threads.append(thread)
            thread.start()

    def meet(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            self.connections.append(connection)
            self.serve(connection)
        connection.close()

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = lines.readline()
                    if not line:
                        return
                    head += line
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0] or 0)
                if not self.early:
                    lines.read(length)
                answer = self.answer(head)
                if answer is None:
                    return
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    connection.sendall(piece)
                if self.early:
                    return


def test_one_connection_serves_a_thousand_requests_and_their_errors() -> None:
    with Raw(lambda request: REFUSED) as server:
        archive = server.open()
        for _ in range(50):
            fails(lambda: archive.store(batch(1)))
        assert server.accepted == 1
        archive.close()


GARBAGE = [
    b"\r\n\r\n",
    b"garbage\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HTTP/1.1 abc Odd\r\n\r\n",
    b"HTTP/1.1 99999 Odd\r\n\r\n",
    b"HTTP/1.1 201 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 201 OK\r\nContent-Length: abc\r\n\r\n[]",
    b"HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"HTTP/1.1 201 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 201 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    b"HTTP/1.1 201 OK\r\nContent-Length: 3\r\n\r\n[1]",
    b"HTTP/1.1 201 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
    b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}}\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=[str(one[:50]) for one in GARBAGE])
def test_garbage_is_one_clear_line(garbage: bytes) -> None:
    with Raw(lambda head: garbage, early=True) as server:
        archive = server.open(timeout=2)
        fails(archive.prepare)
        fails(lambda: list(archive.query(Query())))
        fails(lambda: archive.follow("0"))
        archive.close()


def test_a_chunked_error_is_read_and_keeps_its_connection() -> None:
    def answer(head: bytes) -> bytes:
        body = b'{"error":"forbidden","reason":"closed"}'
        return b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            len(body),
            body,
        )

    with Raw(answer) as server:
        archive = server.open()
        for _ in range(3):
            assert "(403, closed)" in fails(archive.prepare)
        assert server.accepted == 1
        archive.close()


#: The begin of an answer, and what comes of it drop by drop.
TRICKLES = [
    (b"HTTP/1.1 201 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    (b"HTTP/1.1 201 OK\r\nX: ", b"y"),
]


def test_a_trickling_answer_does_not_hold_for_ever() -> None:
    def told(number: int) -> str:
        first, drip = TRICKLES[number]
        stop = threading.Event()

        def trickle() -> Iterator[bytes]:
            yield first
            while not stop.wait(0.05):
                yield drip

        with Raw(lambda head: trickle()) as server:
            # In which the first bytes come on the busiest machine.
            archive = server.open(timeout=8)
            said = fails(archive.prepare)
            archive.close()
            stop.set()
        return said

    # At once, as each takes some time.
    for said in at_once(len(TRICKLES), told):
        assert "did not finish its answer" in said


def test_a_413_before_the_body_was_read_is_seen() -> None:
    """CouchDB looks at Content-Length, answers and closes; sending then fails half-way."""
    too_large = (
        b"HTTP/1.1 413 Large\r\nConnection: close\r\nContent-Length: 21\r\n\r\n"
        b'{"error":"too_large"}'
    )
    empty = b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]"

    def answer(head: bytes) -> bytes:
        return too_large if b"Content-Length: 7000" in head.title() else empty

    with Raw(answer, early=True) as server:
        archive = server.open()
        (rejected,) = archive.store([message(1, data="x" * 7_000_000)])
        assert "413: too_large" in rejected.reason
        archive.close()


def test_a_server_that_never_accepts_is_given_up_by_interrupt() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):  # the queue of the kernel is full after some of these
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        uri = f"couchdb://127.0.0.1:{listener.getsockname()[1]}/a"
        archive = open_archive(ArchiveConfig(uri=uri, timeout=3600))
        caught: list[str] = []
        thread = threading.Thread(target=lambda: caught.append(fails(archive.prepare)))
        thread.start()
        archive.interrupt()
        thread.join()
        assert "interrupted" in caught[0]
        for filler in fillers:
            filler.close()


# -- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for localhost that it signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    path = tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        "key",
        "-out",
        "certificate",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    path.write_bytes((tmp_path / "key").read_bytes() + (tmp_path / "certificate").read_bytes())
    return path


def test_tls_checks_the_certificate(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(head: bytes) -> bytes:
        return b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"

    with Raw(answer, tls=certificate) as server:
        stranger = server.open(scheme="couchdbs", host="localhost")
        text = fails(stranger.prepare)
        assert "SSL_CERT_FILE" in text
        assert "self-signed certificate" in text
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusted = server.open(scheme="couchdbs", host="localhost")
        assert "requires a password" in fails(trusted.prepare)
        wrong_name = server.open(scheme="couchdbs", host="127.0.0.1")
        assert "certificate" in fails(wrong_name.prepare)
        for archive in (stranger, trusted, wrong_name):
            archive.close()


def test_tls_with_a_server_that_speaks_plain_http() -> None:
    with Raw(lambda head: b"", early=True) as server:
        archive = server.open(scheme="couchdbs", timeout=2)
        fails(archive.prepare)
        archive.close()


def test_interrupt_ends_a_tls_handshake_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"couchdbs://127.0.0.1:{listener.getsockname()[1]}/a"
        archive = open_archive(ArchiveConfig(uri=uri, timeout=3600))
        caught: list[str] = []
        thread = threading.Thread(target=lambda: caught.append(fails(archive.prepare)))
        thread.start()
        connection, _ = listener.accept()
        connection.recv(1)  # the handshake has begun
        archive.interrupt()
        thread.join()
        connection.close()
        assert "interrupted" in caught[0]
