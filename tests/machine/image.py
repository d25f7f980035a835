"""The image: a bare Debian 12 with systemd, made of Debian's packages, and kept for later runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
#: What the machine has beside Debian's smallest set: enough to boot and to be on a network.
PACKAGES = (
    "systemd-sysv,dbus,udev,iproute2,ca-certificates,curl,python3,make,less,kmod,e2fsprogs,"
    "initramfs-tools,linux-image-cloud-amd64"
)
SIZE = "12G"
RELEASE = "bookworm"

FILES = {
    "etc/hostname": "test\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 test\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\n",
    "etc/machine-id": "uninitialized\n",
    "etc/apt/sources.list": (
        f"deb http://deb.debian.org/debian {RELEASE} main\n"
        f"deb http://deb.debian.org/debian {RELEASE}-updates main\n"
        f"deb http://deb.debian.org/debian-security {RELEASE}-security main\n"
    ),
    # The lists may be older or newer than the clock of the host says.
    "etc/apt/apt.conf.d/99clock": (
        'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n'
    ),
    "etc/systemd/network/10-all.network": (
        "[Match]\nName=en* eth*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    ),
    # Pip has authorities of its own, and doesn't know those that were added to the host's.
    "etc/pip.conf": "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n",
    "etc/systemd/system/agent.service": (
        "[Unit]\nDescription=Runs what the host asks for\nAfter=multi-user.target\n"
        "[Service]\nExecStart=/usr/bin/python3 /usr/local/lib/agent.py\nKillMode=process\n"
        "Restart=always\n[Install]\nWantedBy=agent.target\n"
    ),
    # Behind all that starts at boot, so that the agent's first word means that the machine is up.
    "etc/systemd/system/agent.target": (
        "[Unit]\nDescription=The machine is up\nRequires=multi-user.target\n"
        "After=multi-user.target\nAllowIsolate=yes\n"
    ),
}


class MachineError(Exception):
    """The machine can't be had, or does not do what it should; the text says what."""


def cache() -> Path:
    """Where images are kept, outside of the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "habitat-machine"
    path.mkdir(parents=True, exist_ok=True)
    return path


def recipe() -> str:
    """A name for what the image is made of; another one is another image."""
    text = repr((PACKAGES, RELEASE, SIZE, sorted(FILES.items()), authorities()))
    agent = (HERE / "agent.py").read_bytes()
    return hashlib.sha256(text.encode() + agent).hexdigest()[:12]


def authorities() -> dict[str, str]:
    """Certificate authorities that the host's owner added: its network may need them."""
    place = Path("/usr/local/share/ca-certificates")
    return {path.name: path.read_text(errors="replace") for path in sorted(place.glob("*.crt"))}


def base_image() -> Path:
    """The directory with base.qcow2, vmlinuz and initrd, made in a minute where it is missing.

    Raises MachineError.
    """
    place = cache() / recipe()
    if (place / "base.qcow2").exists():
        return place
    if os.geteuid() != 0:
        raise MachineError("the image is made as root: run `make machine` as root once")
    print("making the image of a bare Debian 12", flush=True)
    with tempfile.TemporaryDirectory(dir=cache(), prefix="new-") as name:
        # A temporary directory is its owner's alone, and apt's own user has to get in.
        Path(name).chmod(0o755)
        made = Path(name) / "image"
        made.mkdir()
        _make(Path(name) / "root", made)
        made.rename(place)
    return place


def _make(root: Path, made: Path) -> None:
    run = _Run(made.parent / "log")
    run("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={PACKAGES}",
        '--aptopt=Acquire::Check-Valid-Until "false"', RELEASE, root)  # fmt: skip
    for name, text in authorities().items():
        (root / "usr/local/share/ca-certificates" / name).write_text(text)
    run("chroot", root, "/usr/sbin/update-ca-certificates")
    for old in (root / "etc/apt/sources.list.d").iterdir():
        old.unlink()
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copy(HERE / "agent.py", root / "usr/local/lib/agent.py")
    for unit in ("systemd-networkd.service", "agent.service"):
        run("chroot", root, "/bin/systemctl", "enable", unit)
    run("chroot", root, "/bin/systemctl", "set-default", "agent.target")
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    for name in ("vmlinuz", "initrd"):
        (found,) = (root / "boot").glob(f"{name}*-amd64")
        shutil.copy(found, made / name.removesuffix(".img"))
    raw = made.parent / "raw"
    run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, raw, SIZE)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, made / "base.qcow2")


class _Run:
    """Runs commands; what they say is shown when one fails."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __call__(self, *command: str | Path) -> None:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        with self._log.open("w") as log:
            done = subprocess.run(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            said = self._log.read_text(errors="replace").strip().splitlines()[-15:]
            raise MachineError("\n".join([f"{command[0]} failed:", *said]))
