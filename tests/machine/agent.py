"""In the machine: runs what the host asks for. Python's standard library alone.

It speaks over a virtio port, one JSON object a line: the host sends ``id``, ``command``,
``timeout`` and ``input`` (base64), the agent answers with ``id``, ``status`` and ``output``
(base64). At its start it says ``boot``, the kernel's id of this boot.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

PORT = "/dev/virtio-ports/agent"
ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "TERM": "dumb",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
#: The status of a command that took too long.
TIMED_OUT = 124


class Agent:
    """Answers over ``port``. Each command has a thread of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        # Guards the port: answers are whole lines.
        self._lock = threading.Lock()

    def say(self, answer: dict[str, Any]) -> None:
        data = b"\n" + json.dumps(answer).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._port, data) :]

    def work(self, request: dict[str, Any]) -> None:
        try:
            status, output = run(
                request["command"], base64.b64decode(request["input"]), request["timeout"]
            )
        except Exception as error:  # the host must hear of it
            status, output = 255, repr(error).encode()
        answer = {"status": status, "output": base64.b64encode(output).decode()}
        self.say({"id": request["id"], **answer})

    def serve(self) -> None:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        self.say({"boot": boot})
        rest = b""
        while True:
            data = os.read(self._port, 65536)
            if not data:  # nobody is on the host's side
                time.sleep(0.2)
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                try:
                    request = json.loads(line)
                except ValueError:
                    continue
                threading.Thread(target=self.work, args=(request,), daemon=True).start()


def run(command: str, given: bytes, timeout: float) -> tuple[int, bytes]:
    """The exit status of a command in bash, and what it wrote."""
    child = subprocess.Popen(
        ["/bin/bash", "-c", command],
        cwd="/root",
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(given, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        try:
            output, _ = child.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            output = b""
        return TIMED_OUT, output
    return child.returncode, output


if __name__ == "__main__":
    Agent(os.open(PORT, os.O_RDWR)).serve()
