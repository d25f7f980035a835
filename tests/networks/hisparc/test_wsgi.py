"""The WSGI application, under a real WSGI server, with the INI file of the HiSPARC datastore."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from habitat_like.config.keys import ConfigError
from habitat_like.networks import datastore
from habitat_like.statistics import StatisticsReader
from tests.conftest import HabitatFactory
from tests.faults.shim import Act, Op, Shim
from tests.networks.hisparc.support import FORM, LIST, Network, as_utf8, event, fields
from tests.support.net import ROOT, free_port, short_directory
from tests.support.reply import Reply, http_request
from tests.support.wait import PATIENCE, eventually

#: A server in a process of its own: logging and the journal are a process's.
SERVER = """
import functools, signal, sys, threading
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator
from habitat_like import wsgi

class Quiet(WSGIRequestHandler):
    def log_message(self, *_): pass

ours = functools.partial(wsgi.application, configfile=sys.argv[1])
server = make_server("127.0.0.1", int(sys.argv[2]), validator(ours), handler_class=Quiet)
# Not an exception in the handler: wsgiref swallows one that comes while it answers.
stop = threading.Thread(target=server.shutdown)
signal.signal(signal.SIGTERM, lambda *_: stop.start())
server.serve_forever()
"""


class Server:
    """A WSGI server with the application, and the directory of its files."""

    def __init__(
        self, directory: Path, more: str = "", general: str = "", shim: Shim | None = None
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.ini = directory / "config.ini"
        (directory / "stations.csv").write_text(LIST)
        self.ini.write_text(
            f"[General]\nlog={directory}/log\nloglevel=debug\n"
            f"station_list={directory}/stations.csv\ndata_dir={directory}/data\n{general}\n"
            f"[Writer]\nsleep=5\n{more}\n"
        )
        with (directory / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                # The shim wants to see the last word.
                [sys.executable, "-c", SERVER, str(self.ini), str(self.port), "serve"],
                env={**os.environ, "PYTHONPATH": str(ROOT), **(shim.environ if shim else {})},
                stdout=errors,
                stderr=errors,
            )
        eventually(lambda: self.request("GET", "/message"), "the server answers")

    def request(self, method: str, path: str, body: bytes = b"") -> Reply:
        return http_request(("127.0.0.1", self.port), method, path, body, FORM)

    def code(self, form: dict[str, str], path: str = "/hisparc/upload") -> str:
        reply = self.request("POST", path, as_utf8(form))
        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain"), reply
        return reply.text

    def errors(self) -> str:
        return (self.directory / "stderr").read_text()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(**more: Any) -> Server:
        made.append(Server(short_directory(), **more))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()


def query(server: Server) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "habitat_like.cli", "query", "--format", "ndjson"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HABITAT_ARCHIVE_URI": f"sqlite:{server.directory}/data/archive.sqlite",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_answers_the_codes_and_archives_what_it_took(server: Callable[..., Server]) -> None:
    ours = server()
    assert ours.code(fields([event(number) for number in range(100)])) == "100"
    assert ours.code(fields([event()], 1)) == "206"
    assert ours.code(fields([event()], password="no")) == "203"
    assert ours.code({**fields([event()]), "checksum": "no"}) == "201"
    assert ours.code(fields(b"cos\nsystem\n(S'true'\ntR.")) == "208"
    assert ours.code({"station_id": "501"}, path="/anywhere") == "400"
    (documents,) = eventually(
        lambda: [found for found in [query(ours)] if len(found) >= 100], "the events are archived"
    )
    assert len(documents) == 100
    assert {one["data"]["cluster"] for one in documents} == {"amsterdam"}
    assert documents[0]["ip"] == "127.0.0.1"
    eventually(lambda: '"archive ready"' in (ours.directory / "log").read_text(), "it is logged")
    assert ours.stop() == 0
    assert ours.errors() == ""
    with StatisticsReader(ours.directory / "data" / "journal.sqlite") as statistics:
        assert statistics.totals() == {"HISPARC_EVENT": 100}
        station = statistics.station("501")
    assert station is not None
    assert (station.messages, station.clock_offset) == (100, None)


def test_maintenance_and_access_rules_hold_here_too(server: Callable[..., Server]) -> None:
    directory = short_directory()
    config = directory / "habitat.yml"
    config.write_text(
        f"journal: {{path: {directory}/journal.sqlite}}\n"
        f"archive: {{uri: 'sqlite:{directory}/archive.sqlite'}}\n"
        "access: {blocked_callsigns: ['502']}\n"
    )
    (directory / "maintenance").write_text("back at noon")
    ours = server(more=f"[Habitat]\nconfig={config}")
    upload = as_utf8(fields([event()]))
    reply = ours.request("POST", "/upload", upload)
    assert (reply.status, reply.text) == (503, "back at noon\n")
    (directory / "maintenance").unlink()
    eventually(lambda: ours.request("POST", "/upload", upload).text == "100")
    assert ours.request("POST", "/upload", as_utf8(fields([event()], 502, "geheim"))).status == 403


def test_it_has_the_other_actions_and_limits_too(server: Callable[..., Server]) -> None:
    ours = server()
    body = json.dumps(
        {
            "callsign": "M0ZDR",
            "type": "LISTENER_INFO",
            "time_created": 1,
            "time_uploaded": 1,
            "data": {"name": "Adam"},
        }
    ).encode()
    reply = ours.request("POST", "/hisparc/message", body)
    assert (reply.status, reply.body) == (200, b"OK")
    assert ours.request("POST", "/message", b"{}").status == 400
    reply = ours.request("DELETE", "/message")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert ours.request("POST", "/upload", b"x" * 1_048_577).status == 413


OWN = """
import msgspec
from habitat_like.http import Response, action
from habitat_like.message import Message, Listener
from habitat_like.message_server import SimpleSink

class Box(msgspec.Struct):
    volts: float

outcomes = []

@action(lane="fast")
def told(application, ip, args):
    data = {"volts": 1.5}
    application.server.push_message(Message(Listener("BOX"), "BOX", len(outcomes), 1, data))
    return Response(settled=lambda durable: outcomes.append(durable))

@action(methods=("GET",))
def outcomes_so_far(application, ip, args):
    return outcomes

class Note(SimpleSink):
    types = frozenset({"BOX"})
    def message(self, message):
        print("heard", message.listener.callsign, flush=True)

class Refuse(SimpleSink):
    attempts = 1
    def message(self, message):
        raise ValueError("not this one")
"""


def own_things(directory: Path, sinks: str = "own_things.Note") -> str:
    """The INI file's lines for a configuration with modules beside it."""
    (directory / "own_things.py").write_text(OWN)
    config = directory / "config.yml"
    config.write_text(
        f"journal: {{path: {directory}/journal.sqlite}}\n"
        f"archive: {{uri: 'sqlite:{directory}/archive.sqlite'}}\n"
        "types: {BOX: own_things.Box}\n"
        "gateway: {actions: [message, own_things.told, own_things.outcomes_so_far]}\n"
        f"sinks: [{sinks}]\n"
    )
    return f"[Habitat]\nconfig={config}"


def box() -> bytes:
    head = {"callsign": "BOX", "type": "BOX", "time_created": 1, "time_uploaded": 1}
    return json.dumps({**head, "data": {"volts": 1.5}}).encode()


def test_types_actions_and_sinks_beside_the_configuration_work(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    ours = server(more=own_things(tmp_path))
    assert ours.request("POST", "/message", box()).text == "OK"
    assert ours.request("POST", "/told").text == "OK"
    eventually(lambda: "heard BOX" in ours.errors(), "the sink has it")


def test_an_action_is_told_that_its_message_could_not_be_stored(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    disk = Shim(tmp_path)
    disk.environ["FAULTS_ROOT"] = "/"
    ours = server(more=own_things(tmp_path), shim=disk)
    assert ours.request("POST", "/told").status == 200
    disk.arm(0, Op.WRITE, Act.FAIL, "journal.sqlite-wal", error=errno.EIO)
    assert ours.request("POST", "/told").status == 503
    outcomes = json.loads(ours.request("GET", "/outcomes_so_far").body)
    assert outcomes == [True, False]


def test_its_dead_letters_are_counted(server: Callable[..., Server], tmp_path: Path) -> None:
    ours = server(more=own_things(tmp_path, "own_things.Refuse"))
    assert ours.request("POST", "/message", box()).text == "OK"

    def dead() -> int:
        with sqlite3.connect(tmp_path / "journal.sqlite") as journal:
            return int(journal.execute("SELECT count(*) FROM dead_letter").fetchone()[0])

    eventually(lambda: dead() == 1, "it is refused")


def test_its_requests_are_counted(server: Callable[..., Server]) -> None:
    ours = server()
    assert ours.code(fields([event()])) == "100"
    assert ours.code(fields([event()], password="no")) == "203"
    ours.stop()
    with StatisticsReader(ours.directory / "data" / "journal.sqlite") as statistics:
        counted = {(one.action, one.status): one.requests for one in statistics.requests(0, 2**40)}
    assert counted["hisparc", 200] == 2


def test_what_it_took_is_on_disk_before_its_answer(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        f"journal: {{path: {tmp_path}/journal.sqlite}}\n"
        "archive: {uri: 'couchdb://127.0.0.1:9/nowhere'}\n"
    )
    ours = server(more=f"[Habitat]\nconfig={config}")
    assert ours.code(fields([event(number) for number in range(70)])) == "100"
    ours.process.kill()
    ours.process.wait()
    with sqlite3.connect(tmp_path / "journal.sqlite") as journal:
        assert journal.execute("SELECT count(*) FROM message").fetchone() == (70,)


def test_a_checkpoint_that_fails_at_its_fsync_ends_the_process(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    disk = Shim(tmp_path)
    disk.environ["FAULTS_ROOT"] = "/"
    running = server(shim=disk)
    assert running.code(fields([event()])) == "100"
    disk.arm(0, Op.SYNC, Act.FAIL, "data/journal.sqlite", error=errno.EIO)
    numbers = itertools.count(1)

    def has_ended() -> bool:
        # There has to be something to checkpoint, which may end it in the middle of its answer.
        if running.process.poll() is None:
            reply = running.request("POST", "/upload", as_utf8(fields([event(next(numbers))])))
            assert (reply.status, reply.text) == (200, "100")
        return running.process.poll() is not None

    eventually(has_ended, "the process ends")
    assert running.process.returncode == 1
    assert "the journal can't go on" in (running.directory / "log").read_text()


def test_a_second_process_on_the_journal_is_answered_503(server: Callable[..., Server]) -> None:
    ours = server()
    assert ours.code(fields([event()])) == "100"
    port = free_port()
    second = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(ours.ini), str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    try:
        body = as_utf8(fields([event()]))
        address = ("127.0.0.1", port)
        reply = eventually(lambda: http_request(address, "POST", "/upload", body, FORM))
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    finally:
        second.terminate()
    _, errors = second.communicate(timeout=PATIENCE)
    assert b"is in use by" in errors.splitlines()[0]


def test_it_forwards_to_a_running_gateway(
    server: Callable[..., Server], habitat: HabitatFactory
) -> None:
    network = Network(habitat(start=False))
    network.gateway.start()
    ours = server(more=f"[Habitat]\nsocket={network.gateway.socket_path}")
    assert ours.code(fields([event(1)])) == "100"
    assert ours.code(fields([event(1)], password="no")) == "203"
    assert ours.request("GET", "/upload").status == 405
    assert len(network.archived()) == 1
    network.gateway.stop()
    reply = ours.request("POST", "/upload", as_utf8(fields([event(2)])))
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert not (ours.directory / "data").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no section [General]"),
        ("[Other]\n", "there is no section [General]"),
        ("[General]\nlog=/x\n", "[General] data_dir is missing"),
        ("[General]\ndata_dir=/x\n", "[General] station_list is missing"),
        ("[General]\ndata_dir=/x\nstation_list=/y\nloglevel=loud\n", "[General] loglevel: 'loud'"),
        ("[General]\n[Writer]\nsleep=long\n", "could not convert string to float"),
        ("[General]\ndata_dir=%(x)s\n", "Bad value substitution"),
        ("nonsense\n", "no section headers"),
        ("[General]\n[Habitat]\nplace=/x\n", "[Habitat] place: expected socket or config"),
        ("[General]\n[Habitat]\nsocket=/x\nconfig=/y\n", "[Habitat]: give either"),
    ],
)
def test_an_ini_file_that_can_t_be_used_is_told_in_one_line(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "config.ini"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        datastore.read(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_datastore_s_own_example_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text(
        "[General]\nlog=/tmp/hisparc.log\nstation_list=/tmp/station_list.csv\n"
        "data_dir=/tmp/datastore\n"
    )
    config, socket, _ = datastore.read(str(path))
    assert socket is None
    assert config.networks == {"hisparc": {"station_list": "/tmp/station_list.csv"}}
    assert config.journal.path == "/tmp/datastore/journal.sqlite"
    assert config.archive.uri == "sqlite:/tmp/datastore/archive.sqlite"
    assert (config.log.file, config.log.level) == ("/tmp/hisparc.log", "info")
