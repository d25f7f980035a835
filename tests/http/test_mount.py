"""A WSGI application at a path of the gateway: its requests, its answers, its end."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from habitat_like.http import scgi
from habitat_like.http.connection import Visit
from habitat_like.http.mount import MAX_WAITING, Mount
from tests.support import scgi as wire
from tests.support.gateway import read_all
from tests.support.reply import Reply
from tests.support.wait import PATIENCE, eventually

Application = Callable[[dict[str, Any], Any], Any]
LIMIT = 1 << 20


class Mounted:
    """An application that is served."""

    def __init__(
        self, application: Application, *, threads: int = 2, timeout: float = PATIENCE
    ) -> None:
        self.counted: Counter[int] = Counter()
        self.interrupted = threading.Event()
        self.mount = Mount(
            "console",
            application,
            threads,
            timeout,
            lambda _, status: self.counted.update([status]),
            self.interrupted.set,
        )
        self.mount.start()
        self._ends: list[socket.socket] = []

    def send(self, method: str = "GET", path: str = "/", **more: Any) -> socket.socket:
        """Hand a request over; returns the client's end of its connection."""
        client = self.offer(method, path, **more)
        assert client is not None, "not taken"
        return client

    def offer(self, method: str = "GET", path: str = "/", **more: Any) -> socket.socket | None:
        """The same; None if it is not taken."""
        theirs, ours = socket.socketpair()
        theirs.settimeout(PATIENCE)
        self._ends.append(theirs)
        request = scgi.parse(wire.encode(method, f"/console{path}", **more), LIMIT, LIMIT)
        assert not isinstance(request, int)
        ours.setblocking(False)  # as the gateway's thread has them
        name = path.partition("?")[0].removeprefix("/")
        if self.mount.put(Visit(ours.fileno(), request, name)):
            ours.detach()
            return theirs
        ours.close()
        return None

    def ask(self, method: str = "GET", path: str = "/", **more: Any) -> Reply:
        """The answer to a request."""
        return wire.decode(read_all(self.send(method, path, **more)))

    def end(self, timeout: float = PATIENCE) -> list[str]:
        """Stop; the names of threads that did not."""
        self.mount.stop()
        return self.mount.join(time.monotonic() + timeout)

    def close(self) -> None:
        for end in self._ends:
            end.close()
        assert self.end() == []


@pytest.fixture
def mounted() -> Iterator[Callable[..., Mounted]]:
    """Makes served applications."""
    with contextlib.ExitStack() as stack:

        def make(application: Application, **more: Any) -> Mounted:
            made = Mounted(application, **more)
            stack.callback(made.close)
            return made

        yield make


def echo(environ: dict[str, Any], start: Any) -> list[bytes]:
    """Answers what it was asked."""
    start("200 OK", [("Content-Type", "text/plain")])
    keys = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR")
    lines = [f"{key}={environ[key]}" for key in (*keys, "wsgi.url_scheme")]
    return ["\n".join(lines).encode(), b"\n", environ["wsgi.input"].read()]


def test_a_request_reaches_the_application_as_pep_3333_tells(
    mounted: Callable[..., Mounted],
) -> None:
    def checked(environ: dict[str, Any], start: Any) -> Any:
        return validator(plain)(environ, start)

    def plain(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [environ["SCRIPT_NAME"].encode(), b" ", environ["PATH_INFO"].encode()]

    made = mounted(checked)
    assert made.ask("GET", "/a/b", headers={"Content-Type": "text/plain"}).body == b"/console /a/b"


def test_method_path_query_address_and_body_are_as_they_came(
    mounted: Callable[..., Mounted],
) -> None:
    made = mounted(echo)
    params = {"SCRIPT_NAME": "/habitat", "REMOTE_ADDR": "192.0.2.1", "HTTPS": "on"}
    reply = made.ask("POST", "/x?y=z", body=b"form", params=params)
    assert reply.text.splitlines() == [
        "REQUEST_METHOD=POST",
        "SCRIPT_NAME=/habitat/console",
        "PATH_INFO=/x",
        "QUERY_STRING=y=z",
        "REMOTE_ADDR=192.0.2.1",
        "wsgi.url_scheme=https",
        "form",
    ]


def test_an_answer_goes_out_piece_by_piece(mounted: Callable[..., Mounted]) -> None:
    go_on = threading.Event()

    def streaming(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        yield b"first"
        assert go_on.wait(PATIENCE)
        yield b"second"

    client = mounted(streaming).send()
    seen = b""
    while not seen.endswith(b"first"):
        seen += client.recv(4096)
    go_on.set()
    assert read_all(client) == b"second"


def test_a_failure_before_the_answer_is_a_500_and_the_next_request_is_served(
    mounted: Callable[..., Mounted], caplog: pytest.LogCaptureFixture
) -> None:
    def failing(environ: dict[str, Any], start: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/bad":
            raise KeyError("x")
        start("200 OK", [])
        return [b"fine"]

    made = mounted(failing, threads=1)
    assert made.ask(path="/bad").status == 500
    assert made.ask().body == b"fine"
    assert [record.message for record in caplog.records] == ["a page failed"]
    eventually(lambda: made.counted == {500: 1, 200: 1})


def test_a_failure_in_mid_answer_ends_it_and_closes_what_was_open(
    mounted: Callable[..., Mounted],
) -> None:
    closed = threading.Event()

    def failing(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        try:
            start("200 OK", [])
            yield b"half"
            raise KeyError("x")
        finally:
            closed.set()

    assert mounted(failing).ask().body == b"half"
    assert closed.wait(PATIENCE)


def test_a_header_can_not_be_split(mounted: Callable[..., Mounted]) -> None:
    def splitting(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Location", "/x\r\nSet-Cookie: a=b")])
        return [b""]

    assert mounted(splitting).ask().status == 500


def test_a_client_that_takes_nothing_is_left_in_time(mounted: Callable[..., Mounted]) -> None:
    def endless(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        while True:
            yield bytes(1 << 16)

    made = mounted(endless, threads=1, timeout=0.2)
    made.send()
    eventually(lambda: made.counted[200] == 1)


def test_a_client_that_went_away_costs_nothing(mounted: Callable[..., Mounted]) -> None:
    made = mounted(lambda _, start: (start("200 OK", []), [bytes(1 << 20)])[1], threads=1)
    made.send().close()
    assert len(made.ask().body) == 1 << 20


def test_no_more_requests_wait_than_there_is_room(mounted: Callable[..., Mounted]) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start: Any) -> list[bytes]:
        entered.set()
        assert go_on.wait(PATIENCE)
        start("200 OK", [])
        return [b""]

    made = mounted(slow, threads=1)
    made.send()
    assert entered.wait(PATIENCE)
    for _ in range(MAX_WAITING):
        made.send()
    assert made.offer() is None
    go_on.set()
    eventually(lambda: made.counted[200] == MAX_WAITING + 1)


def test_stopping_breaks_off_what_is_streamed_and_refuses_what_waits(
    mounted: Callable[..., Mounted],
) -> None:
    def endless(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        while True:
            yield bytes(1 << 10)

    made = mounted(endless, threads=1)
    streamed = made.send()
    assert streamed.recv(1)
    waiting = made.send()
    reader = threading.Thread(target=read_all, args=(streamed,))
    reader.start()
    assert made.end() == []
    reader.join()
    assert made.interrupted.is_set()
    assert wire.decode(read_all(waiting)).status == 503
    assert made.offer() is None


def test_an_application_that_notices_the_stop_can_still_say_so(
    mounted: Callable[..., Mounted],
) -> None:
    stopping = threading.Event()

    def noticing(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        while not stopping.is_set():
            yield bytes(1 << 10)
        yield b"broken off"

    made = mounted(noticing, threads=1)
    streamed = made.send()
    assert streamed.recv(1)
    stopping.set()
    made.mount.stop()
    assert read_all(streamed).endswith(b"broken off")


def test_a_client_that_takes_nothing_does_not_hold_up_a_stop(
    mounted: Callable[..., Mounted],
) -> None:
    entered = threading.Event()

    def endless(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        while True:
            yield bytes(1 << 20)
            entered.set()

    made = mounted(endless, threads=1, timeout=3600)
    streamed = made.send()
    streamed.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while not entered.is_set():
        streamed.recv(1 << 16)
    # It is given half of the time that there is.
    assert made.end(20) == []


def test_a_page_that_does_not_end_is_named(mounted: Callable[..., Mounted]) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hanging(environ: dict[str, Any], start: Any) -> list[bytes]:
        entered.set()
        assert go_on.wait(PATIENCE)
        start("200 OK", [])
        return [b""]

    made = mounted(hanging, threads=1)
    made.send()
    assert entered.wait(PATIENCE)
    assert made.end(timeout=0.05) == ["console 0"]
    go_on.set()


def test_the_environment_names_where_errors_go(mounted: Callable[..., Mounted]) -> None:
    seen: list[Any] = []

    def noting(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.append(environ["wsgi.errors"])
        start("204 No Content", [])
        return []

    assert mounted(noting).ask().status == 204
    assert seen == [sys.stderr]


def test_it_can_be_started_again(mounted: Callable[..., Mounted]) -> None:
    made = mounted(echo)
    assert made.end() == []
    assert made.offer() is None
    made.mount.start()
    assert made.ask().status == 200


def test_what_is_done_after_an_answer_keeps_nobody_waiting(
    mounted: Callable[..., Mounted],
) -> None:
    is_read = threading.Event()
    waited: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"whole"

        def close(self) -> None:
            waited.append(is_read.wait(PATIENCE))

    def application(environ: dict[str, Any], start: Any) -> Body:
        start("200 OK", [("Content-Type", "text/plain")])
        return Body()

    made = mounted(application)
    assert made.ask().text == "whole"
    is_read.set()
    eventually(lambda: waited == [True], "the work after it was done when the answer was there")
