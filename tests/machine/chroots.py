"""Steps without a machine: the package on the other releases, each in a bare chroot."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from habitat_like import __version__
from tests.machine import package
from tests.machine.image import MachineError, cache
from tests.machine.trial import Trial, step
from tests.support import scgi
from tests.support.wait import eventually

#: Lists may be older or newer than the clock of the host says.
UNDATED = ('Acquire::Check-Valid-Until "false";', 'Acquire::Check-Date "false";')
UBUNTU = "http://archive.ubuntu.com/ubuntu"
#: The sources of each release. Debian has no keys of Ubuntu's.
RELEASES = {
    "trixie": ["http://deb.debian.org/debian"],
    "noble": [
        f"deb [trusted=yes] {UBUNTU} noble main universe",
        f"deb [trusted=yes] {UBUNTU} noble-updates main universe",
    ],
}
ENVIRON = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
SOCKET = "run/habitat/habitat.sock"
TIMEOUT = 900


@step("debian13", "the package in a bare Debian 13, a chroot", on="host")
def debian13(work: Trial) -> str:
    return _try("trixie", work)


@step("ubuntu2404", "the package in a bare Ubuntu 24.04, a chroot", on="host")
def ubuntu2404(work: Trial) -> str:
    return _try("noble", work)


def _try(release: str, work: Trial) -> str:
    found = package.built()
    with _chroot(release) as root:
        shutil.copy(found, root / "root")
        _run(root, "apt-get", "update")
        begin = time.monotonic()
        _run(root, "apt-get", "install", "--yes", "--no-install-recommends", f"/root/{found.name}")
        seconds = time.monotonic() - begin
        version = _run(root, "habitat", "--version")
        assert version == f"habitat {__version__}\n", version
        python = _run(root, "python3", "--version").strip()
        modes = _run(root, "stat", "-c", "%a %U:%G %n", "/var/lib/habitat", "/etc/habitat")
        assert modes == "750 habitat:habitat /var/lib/habitat\n755 root:root /etc/habitat\n", modes
        _run(root, "install", "-d", "-o", "habitat", "-g", "habitat", "/run/habitat")
        with _serving(root):
            assert _upload(root, work) == 200
            state = '"backlog":0'
            eventually(lambda: state in _run(root, "habitat", "status", "--json"), "archived")
            assert "RECEIVED_TELEM" in _run(root, "habitat", "query")
        _run(root, "apt-get", "purge", "--yes", "habitat-like")
        left = sorted(path.name for path in (root / "var/lib/habitat").iterdir())
        assert {"archive.sqlite", "journal.sqlite"} <= set(left), left
        assert not (root / "etc/habitat").exists()
        assert not (root / "usr/lib/habitat-like").exists()
    return f"{python}: installed in {seconds:.0f} s, serves, archives; a purge leaves the archive"


def _upload(root: Path, work: Trial) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(root / SOCKET))
        connection.sendall(scgi.encode("POST", "/message", work.messages.body(0)))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return scgi.decode(answer).status


def _listens(root: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(root / SOCKET)) == 0


@contextmanager
def _serving(root: Path) -> Iterator[None]:
    """The gateway, run as its unit runs it, in the chroot."""
    command = ["chroot", "--userspec=habitat:habitat", str(root), "habitat", "serve"]
    log = root / "root" / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=ENVIRON, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        try:
            up = lambda: _listens(root) or process.poll() is not None  # noqa: E731
            eventually(up, "it serves", timeout=120)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
    assert process.returncode == 0, log.read_text()


@contextmanager
def _chroot(release: str) -> Iterator[Path]:
    """A new one, of an image that is kept for later runs."""
    image = cache() / f"{release}.tar"
    if not image.exists():
        print(f"    making the image of {release}", flush=True)
        new = image.with_suffix(".new.tar")
        options = [f"--aptopt={option}" for option in UNDATED]
        _call(
            *("mmdebstrap", "--mode=root", "--variant=minbase", "--include=apt", *options),
            *(release, str(new), *RELEASES[release]),
        )
        new.rename(image)
    with tempfile.TemporaryDirectory(prefix="chroot-") as name:
        root = Path(name)
        root.chmod(0o755)
        _call("tar", "-C", name, "-xf", str(image))
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        (root / "etc/apt/apt.conf.d/99clock").write_text("\n".join(UNDATED) + "\n")
        _call("mount", "-t", "proc", "proc", str(root / "proc"))
        try:
            yield root
        finally:
            _call("umount", str(root / "proc"))


def _run(root: Path, *command: str) -> str:
    return _call("chroot", str(root), *command)


def _call(*command: str) -> str:
    done = subprocess.run(
        command, env=ENVIRON, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise MachineError(f"{' '.join(command)} failed:\n{last}")
    return done.stdout
