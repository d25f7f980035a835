"""A machine to install on: this one's files, with everything written kept apart and thrown away.

Namespaces of its own for mounts, network and processes, and an overlay over /. So real commands
work on real paths and ports, as root, and this machine stays as it is. Only systemd is not there:
``tests/support/systemd.py`` does what is asked of it.
"""

from __future__ import annotations

import os
import pty
import pwd
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.net import ROOT, end, program, short_directory
from tests.support.wait import PATIENCE

SYSTEMD = ROOT / "tests" / "support" / "systemd.py"
HABITAT = "/opt/habitat/bin/habitat"

_MAKE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 sandbox "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
for place in dev sys; do mount --rbind /$place root/$place; done
mount -t proc proc root/proc
mount -t tmpfs -o mode=755 run root/run
mkdir -p root/run/lock
shift
for place; do mkdir -p "root$place"; mount --rbind "$place" "root$place"; done
ip link set lo up
echo made
while :; do sleep 3600 & wait $!; done
"""


class Sandbox:
    """The machine. Without the right to make one, the test is skipped."""

    def __init__(self) -> None:
        self.directory = short_directory()
        self.root = self.directory / "root"
        self._holder: subprocess.Popen[str] | None = None
        self._systemd: subprocess.Popen[str] | None = None

    def start(self) -> Sandbox:
        """Make it, with the program in /opt/habitat, and nothing set up."""
        if os.geteuid() != 0:
            pytest.skip("only root can make a machine to install on")
        for name in ("setpriv", "unshare", "nsenter", "ip", "useradd", "nginx"):
            program(name)
        apart = [
            str(place)
            for place in (ROOT, Path(sys.prefix))
            if place.stat().st_dev != Path("/").stat().st_dev
        ]
        # It ends with the tests, however these end.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid"]
        command += ["--fork", "--kill-child=SIGKILL"]
        self._holder = subprocess.Popen(
            [*command, "sh", "-c", _MAKE, "sh", str(self.directory), *apart],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline().strip() != "made":
            reason = self._holder.stderr.read().strip()
            self.close()
            pytest.skip(f"no machine to install on can be made here: {reason}")
        child = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self._pid = child.read_text().split()[0]
        self._install()
        self._systemd = subprocess.Popen(
            [*self._inside(), sys.executable, str(SYSTEMD), "daemon"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environ(),
        )
        assert self._systemd.stdout is not None
        assert self._systemd.stdout.readline().strip() == "ready"
        return self

    def run(
        self, *command: str, stdin: str = "", check: bool = True, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it, as root."""
        done = subprocess.run(
            [*self._inside(), *command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
            env={**self._environ(), **environ},
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done

    def spawn(self, *command: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start a command on it; the caller ends it, or ``close`` does."""
        return subprocess.Popen([*self._inside(), *command], env=self._environ(), **more)

    def on_terminal(self, *words: str, answers: Mapping[str, str]) -> tuple[int, str]:
        """Run a habitat command on a terminal of it; each question gets its answer, once."""
        leader, follower = pty.openpty()
        process = self.spawn(HABITAT, *words, stdin=follower, stdout=follower, stderr=follower)
        os.close(follower)
        waiting, got = dict(answers), ""
        while select.select([leader], [], [], PATIENCE)[0]:
            try:
                got += os.read(leader, 65536).decode()
            except OSError:  # EIO: the last one who had the terminal open is gone
                break
            for question in [one for one in waiting if one in got]:
                os.write(leader, f"{waiting.pop(question)}\n".encode())
        os.close(leader)
        return end(process, signal.SIGTERM, PATIENCE) or 0, got.replace("\r\n", "\n")

    def habitat(
        self, *words: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a habitat command on it."""
        return self.run(HABITAT, *words, stdin=stdin, check=check)

    def sh(self, script: str) -> str:
        """What a shell script on it prints."""
        return self.run("sh", "-ec", script).stdout

    def path(self, path: str) -> Path:
        """A file of it, as the tests see it."""
        return Path(f"/proc/{self._pid}/root{self.root}{path}")

    def read(self, path: str) -> str:
        """The text of a file on it."""
        return self.path(path).read_text()

    def write(self, path: str, text: str) -> None:
        """Write a file on it."""
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)

    def curl(self, *arguments: str) -> str:
        """Status and body of a request to it."""
        done = self.run("curl", "-s", "-w", " %{http_code}", *arguments, check=False)
        body, _, status = done.stdout.rpartition(" ")
        return f"{status} {body.strip()}".strip()

    def logs(self) -> str:
        """The logs of its services."""
        return self.run(
            "sh", "-c", "tail -n 50 /run/systemd-logs/* 2>&1 || true", check=False
        ).stdout

    def close(self) -> None:
        """Take it away, with everything that runs on it."""
        for process in (self._systemd, self._holder):
            if process is not None:
                process.kill()
                process.wait()
                for pipe in (process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _inside(self) -> list[str]:
        spaces = ["nsenter", "--target", self._pid, "--mount", "--net", "--pid"]
        return [*spaces, "--", "chroot", str(self.root), "sh", "-c", 'cd /; exec "$@"', "sh"]

    def _environ(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("LANG", "TZ") if name in os.environ}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {**kept, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/root"}

    def _install(self) -> None:
        for place in ("/etc/habitat", "/var/lib/habitat", "/var/log/habitat", "/opt/habitat"):
            self.run("rm", "-rf", place)
        self.sh(
            "rm -f /etc/nginx/sites-enabled/habitat /etc/nginx/sites-available/habitat"
            " /etc/systemd/system/habitat* /usr/local/bin/habitat /usr/bin/habitat"
            " && ln -sf /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default"
        )
        try:
            pwd.getpwnam("habitat")
        except KeyError:
            pass
        else:
            self.run("userdel", "habitat")
        # The service's user runs our interpreter, and reads our checkout.
        for path in {Path(sys.executable).resolve(), ROOT}:
            for above in [path, *path.parents]:
                self.run("chmod", "a+x", str(above))
        self.write(
            HABITAT,
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from habitat_like.cli import main\nsys.exit(main())\n",
        )
        self.run("chmod", "755", HABITAT)
        for name in ("systemctl", "journalctl"):
            self.write(f"/usr/local/sbin/{name}", f"#!{sys.executable}\n" + SYSTEMD.read_text())
            self.run("chmod", "755", f"/usr/local/sbin/{name}")
