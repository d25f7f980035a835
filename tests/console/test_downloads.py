"""Downloads from the console: whole, few at a time, watched, and never whole to the eye if cut."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet
import pytest

from habitat_like.console import downloads
from habitat_like.console.downloads import PIECE, Download, Downloads
from habitat_like.export.csv_form import CSV
from habitat_like.export.form import Form, Part
from habitat_like.export.forms import FORMS as FORMATS
from habitat_like.export.json_form import JSON, NDJSON
from tests.support import scgi
from tests.support.console import PASSWORD, Visitor, console_over
from tests.support.couch import CouchServer
from tests.support.gateway import read_all
from tests.support.observations import flight
from tests.support.wait import PATIENCE, eventually

START = 1_700_000_000
TOKEN = "0123456789abcdef" * 2
#: More than sockets hold, and more than an archive reads at once.
MANY = 1500
FORMS = ["csv", "ndjson", "json"]


def document(number: int, callsign: str, **data: Any) -> dict[str, Any]:
    created = START + number
    return {
        "_id": f"{created:010d}-{callsign.encode().hex():0>24}",
        "type": "LISTENER_INFO",
        "callsign": callsign,
        "ip": None,
        "time_created": created,
        "time_uploaded": created + 2,
        "data": data,
        "gateway": "a1",
    }


FEW = [document(n, "FEW/1", name='é "=1+1",\n\u2028', n=n) for n in range(230)]
LARGE = [document(n, "LARGE", text="x" * 3000, n=n) for n in range(MANY)]


@pytest.fixture(scope="module", params=["sqlite", "couch"])
def shared(request: pytest.FixtureRequest) -> Iterator[tuple[Visitor, CouchServer | None]]:
    couch: CouchServer | None = None
    if request.param == "couch":
        couch = request.getfixturevalue("couch_server")
        assert couch is not None
        if not couch.running():
            couch.start()
    with console_over(FEW + LARGE, couch.uri("console-downloads") if couch else None) as made:
        yield made, couch


@pytest.fixture
def visitor(shared: tuple[Visitor, CouchServer | None]) -> Visitor:
    return shared[0]


class Slow:
    """A download whose client takes what it is told to, and no more."""

    def __init__(self, visitor: Visitor, form: str, query: str = "") -> None:
        self._socket = visitor.gateway.connect()
        # So that the sender soon notices that nothing is taken.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert visitor.cookie
        path = f"/console/messages/download?callsign=LARGE&order=asc&format={form}{query}"
        self._socket.sendall(scgi.encode("GET", path, b"", {"Cookie": visitor.cookie}))
        self.head = self._socket.recv(1000)
        assert self.head.startswith(b"Status: 200"), self.head

    def rest(self) -> bytes:
        """Take all that comes."""
        with self._socket:
            return (self.head + read_all(self._socket)).partition(b"\r\n\r\n")[2]

    def leave(self) -> None:
        """Take nothing more."""
        self._socket.close()


@pytest.mark.parametrize(("form", "order"), [("csv", "desc"), ("ndjson", "asc"), ("json", "desc")])
def test_a_file_is_what_the_command_line_prints(visitor: Visitor, form: str, order: str) -> None:
    reply = visitor.get(f"/console/messages/download?callsign=few/1&order={order}&format={form}")
    assert reply.status == 200
    words = ("--callsign", "FEW/1", "--order", order, "--format", form)
    assert reply.body.decode() == visitor.gateway.cli("query", *words).stdout
    assert len(reply.body.splitlines()) >= len(FEW)


def test_a_file_of_nothing(visitor: Visitor) -> None:
    path = "/console/messages/download?callsign=nobody&format="
    header = b"time_created,time_uploaded,callsign,type,ip,gateway,_id,data\n"
    for form, body in (("csv", header), ("ndjson", b""), ("json", b"[]\n")):
        assert visitor.get(path + form).body == body


def test_the_file_has_a_name_that_tells_what_is_in_it(visitor: Visitor) -> None:
    path = "/console/messages/download?format=csv&callsign=few/1&type=LISTENER_INFO"
    reply = visitor.get(f"{path}&since={START}&until=2023-11-15T00:00:00Z")
    name = "messages-FEW_1-LISTENER_INFO-from-20231114T221320Z-to-20231115T000000Z.csv"
    assert reply.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"


def test_what_can_not_be_downloaded_is_told(visitor: Visitor) -> None:
    for query, said in (
        ("", "format: must be one of ndjson, json, csv, flat, parquet, geojson, kml, gpx"),
        ("?format=xls", "format: must be one of"),
        ("?format=csv&since=soonish", "since: &#39;soonish&#39; is not a time"),
    ):
        reply = visitor.get(f"/console/messages/download{query}")
        assert (reply.status, said in reply.text) == (400, True), reply.text


def test_two_at_a_time_and_the_place_of_one_that_is_left_is_free_again(visitor: Visitor) -> None:
    one, other = Slow(visitor, "json"), Slow(visitor, "ndjson")
    reply = visitor.get("/console/messages/download?format=csv")
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) > 0
    assert "2 downloads are already running" in reply.text
    assert visitor.get("/console/messages").status == 200  # pages have threads of their own
    one.leave()
    small = "/console/messages/download?callsign=few/1&format=csv"
    eventually(lambda: visitor.get(small).status == 200, "the place is free again")
    assert len(other.rest().splitlines()) == MANY


def test_a_download_can_be_watched_by_who_began_it(visitor: Visitor) -> None:
    def progress() -> dict[str, Any]:
        found: dict[str, Any] = visitor.json(f"/console/downloads/{TOKEN}.json")
        return found

    def once(*states: str) -> dict[str, Any]:
        return eventually(lambda: [now for now in [progress()] if now["state"] in states])[0]

    assert progress() == {"state": "unknown"}
    slow = Slow(visitor, "ndjson", f"&token={TOKEN}")
    # The two are not counted at the same moment; they agree once the client's socket is full.
    (running,) = eventually(
        lambda: [now for now in [once("running")] if now["at"] == START + now["messages"] - 1]
    )
    assert 0 < running["messages"] < MANY
    assert (running["first"], running["last"]) == (START, START + MANY - 1)
    body = slow.rest()
    whole = once("whole", "broken off")
    assert (whole["state"], whole["problem"]) == ("whole", None)
    assert (whole["messages"], whole["bytes"]) == (MANY, len(body))
    assert "TOKEN" in visitor.page("/console/messages")  # where the page's script looks

    slow = Slow(visitor, "ndjson", f"&token={TOKEN}")
    slow.leave()
    left = once("broken off")
    assert "stopped reading" in left["problem"]


def check_cut(form: str, body: bytes, reason: str) -> None:
    """See that a file tells by itself that it is not whole."""
    assert body.count(b"LARGE") < MANY
    if form == "json":
        with pytest.raises(ValueError, match="line "):
            json.loads(body)
        return
    last = body.decode().splitlines()[-1]
    said = json.loads(last)["error"] if form == "ndjson" else next(csv.reader(io.StringIO(last)))[0]
    assert said.startswith("this file is not whole: ")
    assert reason in said


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_the_archive_cut_does_not_look_whole(
    shared: tuple[Visitor, CouchServer | None], form: str
) -> None:
    visitor, couch = shared
    slow = Slow(visitor, form, f"&token={TOKEN}")
    path = visitor.gateway.directory / "archive.sqlite"
    away = path.with_name("away")
    if couch is not None:
        couch.kill()
    else:
        path.rename(away)
    try:
        check_cut(form, slow.rest(), "CouchDB at" if couch else "no archive at")
        watched = visitor.json(f"/console/downloads/{TOKEN}.json")
        assert watched["state"] == "broken off"
        assert ("CouchDB at" if couch else "no archive at") in watched["problem"]
    finally:
        if couch is not None:
            couch.start()
        else:
            away.rename(path)
    eventually(lambda: '"message":"download ended","user":"alice"' in visitor.gateway.log)
    assert "Traceback" not in visitor.gateway.log


def test_a_file_that_a_stop_cut_does_not_look_whole() -> None:
    with console_over(LARGE) as visitor:
        slow = Slow(visitor, "ndjson")
        visitor.gateway.signal(signal.SIGTERM)
        eventually(lambda: '"stopping"' in visitor.gateway.log)
        check_cut("ndjson", slow.rest(), "the gateway stopped")
        assert visitor.gateway.wait() == 0


def test_a_stop_within_a_long_line_is_told_on_a_line_of_its_own() -> None:
    line = b'{"string": "' + b"x" * 2 * PIECE + b'"}\n'
    stopping = itertools.chain([False], itertools.repeat(True))
    made = Downloads(lambda: 0, lambda: next(stopping), lambda: PATIENCE)
    started = Download(user="alice", name="x", begun=0.0)
    body = made._run(started, NDJSON, (Part(line, 1) for _ in range(1)))
    *_, before, last = b"".join(body).splitlines()
    assert line.startswith(before)
    assert "the gateway stopped" in json.loads(last)["error"]


def test_a_script_downloads_with_its_password(visitor: Visitor) -> None:
    word = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    script = Visitor(visitor.gateway)
    path = "/console/messages/download?callsign=few/1&format=ndjson"
    assert script.get(path, {"Accept": "*/*"}).status == 401
    reply = script.get(path, {"Accept": "*/*", "Authorization": f"Basic {word}"})
    assert len(reply.body.splitlines()) == len(FEW)


# -- giving way


@pytest.mark.parametrize("uploads", [0, 1, 10**9])
def test_downloads_pause_for_uploads_alone(monkeypatch: pytest.MonkeyPatch, uploads: int) -> None:
    slept: list[float] = []
    monkeypatch.setattr("habitat_like.console.downloads.time.sleep", slept.append)
    written = 0

    def parts() -> Iterator[Part]:
        nonlocal written
        for _ in range(20):
            end = time.thread_time() + 0.0005
            while time.thread_time() < end:
                pass
            written += uploads
            yield Part(b"x", 1)

    began = time.thread_time()
    made = Downloads(lambda: written, lambda: False, lambda: PATIENCE)
    started = Download(user="alice", name="x", begun=0.0)
    body = made._run(started, NDJSON, parts())  # type: ignore[arg-type]
    assert b"".join(body) == b"x" * 20
    worked = time.thread_time() - began
    if not uploads:
        assert slept == []
    else:
        assert len(slept) == 20
        assert max(slept) <= uploads * downloads.PAUSE
        assert sum(slept) <= worked / downloads.SHARE
    if uploads == 10**9:
        assert sum(slept) > 0.01 * (1 / downloads.SHARE - 1) * 0.9


def test_only_so_many_ended_downloads_are_remembered() -> None:
    made = Downloads(lambda: 0, lambda: False, lambda: PATIENCE)
    for number in range(downloads.REMEMBERED + 1):
        made._begin(Download(user="alice", name="x", begun=0.0), f"{number:032x}")
        made._running = 0
    assert made.find(f"{0:032x}", "alice") is None
    assert made.find(f"{1:032x}", "alice") is not None
    assert made.find(f"{1:032x}", "bob") is None


# -- other formats, and a part of the messages


@pytest.fixture(scope="module")
def flown() -> Iterator[Visitor]:
    with console_over(flight()) as made:
        yield made


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("flat", ("--flat",)),
        ("geojson", ("--format", "geojson")),
        ("kml", ("--format", "kml")),
        ("gpx", ("--format", "gpx")),
        ("parquet", ("--format", "parquet")),
    ],
)
def test_a_file_is_what_is_exported(flown: Visitor, form: str, words: tuple[str, ...]) -> None:
    query = "payload=hab-1&box=-0.0990,51,0,52&until=1700000050&order=asc"
    reply = flown.get(f"/console/messages/download?format={form}&{query}")
    assert reply.status == 200
    path = flown.gateway.directory / f"out.{form}"
    chosen = ("--payload", "HAB-1", "--box", "-0.0990,51,0,52", "--until", "1700000050")
    done = flown.gateway.cli("export", *words, *chosen, str(path))
    assert done.returncode == 0, done.stderr
    if form == "parquet":
        assert pyarrow.parquet.read_table(io.BytesIO(reply.body)).num_rows == 20
    assert reply.body == path.read_bytes()
    end = "csv" if form == "flat" else form
    assert f"messages-hab-1-to-20231114T221410Z.{end}" in reply.headers["content-disposition"]


def test_what_was_left_out_is_told_to_who_watches(flown: Visitor) -> None:
    flown.get(f"/console/messages/download?format=kml&token={TOKEN}")
    watched = flown.json(f"/console/downloads/{TOKEN}.json")
    assert (watched["state"], watched["left_out"]) == ("whole", {"a position": 1})
    assert watched["messages"] == len(flight()) - 1
    assert watched["first"] < watched["last"] == watched["at"]


def test_a_box_that_is_none_is_told(flown: Visitor) -> None:
    reply = flown.get("/console/messages/download?format=kml&box=1,2,3")
    assert (reply.status, "is not west,south,east,north" in reply.text) == (400, True)


def test_the_page_has_a_form_for_every_format(flown: Visitor) -> None:
    page = flown.page("/console/messages?type=TELEM&since=2023-11-14")
    form = page[page.index("More formats") :]
    assert '<input type="hidden" name="type" value="TELEM">' in form
    for name in FORMATS:
        assert f'<option value="{name}"' in form


def idle(form: Form, silent: float) -> tuple[bytes, Download]:
    """What a client gets of parts that have nothing for it, each after so many seconds."""
    clock = 0.0

    def parts() -> Iterator[Part]:
        nonlocal clock
        yield Part(b"<", 0)
        for _ in range(20):
            clock += silent
            yield Part(b"", 1)
        yield Part(b">", 0)

    made = Downloads(lambda: 0, lambda: False, lambda: 10.0)
    started = Download(user="alice", name="x", begun=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("habitat_like.console.downloads.time.monotonic", lambda: clock)
        return b"".join(made._run(started, form, parts())), started  # type: ignore[arg-type]


def test_the_connection_is_kept_while_nothing_matches() -> None:
    body, started = idle(JSON, 3.0)
    assert (body, started.state) == (b"<" + b"\n" * 20 + b">", "whole")
    assert idle(JSON, 0.01)[0] == b"<>"
    # Between rows of CSV there is nothing that means nothing.
    body, started = idle(CSV, 3.0)
    assert started.state == "broken off"
    assert "nothing to send for 12 seconds" in (started.problem or "")
    assert idle(CSV, 0.4)[1].state == "whole"
