"""Start the gateway with the embedded archive and an nginx in front of it: what `make run` runs.

Ctrl-C, SIGTERM or SIGHUP stops both, nginx first, so that no station is turned away half-way. If
one of them dies, the other is stopped as well and the exit code is 1.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"
HABITAT = Path(sys.executable).parent / "habitat"
FIRST_PORT = 8080
CONSOLE_USER = "operator"
READY_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0
#: The longest path that a UNIX socket can have (unix(7)).
SOCKET_PATH_MAX = 107
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
SIGNALS = STOP_SIGNALS | {signal.SIGCHLD}
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


class RunError(Exception):
    """Something can't go on; the text is the one line that says so."""


def nginx_config(
    prefix: Path, port: int, block: str, *, in_server: str = "", in_http: str = ""
) -> str:
    """An nginx.conf that serves ``block`` on 127.0.0.1 and keeps all its files under ``prefix``."""
    # As root, nginx would drop to a user who can't reach the socket; otherwise `user` is refused.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    temp_paths = "\n".join(
        f'    {kind}_temp_path "{prefix}/temp-{kind}";'
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
{user}
daemon off;
worker_processes 1;
error_log "{prefix}/error.log";
pid "{prefix}/nginx.pid";
events {{ worker_connections 1024; }}
http {{
    access_log "{prefix}/access.log";
{temp_paths}
{in_http}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
{in_server}
{block}
    }}
}}
"""


def nginx_command(prefix: Path) -> list[str]:
    """The command that runs nginx on ``prefix``/nginx.conf."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise RunError("missing: nginx; install it and try again (Debian: apt-get install nginx)")
    config, log = prefix / "nginx.conf", prefix / "error.log"
    return [program, "-e", str(log), "-p", f"{prefix}/", "-c", str(config)]


def free_port(first: int) -> int:
    """The first port from ``first`` up that nothing listens on."""
    for port in range(first, 65536):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen()
            except OSError:
                continue
            return port
    raise RunError(f"no free port from {first} up")


def write_config(socket_path: Path) -> Path:
    """Write the gateway's configuration; JSON is YAML too."""
    path = VAR / "config.yml"
    sections = {
        "gateway": {"socket": str(socket_path)},
        "journal": {"path": str(VAR / "journal.sqlite")},
        "archive": {"uri": f"sqlite:{VAR / 'archive.sqlite'}"},
        "console": {"password_file": str(VAR / "console-users")},
    }
    text = "".join(f"{name}: {json.dumps(keys)}\n" for name, keys in sections.items())
    path.write_text(f"# Written anew by every `make run`.\n{text}", encoding="utf-8")
    return path


def console_password(config: Path) -> str:
    """The password of the console's one user; the first run makes it and keeps it in a file."""
    kept = VAR / "console-password"
    if kept.exists() and (VAR / "console-users").exists():
        return kept.read_text(encoding="utf-8").strip()
    password = secrets.token_urlsafe(9)
    made = subprocess.run(
        [HABITAT, "console", "passwd", CONSOLE_USER, "--config", config],
        cwd=ROOT,
        input=password,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if made.returncode:
        raise RunError(f"`habitat console passwd` failed with exit code {made.returncode}")
    kept.touch(mode=0o600)
    kept.write_text(f"{password}\n", encoding="utf-8")
    return password


def start(command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    """Start a child that Ctrl-C doesn't reach by itself and that doesn't outlive this process."""

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 (there is no other thread here)
    )


class Stack:
    """The gateway and its nginx."""

    def __init__(self, socket_path: Path, port: int) -> None:
        """Remember where things are; nothing starts yet."""
        self.config = write_config(socket_path)
        self.password = console_password(self.config)
        self.port = port
        self.prefix = VAR / "nginx"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> bool:
        """Start both and wait until they serve; False if a stop signal came first."""
        self.prefix.mkdir(exist_ok=True)
        printed = subprocess.run(
            [HABITAT, "nginx", "--config", self.config],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if printed.returncode:
            raise RunError(
                f"`habitat nginx` failed with exit code {printed.returncode} (see above)"
            )
        config = nginx_config(self.prefix, self.port, printed.stdout)
        (self.prefix / "nginx.conf").write_text(config, encoding="utf-8")
        command = nginx_command(self.prefix)
        self.running["habitat"] = start([HABITAT, "serve", "--config", self.config])
        self.running["nginx"] = start(command)
        deadline = time.monotonic() + READY_TIMEOUT
        while not self.answers():
            if time.monotonic() > deadline:
                raise RunError(f"no answer on port {self.port} after {READY_TIMEOUT:.0f} s")
            if self.wait(0.05):
                return False
        return True

    def answers(self) -> bool:
        """Whether the gateway answers through nginx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a stop signal (True) or the timeout (False). Raises RunError if a child died."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for name, process in self.running.items():
                code = process.poll()
                if code is not None:
                    log = f"; see {self.prefix / 'error.log'}" if name == "nginx" else ""
                    raise RunError(f"{name} stopped by itself with exit code {code}{log}")
            if deadline is None:
                got = signal.sigwaitinfo(SIGNALS)
            else:
                remaining = max(0.0, deadline - time.monotonic())
                found = signal.sigtimedwait(SIGNALS, remaining)
                if found is None:
                    return False
                got = found
            if got.si_signo in STOP_SIGNALS:
                return True

    def stop(self) -> bool:
        """Stop nginx, then the gateway; whether both ended well."""
        good = True
        for name, how in (("nginx", signal.SIGQUIT), ("habitat", signal.SIGTERM)):
            process = self.running.pop(name, None)
            if process is None:
                continue
            if process.poll() is None:
                process.send_signal(how)
            deadline = time.monotonic() + STOP_TIMEOUT
            while process.poll() is None:
                got = signal.sigtimedwait(SIGNALS, max(0.0, deadline - time.monotonic()))
                if got is None:
                    process.kill()
                    process.wait()
                elif got.si_signo in STOP_SIGNALS:  # once more: at once
                    process.terminate()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers that a crashed master left
            good = good and process.returncode == 0
        return good


def lock() -> int:
    """Make sure that this checkout runs once; returns the descriptor that holds the lock."""
    VAR.mkdir(exist_ok=True)
    descriptor = os.open(VAR / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError("`make run` is running in this checkout already") from None
    return descriptor


def explain(stack: Stack) -> str:
    """What to do with the running gateway."""
    url = f"http://127.0.0.1:{stack.port}/"
    config = shlex.quote(os.path.relpath(stack.config, ROOT))
    command = shlex.quote(os.path.relpath(HABITAT, ROOT))
    return f"""
habitat_like serves on {url}

In another terminal, in this directory, upload a message:

  curl -s {url}message -d '{{"callsign": "M0ZDR", "type": "RECEIVED_TELEM", \
"time_created": '$(date +%s)', "time_uploaded": '$(date +%s)', \
"data": {{"string": "JCRoYWJpdGF0LDEyMyw1MS41MDgsLTAuMTI4LDEyMzQ1", "frequency": 434075199.23}}}}'

and find it in the archive:

  {command} query --config {config} --since 1h

See what flows on {url}console/ (user {CONSOLE_USER}, password {stack.password}).

Ctrl-C stops both.
"""


def main() -> int:
    """Run until told to stop; the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    temporary: str | None = None
    stack: Stack | None = None
    good = True
    try:
        descriptor = lock()  # held until this process ends
        os.set_inheritable(descriptor, False)
        socket_path = ROOT / "run" / "habitat.sock"
        if len(os.fsencode(socket_path)) > SOCKET_PATH_MAX:
            temporary = tempfile.mkdtemp(prefix="habitat-")
            socket_path = Path(temporary) / "habitat.sock"
            print(f"the checkout's path is too long for a socket, which is {socket_path} instead")
        socket_path.parent.mkdir(exist_ok=True)
        stack = Stack(socket_path, free_port(FIRST_PORT))
        if stack.start():
            print(explain(stack), flush=True)
            stack.wait()
        print("stopping", flush=True)
    except (RunError, OSError) as error:
        print(f"make run: {error}", file=sys.stderr)
        good = False
    finally:
        if stack is not None:
            good = stack.stop() and good
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
