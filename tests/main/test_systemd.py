"""The program under systemd: what it tells its supervisor."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.conftest import HabitatFactory
from tests.support.station import body


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_every_change_of_state(habitat: HabitatFactory, abstract: bool) -> None:
    gateway = habitat(start=False)
    name = f"@{gateway.directory.name}" if abstract else str(gateway.directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"\0{name[1:]}" if abstract else name)
        notify.settimeout(20)

        def told() -> str:
            while (text := notify.recv(4096).decode()) == "WATCHDOG=1":
                pass
            return text

        gateway.environ["NOTIFY_SOCKET"] = name
        gateway.start(ready=False)
        assert told() == "READY=1"
        assert gateway.scgi("GET", "/readyz").status == 200
        while notify.recv(4096) != b"WATCHDOG=1":
            pass
        gateway.signal(signal.SIGHUP)
        first, second = told().split("\n")
        assert first == "RELOADING=1"
        assert 0 < int(second.removeprefix("MONOTONIC_USEC=")) < time.monotonic_ns() // 1000
        assert told() == "READY=1"
        gateway.config_path.write_text("nonsense: 1")
        gateway.signal(signal.SIGHUP)
        assert told().startswith("RELOADING=1")
        assert told() == "READY=1"
        gateway.signal(signal.SIGTERM)
        assert told() == "STOPPING=1"
        assert gateway.wait() == 0


def test_a_missing_supervisor_is_no_reason_to_fail(habitat: HabitatFactory) -> None:
    gateway = habitat(environ={"NOTIFY_SOCKET": "/nowhere/notify"})
    assert gateway.scgi("POST", "/message", body()).status == 200
    assert gateway.stop() == 0
