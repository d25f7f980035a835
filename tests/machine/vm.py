"""The machine: qemu with a disk of its own, which boots, runs commands, and loses its power."""

from __future__ import annotations

import base64
import ctypes
import itertools
import json
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.machine import accelerator
from tests.machine.image import MachineError

#: Where the machine's own nginx listens.
HTTP = 80
MEMORY = 2048
PROCESSORS = 2
BOOT_TIMEOUT = 600.0
#: Seconds over a command's own timeout in which its answer has to be here.
LATE = 60.0
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


def _end_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Machine:
    """One machine, whose disk is a layer over that of ``image`` (a directory with base.qcow2).

    Its port 80 is ``address`` on the host. ``check`` and ``run`` may be called by several threads
    at once; all else is for one thread. A context manager: left, the machine is off.
    """

    def __init__(self, image: Path, directory: Path) -> None:
        self._image = image
        self._directory = directory
        self.disk = directory / "disk.qcow2"
        self.console = directory / "console.log"
        self._accelerator = accelerator.choose(image)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address: tuple[str, int] = probe.getsockname()
        self._qemu: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._channel: socket.socket | None = None
        self._sending = threading.Lock()
        # Guards the two below, and tells when they change.
        self._changed = threading.Condition()
        self._boot = ""
        self._answers: dict[int, dict[str, Any]] = {}

    @property
    def runs(self) -> bool:
        """Whether it is on."""
        return self._qemu is not None

    @property
    def kind(self) -> str:
        """``kvm`` or ``tcg``."""
        return self._accelerator.partition(",")[0]

    # The disk.

    def renew(self, layer: Path | None = None) -> None:
        """Throw the disk away; the new one is as ``layer``, by default the bare image."""
        self.power_cut()
        below = layer or self._image / "base.qcow2"
        self.disk.unlink(missing_ok=True)
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"]
        command += ["-b", str(below), str(self.disk)]
        subprocess.run(command, check=True)

    def keep(self, path: Path) -> None:
        """Shut it down and keep a copy of the disk, which is a layer over the same image."""
        self.shutdown()
        new = path.with_suffix(".new")
        shutil.copyfile(self.disk, new)
        new.replace(path)

    # Power.

    def start(self) -> float:
        """Boot, and wait until all is up; returns the seconds that it took."""
        assert self._qemu is None
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="machine-") as name:  # a short path
            path = Path(name) / "agent"
            log = self._directory / "qemu.log"
            with log.open("wb") as out:
                self._qemu = subprocess.Popen(
                    self._command(path),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=out,
                    preexec_fn=_end_with_parent,  # noqa: PLW1509
                )
            channel = socket.socket(socket.AF_UNIX)
            while channel.connect_ex(str(path)):
                if self._qemu.poll() is not None or time.monotonic() - begin > 60:
                    self.power_cut()
                    raise MachineError(f"qemu did not start: {log.read_text()}")
                time.sleep(0.02)
        self._boot, self._answers, self._channel = "", {}, channel
        threading.Thread(target=self._read, args=(channel,), daemon=True).start()
        self._wait_until_up("")
        return time.monotonic() - begin

    def reboot(self) -> float:
        """``systemctl reboot``; returns the seconds until all is up again."""
        begin, before = time.monotonic(), self._boot
        self._send("systemctl reboot", 60, b"")
        self._wait_until_up(before)
        return time.monotonic() - begin

    def shutdown(self) -> None:
        """``systemctl poweroff``, and wait for it."""
        if self._qemu is None:
            return
        self._send("systemctl poweroff", 60, b"")
        try:
            self._qemu.wait(BOOT_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise MachineError(f"it does not power off; see {self.console}") from None
        finally:
            self.power_cut()

    def power_cut(self) -> None:
        """SIGKILL to qemu: what the machine's kernel had not flushed to its disk is gone."""
        if self._qemu is None:
            return
        self._qemu.kill()
        self._qemu.wait()
        self._qemu = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        with self._changed:
            self._changed.notify_all()

    def _command(self, agent: Path) -> list[str]:
        kvm = self.kind == "kvm"
        port = self.address[1]
        kernel = "root=/dev/vda ro console=ttyS0 quiet systemd.show_status=1"
        drive = f"file={self.disk},format=qcow2,if=virtio,cache=writeback,discard=unmap"
        return [
            *("qemu-system-x86_64", "-M", "q35", "-accel", self._accelerator),
            *("-cpu", "host" if kvm else "Nehalem,+rdrand"),
            *("-smp", str(PROCESSORS), "-m", str(MEMORY), "-nodefaults", "-display", "none"),
            *("-kernel", str(self._image / "vmlinuz"), "-initrd", str(self._image / "initrd")),
            *("-append", kernel if kvm else f"{kernel} mitigations=off"),
            *("-serial", f"file:{self.console}"),
            # The machine's flush is an fdatasync here; what it didn't flush is lost or not, as on
            # a disk with a volatile cache.
            *("-drive", drive),
            *("-netdev", f"user,id=n,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-:{HTTP}"),
            *("-device", "virtio-net-pci,netdev=n", "-device", "virtio-rng-pci"),
            *("-chardev", f"socket,id=a,path={agent},server=on,wait=off"),
            *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=a,name=agent"),
        ]

    def _wait_until_up(self, before: str) -> None:
        end = time.monotonic() + BOOT_TIMEOUT
        with self._changed:
            while self._boot in ("", before):
                if time.monotonic() > end or self._qemu is None or self._qemu.poll() is not None:
                    raise MachineError(f"it did not come up; see {self.console}")
                self._changed.wait(1)

    # Commands.

    def run(self, command: str, timeout: float = 300, given: bytes = b"") -> tuple[int, str]:
        """The exit status and the output of a command in root's bash; 124 when it took too long."""
        number = self._send(command, timeout, given)
        channel, boot = self._channel, self._boot
        end = time.monotonic() + timeout + LATE
        with self._changed:
            while number not in self._answers:
                if self._channel is not channel or self._boot != boot:
                    raise MachineError(f"the machine went down during: {command}")
                if time.monotonic() > end:
                    raise MachineError(f"no answer to: {command}; see {self.console}")
                self._changed.wait(1)
            answer = self._answers.pop(number)
        return answer["status"], base64.b64decode(answer["output"]).decode("utf-8", "replace")

    def check(self, command: str, timeout: float = 300, given: bytes = b"") -> str:
        """The output of a command that must not fail. Raises MachineError."""
        status, output = self.run(command, timeout, given)
        if status:
            last = "\n".join(output.strip().splitlines()[-25:])
            raise MachineError(f"exit {status}: {command}\n{last}")
        return output

    def put(self, files: Path, names: list[str], directory: str) -> None:
        """The files ``names`` below ``files``, into a directory of the machine, as root's."""
        listed = "".join(f"{name}\0" for name in names).encode()
        packed = subprocess.run(
            ["tar", "-C", files, "--owner=0", "--group=0", "--null", "-T", "-", "-czf", "-"],
            check=True,
            input=listed,
            stdout=subprocess.PIPE,
        ).stdout
        where = shlex.quote(directory)
        self.check(f"mkdir -p {where} && tar -C {where} -xzf -", given=packed)

    def _send(self, command: str, timeout: float, given: bytes) -> int:
        number, channel = next(self._numbers), self._channel
        if channel is None:
            raise MachineError("the machine is off")
        request = {"id": number, "command": command, "timeout": timeout}
        line = json.dumps({**request, "input": base64.b64encode(given).decode()})
        with self._sending:
            channel.sendall(line.encode() + b"\n")
        return number

    def _read(self, channel: socket.socket) -> None:
        rest = bytearray()
        while True:
            try:
                data = channel.recv(1 << 20)
            except OSError:
                return
            if not data:
                return
            rest += data
            if b"\n" not in data:
                continue
            *lines, last = rest.split(b"\n")
            rest = bytearray(last)
            for line in lines:
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                with self._changed:
                    if "boot" in said:
                        self._boot = said["boot"]
                    elif "id" in said:
                        self._answers[said["id"]] = said
                    self._changed.notify_all()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.power_cut()
