"""Which of qemu's accelerators runs code here: KVM where it does, else its own translator (TCG)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from tests.machine.image import cache

TCG = "tcg,thread=multi,tb-size=512"
#: Seconds in which a kernel gets to its end under KVM; it takes two.
PATIENCE = 30.0


def choose(image: Path) -> str:
    """The value of qemu's -accel. Where there is a /dev/kvm, it is tried once in each boot.

    A /dev/kvm may be there and hang: in a guest of a host that has no nested virtualization, say.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    known = cache() / "kvm"
    with contextlib.suppress(OSError, ValueError):
        last, answer = known.read_text(encoding="ascii").split()
        if last == boot:
            return "kvm" if answer == "works" else TCG
    works = _kvm_works(image)
    known.write_text(f"{boot} {'works' if works else 'fails'}\n", encoding="ascii")
    return "kvm" if works else TCG


def _kvm_works(image: Path) -> bool:
    """Whether a kernel boots under KVM, runs a first program, and ends with its panic."""
    command = ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512"]
    command += ["-nodefaults", "-display", "none", "-no-reboot", "-kernel", str(image / "vmlinuz")]
    command += ["-initrd", str(image / "initrd"), "-append", "rdinit=/bin/true panic=-1 quiet"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as probe:
        try:
            return probe.wait(PATIENCE) == 0
        except subprocess.TimeoutExpired:
            probe.kill()
            return False
