"""Start the gateway with the embedded archive and an nginx in front of it: what `make run` runs.

Ctrl-C, SIGTERM or SIGHUP stops both, nginx first, so that no station is turned away half-way. If
one of them dies, the other is stopped as well and the exit code is 1. `make demo` adds to it
(tools/demo).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import http.client
import io
import json
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools import child
from tools.child import ROOT, SIGNALS, STOP_SIGNALS

HABITAT = Path(sys.executable).parent / "habitat"
FIRST_PORT = 8080
CONSOLE_USER = "operator"
#: Seconds until both answer: a small machine compiles everything at its first start.
READY_TIMEOUT = 120.0
STOP_TIMEOUT = 20.0
#: The longest path that a UNIX socket can have (unix(7)).
SOCKET_PATH_MAX = 107
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


def socket_directory(root: Path, below: str = "") -> Path:
    """Where the sockets of the checkout ``root`` are: in it, unless its path is too long.

    ``below`` names one gateway of several.
    """
    inside = root / "run" / below
    if len(os.fsencode(inside / "control.sock")) <= SOCKET_PATH_MAX:
        return inside
    name = hashlib.sha256(os.fsencode(root / below)).hexdigest()[:12]
    return Path("/tmp") / f"habitat-{os.geteuid()}-{name}"  # noqa: S108 (see make_socket_directory)


def make_socket_directory(directory: Path) -> None:
    """Make the directory of the sockets. Raises RunError if it is somebody else's."""
    if directory.is_relative_to(ROOT):
        directory.mkdir(parents=True, exist_ok=True)
        return
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise RunError(f"{directory} is somebody else's; the sockets would be there")
    print(f"the checkout's path is too long for sockets, which are in {directory}", flush=True)


def _in_json(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)[1:-1]


def _replace(path: Path, text: str) -> None:
    """Write a file in one step."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)


def habitat(*words: str | Path, given: str | None = None) -> str:
    """Run a command of habitat; what it prints. Raises RunError with its one line."""
    done = subprocess.run(
        [HABITAT, *words],
        cwd=ROOT,
        input=given or "",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RunError(f"`habitat {words[0]}` fails: {said[-1].removeprefix('habitat: ')}")
    return done.stdout


def start(command: Sequence[str | Path], *, waits: bool = False) -> subprocess.Popen[bytes]:
    """Start a child that Ctrl-C doesn't reach by itself and that doesn't outlive this process.

    One that ``waits`` for its stop signals has them blocked from the first moment on.
    """

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if not waits:
            child.unblock()

    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 (there is no other thread here)
    )


def last_line(log: Path) -> str:
    """The last line of a log, if there is one."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "it says nothing"


class Stack:
    """The gateway and its nginx, of this checkout.

    ``target`` is make's; all that is kept is below ``var``.
    """

    target = "run"
    var = ROOT / "var"
    below = ""

    def __init__(self) -> None:
        """Nothing is written and nothing starts yet."""
        self.sockets = socket_directory(ROOT, self.below)
        self.config = self.var / "config.yml"
        self.prefix = self.var / "nginx"
        self.password = ""
        self.port = 0
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.serves = False

    @property
    def url(self) -> str:
        """Where nginx listens."""
        return f"http://127.0.0.1:{self.port}/"

    def sections(self) -> dict[str, Any]:
        """The gateway's configuration, as it is first written."""
        return {
            "gateway": {"socket": str(self.sockets / "habitat.sock")},
            "control": {"socket": str(self.sockets / "control.sock")},
            "journal": {"path": str(self.var / "journal.sqlite")},
            "archive": {"uri": f"sqlite:{self.var / 'archive.sqlite'}"},
            "console": {"password_file": str(self.var / "console-users")},
        }

    def beside(self) -> Sequence[str | Path] | None:
        """The command of a program that runs while both serve, None for none.

        It waits for SIGTERM, which is blocked.
        """
        return None

    def check_rights(self) -> None:
        """Make ``var``. Raises RunError if the data can't be written."""
        self.var.mkdir(parents=True, exist_ok=True)
        for path in (self.var, self.config, self.var / "journal.sqlite"):
            if path.exists() and not os.access(path, os.W_OK):
                owner = f"the user {path.stat().st_uid}"
                with contextlib.suppress(KeyError):
                    owner = pwd.getpwuid(path.stat().st_uid).pw_name
                raise RunError(f"{path} can't be written; it belongs to {owner}")

    def lock(self) -> int:
        """Make sure that it runs once in this checkout; the descriptor that holds the lock."""
        descriptor = os.open(self.var / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = os.pread(descriptor, 100, 0).decode(errors="replace")
            raise RunError(
                f"`make {self.target}` is running in this checkout already{where}"
            ) from None
        os.ftruncate(descriptor, 0)
        return descriptor

    def prepare(self) -> None:
        """Write what both need, and find a port. Raises RunError."""
        make_socket_directory(self.sockets)
        self._write_config()
        self._make_password()
        self.port = free_port(FIRST_PORT)

    def _write_config(self) -> None:
        """Write the gateway's configuration, if there is none yet; JSON is YAML too.

        One that is there stays as it is, but for the paths of a checkout that was moved or copied.
        """
        made_in = self.var / "made-in"
        if not self.config.exists():
            text = "".join(
                f"{name}: {json.dumps(keys, ensure_ascii=False)}\n"
                for name, keys in self.sections().items()
            )
            made = f"# Made by the first `make {self.target}`; what you change is kept"
            _replace(self.config, f"{made} (docs/configuration.md).\n{text}")
        elif made_in.exists():
            before = Path(made_in.read_text(encoding="utf-8"))
            if before != ROOT:
                text = self.config.read_text(encoding="utf-8")
                old_sockets = socket_directory(before, self.below)
                for old, new in ((old_sockets, self.sockets), (before, ROOT)):
                    text = text.replace(f"{_in_json(old)}/", f"{_in_json(new)}/")
                    text = text.replace(f"{old}/", f"{new}/")
                _replace(self.config, text)
                name = self.config.relative_to(ROOT)
                print(f"the checkout was in {before}; {name} names {ROOT} now", flush=True)
        _replace(made_in, str(ROOT))

    def _make_password(self) -> None:
        """Make the console's one user, unless it is there; its password is kept in a file."""
        kept = self.var / "console-password"
        if not (kept.exists() and (self.var / "console-users").exists()):
            password = secrets.token_urlsafe(9)
            habitat("console", "passwd", CONSOLE_USER, "--config", self.config, given=password)
            kept.touch(mode=0o600)
            kept.write_text(f"{password}\n", encoding="utf-8")
        self.password = kept.read_text(encoding="utf-8").strip()

    def start(self) -> bool:
        """Start both and wait until they serve, then what is beside them.

        False if a stop signal came first.
        """
        self.prefix.mkdir(exist_ok=True)
        block = habitat("nginx", "--config", self.config)
        config = nginx_config(self.prefix, self.port, block)
        (self.prefix / "nginx.conf").write_text(config, encoding="utf-8")
        command = nginx_command(self.prefix)
        if self.wait(0):
            return False
        self.running["habitat"] = start([HABITAT, "serve", "--config", self.config])
        self.running["nginx"] = start(command)
        deadline = time.monotonic() + READY_TIMEOUT
        while not self.answers():
            if time.monotonic() > deadline:
                raise RunError(f"no answer on port {self.port} after {READY_TIMEOUT:.0f} s")
            if self.wait(0.05):
                return False
        self.serves = True
        if (beside := self.beside()) is not None:
            self.running[self.target] = start(beside, waits=True)
        return True

    def answers(self) -> bool:
        """Whether the gateway answers through nginx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError as error:
            if error.errno == errno.ENETUNREACH:
                raise RunError(
                    "127.0.0.1 can't be reached; is the loopback interface up? (ip link set lo up)"
                ) from None
            return False
        except http.client.HTTPException:
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
                    log = self.prefix / "error.log"
                    why = f": {last_line(log)}; see {log}" if name == "nginx" else ""
                    raise RunError(f"{name} stopped by itself with exit code {code}{why}")
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
        """Stop what is beside, then nginx, then the gateway; whether all ended well."""
        good = True
        for name, how in (
            (self.target, signal.SIGTERM),
            ("nginx", signal.SIGQUIT),
            ("habitat", signal.SIGTERM),
        ):
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
            # Before it is ready, a signal ends it as it ends any program.
            good = good and (process.returncode == 0 or not self.serves)
        return good

    def explain(self) -> str:
        """What to do with the running gateway."""
        config, command = (
            shlex.quote(os.path.relpath(one, ROOT)) for one in (self.config, HABITAT)
        )
        return f"""
habitat_like serves on {self.url}

In another terminal, in this directory, upload a message:

  curl -s {self.url}message -d '{{"callsign": "M0ZDR", "type": "RECEIVED_TELEM", \
"time_created": '$(date +%s)', "time_uploaded": '$(date +%s)', \
"data": {{"string": "JCRoYWJpdGF0LDEyMyw1MS41MDgsLTAuMTI4LDEyMzQ1", "frequency": 434075199.23}}}}'

and find it in the archive:

  {command} query --config {config} --since 1h

See what flows on {self.url}console/ (user {CONSOLE_USER}, password {self.password}).

Ctrl-C stops both.
"""


def serve(stack: Stack) -> int:
    """Run until told to stop; the exit code."""
    child.block()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the locale is
    good = True
    try:
        stack.check_rights()
        descriptor = stack.lock()  # held until this process ends
        print("starting the gateway, and nginx in front of it", flush=True)
        try:
            stack.prepare()
            if stack.start():
                os.pwrite(descriptor, f", on {stack.url}".encode(), 0)
                print(stack.explain(), flush=True)
                stack.wait()
            print("stopping", flush=True)
        finally:
            good = stack.stop()
            if not stack.sockets.is_relative_to(ROOT):
                with contextlib.suppress(OSError):
                    stack.sockets.rmdir()
    except RunError as error:
        print(f"make {stack.target}: {error}", file=sys.stderr)
        good = False
    except OSError as error:
        where = error.filename or ROOT
        print(f"make {stack.target}: {where}: {error.strerror or error}", file=sys.stderr)
        good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(serve(Stack()))
