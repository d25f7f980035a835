"""The gateway's socket: taken over, refused, handed on and taken away."""

from __future__ import annotations

import grp
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from habitat_like.http.listening_socket import is_live
from tests.conftest import HabitatFactory, NginxFactory
from tests.support.gateway import Habitat
from tests.support.log import refusal, wait_for_log
from tests.support.reply import http_request
from tests.support.station import answer, archived, body, upload
from tests.support.wait import PATIENCE, eventually

#: Threads that upload during restarts.
STATIONS = 8
RESTARTS = 4


def rival(habitat: HabitatFactory, gateway: Habitat, *, journal: bool = False) -> Habitat:
    """Another gateway, not started, with the same socket or else the same journal."""
    if journal:
        return habitat({"journal": {"path": str(gateway.journal_path)}}, start=False)
    return habitat({"gateway": {"socket": str(gateway.socket_path)}}, start=False)


def test_a_socket_left_by_a_crash_is_taken_over(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    gateway.kill()
    assert stat.S_ISSOCK(gateway.socket_path.stat().st_mode)
    with pytest.raises(ConnectionRefusedError):
        gateway.connect()
    gateway.start()
    assert gateway.scgi("POST", "/message", body(2)).status == 200
    assert archived(gateway) == [1, 2]


def test_a_live_socket_is_refused_and_left_alone(habitat: HabitatFactory) -> None:
    gateway = habitat()
    inode = gateway.socket_path.stat().st_ino
    with gateway.connect() as connection:
        line = refusal(rival(habitat, gateway))
        assert str(gateway.socket_path) in line
        assert "another instance" in line
        assert gateway.socket_path.stat().st_ino == inode
        connection.sendall(b"")
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]
    assert gateway.stop() == 0


def test_a_socket_of_some_other_program_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(gateway.socket_path))
        other.listen(0)
        # Its queue is full: it is alive all the same.
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(str(gateway.socket_path))
        assert "another instance" in refusal(gateway)
        for client in waiting:
            client.close()
        other.accept()[0].close()
    assert gateway.socket_path.exists()


def test_a_datagram_socket_is_refused_and_left_alone(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(gateway.socket_path))
        assert str(gateway.socket_path) in refusal(gateway)
    assert gateway.socket_path.exists()


def test_two_gateways_never_share_a_journal(habitat: HabitatFactory) -> None:
    gateway = habitat()
    second = rival(habitat, gateway, journal=True)
    line = refusal(second)
    assert str(gateway.journal_path) in line
    assert str(gateway.pid) in line
    assert not second.socket_path.exists()
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    assert archived(gateway) == [1]


def test_what_is_no_socket_is_refused_and_left_alone(habitat: HabitatFactory) -> None:
    makers: list[Callable[[Path], object]] = [
        lambda path: path.write_text("precious"),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("nowhere"),
    ]
    for make in makers:
        gateway = habitat(start=False)
        make(gateway.socket_path)
        before = gateway.socket_path.lstat()
        assert "not a socket" in refusal(gateway)
        after = gateway.socket_path.lstat()
        assert (before.st_ino, before.st_mode, before.st_size) == (
            after.st_ino,
            after.st_mode,
            after.st_size,
        )


@pytest.mark.parametrize("mode", ["0600", "0660", "0666", "777"])
def test_the_socket_has_the_mode_that_is_configured(habitat: HabitatFactory, mode: str) -> None:
    gateway = habitat({"gateway": {"socket_mode": mode}})
    assert stat.S_IMODE(gateway.socket_path.stat().st_mode) == int(mode, 8)


def test_the_umask_does_not_change_the_mode(habitat: HabitatFactory) -> None:
    before = os.umask(0o077)
    try:
        gateway = habitat()
    finally:
        os.umask(before)
    assert stat.S_IMODE(gateway.socket_path.stat().st_mode) == 0o660


def test_the_socket_has_the_group_that_is_configured(habitat: HabitatFactory) -> None:
    mine = set(os.getgroups()) if os.getuid() else {group.gr_gid for group in grp.getgrall()}
    others = [gid for gid in mine if gid != os.getegid()] or [os.getegid()]
    group = grp.getgrgid(others[-1])
    gateway = habitat({"gateway": {"socket_group": group.gr_name}})
    assert gateway.socket_path.stat().st_gid == group.gr_gid


def test_an_unknown_group_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"socket_group": "no-such-group"}}, start=False)
    assert "'no-such-group'" in refusal(gateway, 2)
    assert not gateway.socket_path.exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root has every right")
def test_a_directory_without_rights_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    locked = gateway.directory / "locked"
    locked.mkdir(mode=0o500)
    gateway.config["gateway"]["socket"] = str(locked / "s")
    assert "check the directory" in refusal(gateway)


def test_a_directory_that_can_not_be_made_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    (gateway.directory / "file").touch()
    gateway.config["gateway"]["socket"] = str(gateway.directory / "file" / "s")
    assert "gateway.socket" in refusal(gateway)


def test_the_sockets_directory_is_made(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    gateway.socket_path = gateway.directory / "a" / "b" / "s"
    gateway.config["gateway"]["socket"] = str(gateway.socket_path)
    gateway.start()
    assert gateway.scgi("POST", "/message", body()).status == 200


def test_no_socket_is_left_after_a_stop(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.stop() == 0
    assert not gateway.socket_path.exists()


def test_the_socket_of_a_successor_is_left(habitat: HabitatFactory) -> None:
    gateway = habitat()
    with socket.socket(socket.AF_UNIX) as successor:
        own = gateway.directory / "t"
        successor.bind(str(own))
        successor.listen()
        own.replace(gateway.socket_path)
        assert gateway.stop() == 0
        gateway.connect().close()


def test_a_socket_that_somebody_removed_is_no_reason_to_fail(habitat: HabitatFactory) -> None:
    gateway = habitat()
    gateway.socket_path.unlink()
    assert gateway.stop() == 0


def test_a_socket_that_somebody_removed_is_made_again(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"socket_mode": "0600"}})
    for number in range(2):
        gateway.socket_path.unlink()
        eventually(lambda: is_live(gateway.socket_path))
        assert stat.S_IMODE(gateway.socket_path.stat().st_mode) == 0o600
        assert gateway.scgi("POST", "/message", body(number)).status == 200
    wait_for_log(gateway, "the socket was removed, and is made anew", 2)
    assert archived(gateway) == [0, 1]
    assert gateway.stop() == 0
    assert not gateway.socket_path.exists()


def test_a_socket_s_directory_that_somebody_removed_is_made_again(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    gateway.socket_path = gateway.directory / "a" / "s"
    gateway.config["gateway"]["socket"] = str(gateway.socket_path)
    gateway.start()
    directory = gateway.socket_path.parent
    gateway.signal(signal.SIGSTOP)  # else it might make it again half-way
    directory.rename(gateway.directory / "elsewhere")
    directory.write_text("in the way")
    gateway.signal(signal.SIGCONT)
    wait_for_log(gateway, "the socket is gone, nobody can connect")
    directory.unlink()
    eventually(lambda: is_live(gateway.socket_path))
    assert gateway.scgi("POST", "/message", body()).status == 200


def test_more_than_one_inherited_socket_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    wrapper = gateway.directory / "two.py"
    # LISTEN_PID is only known inside the process.
    wrapper.write_text(
        "import os, sys\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2')\n"
        "from habitat_like.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    gateway.write_config()
    read, write = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, str(wrapper), "serve"],
            env=gateway.environ,
            cwd=gateway.directory,
            pass_fds=(read, write),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == 1
    assert "one socket" in done.stderr
    assert "Traceback" not in done.stderr


def test_variables_meant_for_another_process_are_ignored(habitat: HabitatFactory) -> None:
    gateway = habitat(environ={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    assert gateway.scgi("POST", "/message", body()).status == 200
    assert gateway.stop() == 0


class Station(threading.Thread):
    """A station that uploads one message after another until it is told to stop."""

    def __init__(self, address: tuple[str, int], first: int) -> None:
        super().__init__()
        self.replies: list[tuple[int, int | str]] = []
        self.sent = 0
        self._address = address
        self._first = first
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            number = self._first + self.sent
            outcome: int | str
            try:
                outcome = http_request(self._address, "POST", "/message", body(number)).status
            except Exception as error:
                outcome = repr(error)
            self.replies.append((number, outcome))
            self.sent += 1

    def stop(self) -> None:
        self._stopping.set()


def test_restarts_under_load_behind_nginx_fail_no_request(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat(activated=True)
    address = nginx(gateway).address
    stations = [Station(address, first) for first in range(0, STATIONS * 100_000, 100_000)]
    for station in stations:
        station.start()
    try:
        for _ in range(RESTARTS):
            counts = [station.sent for station in stations]
            eventually(
                lambda counts=counts: all(  # type: ignore[misc]
                    station.sent >= before + 10
                    for station, before in zip(stations, counts, strict=True)
                ),
                "every station is served",
            )
            assert gateway.stop() == 0, gateway.log
            gateway.start()
    finally:
        for station in stations:
            station.stop()
        for station in stations:
            station.join()
    outcomes = Counter(outcome for station in stations for _, outcome in station.replies)
    assert set(outcomes) == {200}, outcomes
    sent = sorted(number for station in stations for number, _ in station.replies)
    assert archived(gateway) == sent
    assert len(wait_for_log(gateway, "habitat_like started", RESTARTS + 1)) == RESTARTS + 1
    assert stat.S_ISSOCK(Path(gateway.socket_path).stat().st_mode)


def test_requests_wait_in_an_inherited_socket_while_no_gateway_runs(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat(activated=True)
    assert gateway.stop() == 0
    connections = [gateway.connect() for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.sendall(upload(number))
    gateway.start()
    assert [answer(connection).status for connection in connections] == [200] * 20
    for connection in connections:
        connection.close()
    assert archived(gateway) == list(range(20))


def test_an_inherited_socket_keeps_its_mode_and_path(habitat: HabitatFactory) -> None:
    gateway = habitat({"gateway": {"socket_mode": "0600"}}, start=False, activated=True)
    gateway.socket_path.chmod(0o622)
    gateway.start()
    assert gateway.stop() == 0
    assert stat.S_IMODE(gateway.socket_path.stat().st_mode) == 0o622
