"""The machine: its disks and its clock."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

from habitat_like.archive import disk_places
from habitat_like.cli.doctor.seen import ERROR, OK, WARNING, Look, Machine, Seen
from habitat_like.cli.setup.effects import ask
from habitat_like.statistics import DiskOutlook, troubles
from habitat_like.statistics.words import size


def disks(machine: Machine) -> Look:
    """Whether the disks have room, in bytes and in files, and can be written to."""
    places = disk_places(machine.config)
    if machine.config.log.file is not None:
        places["log"] = Path(machine.config.log.file).absolute().parent
    for name, path in places.items():
        quoted = shlex.quote(str(path))
        largest = f"du -xh {quoted} | sort -h | tail"
        try:
            status = os.statvfs(path)
        except OSError as error:
            text = f"the directory of the {name}, {path}: {error.strerror}"
            yield Seen(ERROR, "disk", text, machine.restart)
            continue
        free, total = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
        outlook = DiskOutlook(int(time.time()), name, free, total, None, None)
        problems = list(troubles.disks([outlook]))
        for trouble in problems:
            yield Seen(trouble.level, "disk", trouble.text, largest)
        if status.f_flag & os.ST_RDONLY:
            text = f"the disk of the {name} is mounted read-only; see the kernel's log for why"
            yield Seen(ERROR, "disk", text, "dmesg | tail -n 50")
        elif status.f_files and not status.f_favail:
            text = f"the disk of the {name} has room, but for no more files (inodes)"
            yield Seen(ERROR, "disk", text, f"du --inodes -x {quoted} | sort -n | tail")
        elif not problems:
            yield Seen(OK, "disk", f"{size(free)} left for the {name}")


def clock() -> Look:
    """Whether something keeps the clock right; whether it can be right is for the checks."""
    code, said = ask("timedatectl", "show", "--value", "--property=NTPSynchronized")
    if code == 0 and said == "no":
        text = "nothing keeps it right: no time server was reached"
        yield Seen(WARNING, "clock", text, "timedatectl set-ntp true; timedatectl status")
