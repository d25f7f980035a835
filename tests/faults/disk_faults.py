"""Faults of the disk: full, read-only, slow, failing; what it takes back after a failed fsync."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.gateway_faults import ARCHIVE, ARCHIVE_WAL, BETWEEN, FILE, WAL
from tests.faults.rig import Rig
from tests.faults.run import Run, Skipped, scenario
from tests.faults.shim import Act, Op
from tests.faults.stations import Stations
from tests.support.net import short_directory
from tests.support.wait import eventually

#: Retries in a row that show that stations are being turned away, one 503 each.
TURNED_AWAY = 20


def met(rig: Rig, times: int) -> bool:
    """Whether the gateway has met the fault so often, or ended for it."""
    return rig.shim.fired(0) >= times or rig.habitat.process_ended()


def wait_for_503(run: Run, stations: Stations) -> None:
    """Wait until stations are turned away."""
    before = run.ledger.statuses[503]
    eventually(
        lambda: run.ledger.statuses[503] >= before + TURNED_AWAY or not stations.running(),
        "stations get 503",
    )


def broken(run: Run, rig: Rig, ops: Op, path: str, error: int) -> None:
    """Let operations on a file fail, now in bursts of a few and now until stations feel it."""
    with run.stations(rig) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            burst = number % 2 == 0
            skip, times = run.rng.randint(0, 6), run.rng.randint(1, 3)
            name = errno.errorcode[error]
            if burst:
                rig.shim.arm(0, ops, Act.FAIL, path, error=error, skip=skip, times=times)
                eventually(lambda: met(rig, times), "the fault is met")  # noqa: B023
                run.inject(f"{name} {times} times after {skip}")
            else:
                rig.shim.arm(0, ops, Act.FAIL, path, error=error, skip=skip)
                wait_for_503(run, stations)
                run.inject(f"{name} until stations are turned away, after {skip}")
            rig.shim.disarm()
            if run.rng.random() < 0.3 and not rig.habitat.process_ended():
                rig.crash()
            rig.ready()
    run.judge(rig)


@scenario("disk.write.eio", "EIO on the journal's writes", 60, 4)
def write_eio(run: Run) -> None:
    broken(run, run.rig(shim=True).start(), Op.WRITE, WAL, errno.EIO)


@scenario("disk.fsync.eio", "EIO on the journal's fsyncs", 60, 3)
def fsync_eio(run: Run) -> None:
    broken(run, run.rig(shim=True).start(), Op.SYNC, WAL, errno.EIO)


@scenario("disk.write.enospc", "ENOSPC on the journal's writes", 40)
def write_enospc(run: Run) -> None:
    broken(run, run.rig(shim=True).start(), Op.WRITE, WAL, errno.ENOSPC)


@scenario("disk.readonly", "the file system turns read-only: EROFS on writes and creations", 20)
def readonly(run: Run) -> None:
    rig = run.rig(shim=True).start()
    ops = Op.WRITE | Op.CREATE | Op.TRUNCATE | Op.UNLINK
    with run.stations(rig) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            for slot, path in enumerate([WAL, FILE, f"{FILE}-shm", ARCHIVE_WAL, ARCHIVE]):
                rig.shim.arm(slot, ops, Act.FAIL, path, error=errno.EROFS)
            wait_for_503(run, stations)
            if number % 3 == 2:
                # A start on such a disk must fail in order, or serve 503.
                rig.crash()
                rig.try_start()
            run.inject(f"read-only {number}{', killed and started there' * (number % 3 == 2)}")
            rig.shim.disarm()
            rig.ready()
    run.judge(rig)


@scenario("disk.checkpoint.eio", "EIO on writes and fsyncs of the journal's checkpoints", 30, 1)
def checkpoint_eio(run: Run) -> None:
    """After an fsync that failed only a new start can be trusted with the journal."""
    rig = run.rig(shim=True).start()
    with run.stations(rig) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            if number % 2 == 0:
                rig.shim.arm(0, Op.SYNC, Act.FAIL, FILE, error=errno.EIO)
                eventually(rig.habitat.process_ended, "it ends")
                code = rig.habitat.wait()
                assert code == 1, f"exit code {code} after a failed fsync of the journal's file"
                run.inject("EIO on the fsync of a checkpoint")
            else:
                times = run.rng.randint(1, 4)
                rig.shim.arm(0, Op.WRITE, Act.FAIL, FILE, error=errno.EIO, times=times)
                eventually(lambda: rig.shim.fired(0) > 0, "the fault is met")
                run.inject(f"EIO on {times} writes of checkpoints")
                if run.rng.random() < 0.3:
                    rig.crash()
            rig.shim.disarm()
            rig.up()
    run.judge(rig)


@scenario("disk.archive.eio", "EIO and ENOSPC on the embedded archive's writes and fsyncs", 40, 4)
def archive_eio(run: Run) -> None:
    rig = run.rig(shim=True).start()
    with run.stations(rig) as stations:
        for _ in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            ops = run.rng.choice([Op.WRITE, Op.SYNC])
            path = run.rng.choice([ARCHIVE_WAL, ARCHIVE_WAL, ARCHIVE])
            error = run.rng.choice([errno.EIO, errno.ENOSPC])
            skip, times = run.rng.randint(0, 2), run.rng.randint(1, 3)
            rig.shim.arm(0, ops, Act.FAIL, path, error=error, skip=skip, times=times)
            run.pause(0.05, 0.3)
            fired = rig.shim.disarm()
            run.inject(f"{errno.errorcode[error]} on {ops.name} of {path}, met {fired} times")
    run.judge(rig)


@scenario("disk.slow", "fsyncs of 30 to 300 ms", 12)
def slow(run: Run) -> None:
    rig = run.rig(shim=True).start()
    with run.stations(rig, 32) as stations:
        for _ in range(run.faults):
            delay = run.rng.uniform(0.03, 0.3)
            rig.shim.arm(0, Op.SYNC, Act.DELAY, WAL, delay=delay)
            rig.shim.arm(1, Op.SYNC, Act.DELAY, FILE, delay=delay)
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            rig.shim.disarm()
            run.inject(f"fsyncs of {delay:.3f} s")
    run.judge(rig)


@contextlib.contextmanager
def small_disk(kilobytes: int) -> Iterator[Path]:
    """A file system of so many kilobytes. Raises Skipped where none can be mounted."""
    directory = short_directory()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        directory.rmdir()
        raise Skipped(f"a small file system can't be mounted: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
        shutil.rmtree(directory, ignore_errors=True)


def fill(directory: Path) -> Path:
    """Take all the room that is left."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return filler


@scenario("disk.full", "a full file system under journal and archive, and room again", 20, 2)
def full(run: Run) -> None:
    disk = run.cleanup.enter_context(small_disk(64 * 1024))
    rig = run.rig(files=disk).start()
    with run.stations(rig) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            filler = fill(disk)
            wait_for_503(run, stations)
            if number % 3 == 2:
                rig.crash()
                rig.try_start()
            run.inject(f"full {number}{', killed and started there' * (number % 3 == 2)}")
            filler.unlink()
            rig.ready()
    run.judge(rig)


def delete(directory: Path) -> None:
    """As ``rm -rf`` does."""
    shutil.rmtree(directory)


def move(directory: Path) -> None:
    """As ``mv`` does; what was moved comes back no more."""
    directory.rename(directory.with_name(f"gone-{time.monotonic_ns()}"))


def replace(directory: Path) -> None:
    """Put an old copy in place, file by file, as one restores a backup."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as old:
        for file in directory.iterdir():
            shutil.copy(file, old)
        for file in Path(old).iterdir():
            file.rename(directory / file.name)


@scenario("disk.lost", "the journal's files deleted, moved or replaced under load", 18, 3)
def lost(run: Run) -> None:
    """What waits is saved. Every second time the archive is away; every third ends with kill -9."""
    files = short_directory()
    run.cleanup.callback(shutil.rmtree, files, ignore_errors=True)
    rig = run.rig()
    config = rig.habitat.config
    directory = files / "journal"
    config["journal"]["path"] = str(directory / "journal.sqlite")
    good = config["archive"]["uri"]
    rig.start()
    for number in range(run.faults):
        config["archive"]["uri"] = good if number % 2 else "sqlite:/dev/null/none"
        rig.habitat.restart()
        way = (delete, move, replace)[number % 3]
        with run.stations(rig) as stations:
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            way(directory)
            wait_for_503(run, stations)
            eventually(lambda: is_saved(rig), "what waits is saved")
            config["archive"]["uri"] = good
            killed = number % 3 == 1
            rig.habitat.restart(kill=killed)
            run.inject(f"{way.__name__}{', killed' * killed}")
            rig.ready()
    run.judge(rig)


def is_saved(rig: Rig) -> bool:
    """Whether a journal without its files could end now and lose nothing."""
    found = list(rig.journal.parent.glob("*.rescued"))
    return bool(found) or rig.habitat.status()["backlog"] == 0
