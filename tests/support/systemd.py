#!/usr/bin/env python3
"""As much of systemd as `habitat setup` and `habitat doctor` use, for a sandbox without it.

``systemd.py daemon`` holds sockets and services; called as ``systemctl`` or ``journalctl`` it asks
that daemon. Units are read from where systemd has them. Only the standard library: it runs before
anything is installed.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PLACES = [
    Path(p) for p in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
]
CONTROL = "/run/systemd-control"
LOGS = Path("/run/systemd-logs")
PATIENCE = 120.0


class Unit:
    """A unit: its text as loaded, and what is known of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.enabled = False
        self.state = "inactive"
        self.result = "success"
        self.process: subprocess.Popen[bytes] | None = None
        self.socket: socket.socket | None = None
        self.notify: socket.socket | None = None
        self.load()

    @property
    def path(self) -> Path | None:
        return next((p / self.name for p in PLACES if (p / self.name).exists()), None)

    def load(self) -> None:
        self.text = self.path.read_text() if self.path else ""

    def get(self, key: str, default: str = "") -> str:
        found = self.all(key)
        return found[-1] if found else default

    def all(self, key: str) -> list[str]:
        lines = (line.partition("=") for line in self.text.splitlines() if line[:1] != "#")
        return [value.strip() for name, _, value in lines if name.strip() == key]

    @property
    def stale(self) -> bool:
        return bool(self.path and self.path.read_text() != self.text)

    @property
    def main_pid(self) -> int:
        if self.process is not None:
            return self.process.pid
        with contextlib.suppress(OSError, ValueError):
            pid = int(Path(self.get("PIDFile", "/none")).read_text())
            os.kill(pid, 0)
            return pid
        return 0


class Systemd:
    """The units, and what is asked of them."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}

    def unit(self, name: str) -> Unit:
        name = name if "." in name else f"{name}.service"
        if name not in self.units:
            self.units[name] = Unit(name)
        unit = self.units[name]
        if not unit.text:
            unit.load()
        return unit

    def socket_of(self, unit: Unit) -> Unit | None:
        name = unit.name.replace(".service", ".socket")
        return self.unit(name) if self.unit(name).text and unit.name != name else None

    def serve(self) -> None:
        Path(CONTROL).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(CONTROL)
        listener.listen()
        print("ready", flush=True)
        while True:
            self.look()
            waiting = {}
            for unit in list(self.units.values()):
                service = self.unit(unit.name.replace(".socket", ".service"))
                if unit.socket is not None and service.state in ("inactive",):
                    waiting[unit.socket] = service
            ready, _, _ = select.select([listener, *waiting], [], [], 0.1)
            for one in ready:
                if one is listener:
                    self.answer(listener.accept()[0])
                else:
                    with contextlib.suppress(RuntimeError):
                        self.start(waiting[one])

    def answer(self, connection: socket.socket) -> None:
        with connection:
            argv = json.loads(connection.makefile().readline())
            try:
                code, said = self.command(argv)
            except (RuntimeError, OSError, KeyError) as error:
                code, said = 1, str(error)
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps([code, said]).encode())

    def command(self, argv: list[str]) -> tuple[int, str]:
        flags = [word for word in argv if word.startswith("-")]
        verb, *names = [word for word in argv if not word.startswith("-")]
        units = [self.unit(name) for name in names]
        if verb == "daemon-reload":
            for unit in self.units.values():
                unit.load()
        elif verb in ("enable", "disable"):
            for unit in units:
                if not unit.text:
                    raise RuntimeError(f"Failed to {verb} unit: {unit.name} does not exist.")
                unit.enabled = verb == "enable"
                if "--now" in flags:
                    (self.start if unit.enabled else self.stop)(unit)
        elif verb == "show":
            keys = [flag.partition("=")[2] for flag in flags if flag.startswith("--property=")]
            return 0, "\n".join(self.show(units[0], key) for key in keys)
        elif verb == "is-active":
            states = [unit.state for unit in units]
            return (0 if set(states) == {"active"} else 3), "\n".join(states)
        else:
            for unit in units:
                if not unit.text:
                    raise RuntimeError(f"Unit {unit.name} not found.")
                self.change(verb, unit)
        return 0, ""

    def change(self, verb: str, unit: Unit) -> None:
        if verb == "start":
            self.start(unit)
        elif verb == "stop":
            self.stop(unit)
        elif verb in ("reload", "reload-or-restart") and unit.state == "active":
            for line in unit.all("ExecReload"):
                self.run(unit, line)
        elif verb in ("restart", "reload-or-restart"):
            self.stop(unit)
            self.start(unit)
        else:
            raise RuntimeError(f"can't {verb} {unit.name}")

    def show(self, unit: Unit, key: str) -> str:
        known = {
            "UnitFileState": "enabled" if unit.enabled else "disabled" if unit.text else "",
            "ActiveState": unit.state,
            "NeedDaemonReload": "yes" if unit.stale else "no",
            "Result": unit.result,
            "User": unit.get("User"),
            "MainPID": str(unit.main_pid),
            "LoadState": "loaded" if unit.text else "not-found",
        }
        return known.get(key, "")

    def start(self, unit: Unit) -> None:
        if unit.state == "active":
            return
        if unit.name.endswith(".socket"):
            self.listen(unit)
        elif unit.name.endswith(".service"):
            companion = self.socket_of(unit)
            if companion is not None and "Requires=" + companion.name in unit.text:
                self.start(companion)
            self.serve_unit(unit, companion)
        else:
            unit.state = "active"

    def listen(self, unit: Unit) -> None:
        for line in unit.all("ExecStartPre"):
            self.run(unit, line)
        path = unit.get("ListenStream")
        Path(path).unlink(missing_ok=True)
        unit.socket = socket.socket(socket.AF_UNIX)
        unit.socket.bind(path)
        user = pwd.getpwnam(unit.get("SocketUser")).pw_uid
        os.chown(path, user, grp.getgrnam(unit.get("SocketGroup")).gr_gid)
        os.chmod(path, int(unit.get("SocketMode"), 8))
        unit.socket.listen(4096)
        unit.state = "active"

    def serve_unit(self, unit: Unit, companion: Unit | None) -> None:
        for line in unit.all("ExecStartPre"):
            self.run(unit, line)
        LOGS.mkdir(exist_ok=True)
        if unit.get("Type") in ("forking", "oneshot"):
            for line in unit.all("ExecStart"):
                self.run(unit, line)
            unit.state = "active" if unit.get("Type") == "forking" else "inactive"
            return
        name = unit.get("User")
        owner = pwd.getpwnam(name)
        for kind, base in (("StateDirectory", "/var/lib"), ("LogsDirectory", "/var/log")):
            for part in unit.get(kind).split():
                Path(base, part).mkdir(exist_ok=True, mode=0o750)
                os.chown(Path(base, part), owner.pw_uid, owner.pw_gid)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        place = f"/run/notify-{unit.name}"
        Path(place).unlink(missing_ok=True)
        notify.bind(place)
        os.chmod(place, 0o666)
        environ = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": place, "LANG": "C.UTF-8"}
        inherited = companion.socket if companion is not None else None
        command = shlex.split(unit.get("ExecStart"))
        if inherited is not None:
            script = f'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&{inherited.fileno()}'
            command = ["sh", "-c", script, "sh", *command]
        with (LOGS / unit.name).open("ab") as log:
            unit.process = subprocess.Popen(
                command,
                cwd=unit.get("WorkingDirectory", "/"),
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(inherited.fileno(),) if inherited is not None else (),
                user=name,
                group=owner.pw_gid,
                extra_groups=os.getgrouplist(name, owner.pw_gid),
                umask=0o027,
            )
        self.wait_ready(unit, notify)

    def wait_ready(self, unit: Unit, notify: socket.socket) -> None:
        deadline = time.monotonic() + PATIENCE
        notify.settimeout(0.1)
        assert unit.process is not None
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in notify.recv(65536):
                    unit.state, unit.result = "active", "success"
                    notify.setblocking(False)
                    unit.notify = notify
                    return
            if unit.process.poll() is not None:
                self.look()
                raise RuntimeError(f"Job for {unit.name} failed.")
        raise RuntimeError(f"Job for {unit.name} timed out.")

    def stop(self, unit: Unit) -> None:
        if unit.socket is not None:
            unit.socket.close()
            unit.socket = None
            Path(unit.get("ListenStream")).unlink(missing_ok=True)
        if unit.process is not None:
            unit.process.send_signal(signal.SIGTERM)
            unit.process.wait(PATIENCE)
            unit.process = None
        elif unit.get("Type") == "forking" and (pid := unit.main_pid):
            os.kill(pid, signal.SIGQUIT)
            for _ in range(1000):
                if not unit.main_pid:
                    break
                time.sleep(0.02)
        unit.state = "inactive"

    def look(self) -> None:
        """Notice what has ended, and take what services tell."""
        for unit in list(self.units.values()):
            with contextlib.suppress(OSError):
                while unit.notify is not None and unit.notify.recv(65536):
                    pass
            if unit.process is not None and (code := unit.process.poll()) is not None:
                unit.process = None
                unit.state = "failed" if code else "inactive"
                unit.result = "exit-code" if code else "success"
                if code == 2 and (companion := self.socket_of(unit)):
                    self.stop(companion)
            if unit.get("Type") == "forking" and unit.state == "active" and not unit.main_pid:
                unit.state = "failed"

    def run(self, unit: Unit, line: str) -> None:
        command = line.lstrip("+-!@").replace("$MAINPID", str(unit.main_pid))
        user = unit.get("User")
        if user and not line.startswith("+"):
            command = shlex.join(["runuser", "-u", user, "--", *shlex.split(command)])
        done = subprocess.run(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        LOGS.mkdir(exist_ok=True)
        with (LOGS / unit.name).open("a") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode and not line.startswith("-"):
            raise RuntimeError(f"Job for {unit.name} failed: {done.stderr.strip()[-300:]}")


def ask(argv: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(CONTROL)
        connection.sendall(json.dumps(argv).encode() + b"\n")
        answer: Any = json.loads(connection.makefile().read())
    code, said = answer
    if said:
        print(said, file=sys.stderr if code == 1 else sys.stdout)
    return int(code)


def tell_log(argv: list[str]) -> int:
    asked = [word.partition("=")[2] for word in argv if word.startswith("--unit=")]
    name = asked[0] if asked else "habitat"
    path = LOGS / (name if "." in name else f"{name}.service")
    if path.exists():
        print("".join(path.read_text().splitlines(keepends=True)[-20:]), end="")
    return 0


if __name__ == "__main__":
    called = Path(sys.argv[0]).name
    if called == "systemctl":
        sys.exit(ask(sys.argv[1:]))
    if called == "journalctl":
        sys.exit(tell_log(sys.argv[1:]))
    Systemd().serve()
