"""Power loss: a recorded run is played up to any moment, and what is left must hold every 200."""

from __future__ import annotations

import errno
import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import msgspec

from habitat_like.archive.base import Query
from habitat_like.archive.sqlite import SqliteArchive
from habitat_like.journal.journal import Journal
from tests.faults.disk import Disk, moments
from tests.faults.gateway_faults import ARCHIVE, ARCHIVE_WAL, BETWEEN, FILE, WAL
from tests.faults.judge import Verdict, judge
from tests.faults.ledger import ACKNOWLEDGED, BAD, SENT, Ledger
from tests.faults.messages import Messages
from tests.faults.rig import Rig
from tests.faults.run import Run, scenario
from tests.faults.shim import ALWAYS, Act, Op
from tests.faults.stations import Mix
from tests.support.net import short_directory
from tests.support.wait import eventually

SINK = "habitat_like.archive.ArchiveSink"
#: Of so many power losses one is tried with the whole gateway; the others with its journal alone.
WHOLE = 12
#: Operations of a start and the first commits after it.
START = 40
#: What the stations of these runs send: the shim reads one mark a request.
ALONE = Mix(bulk=0, bad=0.02, repeat=0.05)


@scenario("power.loss", "power loss at any write: what no fsync held is dropped or torn", 1000, 12)
def loss(run: Run) -> None:
    rig = record(run)
    bursts(run, rig, 2 + run.faults // 150)
    lose(run, rig)


@scenario("power.loss.kill", "the same after kill -9 and starts before it", 600)
def loss_after_kill(run: Run) -> None:
    rig = record(run)
    for _ in range(2 + run.faults // 200):
        bursts(run, rig, 1)
        rig.crash()
        rig.habitat.start()
    lose(run, rig)


@scenario("power.loss.fsync", "the same after fsyncs that failed, and kill -9", 600, 12)
def loss_after_eio(run: Run) -> None:
    """Pages whose fsync failed are clean: what is written behind them must not rely on them."""
    rig = record(run)
    starts: list[int] = []
    for number in range(3 + run.faults // 100):
        path = run.rng.choice([WAL, WAL, FILE])
        with run.stations(rig, 4, mix=ALONE) as stations:
            stations.wait_for(run.rng.randint(1, BETWEEN))
            kill = number % 2 == 1
            times = ALWAYS if kill else run.rng.randint(1, 2)
            rig.shim.arm(0, Op.SYNC, Act.FAIL, path, error=errno.EIO, times=times)
            run.pause(0.0, 1.2 if path == FILE else 0.1)
            if kill:
                rig.crash()
            rig.shim.disarm()
            starts.append(rig.shim.recorded())
            rig.up()
            stations.wait_for(BETWEEN)
    lose(run, rig, starts)


@scenario("power.loss.prune", "the same after a prune whose fsync failed, and kill -9", 300, 24)
def loss_after_prune(run: Run) -> None:
    """What a start finds in the log may be in the page cache alone: nothing may build on that."""
    rig = record(run, {"journal": {"retention": 0}})
    starts: list[int] = []
    for _ in range(2 + run.faults // 100):
        with run.stations(rig, 4, mix=Mix(bulk=1, size=100, bad=0)) as stations:
            stations.wait_for(1500)
        rig.drain()
        rig.count()
        run.pause(1.1, 1.5)
        rig.crash()
        # A start brings the log to the disk, moves it all, and prunes: that is to fail.
        skip = run.rng.randint(1, 4)
        rig.shim.arm(0, Op.SYNC, Act.FAIL, WAL, error=errno.EIO, skip=skip)
        rig.habitat.start(ready=False)
        eventually(lambda: rig.shim.fired(0) > 0, "the prune fails", timeout=30)
        run.pause(0, 0.1)
        rig.crash()
        rig.shim.disarm()
        starts.append(rig.shim.recorded())
        rig.up()
        with run.stations(rig, 4, mix=ALONE) as stations:
            stations.wait_for(BETWEEN)
    lose(run, rig, starts, 5 * START)


@scenario("power.loss.checkpoint", "the same after checkpoints whose fsync failed", 300)
def loss_after_checkpoint(run: Run) -> None:
    """A checkpoint that commits overtook isn't fsynced: a later one's fsync has to hold it too."""
    rig = record(run)
    for _ in range(2 + run.faults // 300):
        with run.stations(rig, 4, mix=ALONE) as stations:
            rig.shim.arm(0, Op.WRITE, Act.DELAY, FILE, delay=0.002)
            run.pause(1.5, 2.5)
            rig.shim.arm(1, Op.SYNC, Act.FAIL, FILE, error=errno.EIO)
            stations.wait_for(1)
        run.pause(1.0, 2.0)
        rig.shim.disarm()
        run.pause(1.2, 2.0)
        rig.up()
        bursts(run, rig, 1)
    lose(run, rig)


@scenario("power.loss.archive", "the same after failed fsyncs of the embedded archive", 150)
def loss_after_archive_eio(run: Run) -> None:
    """Readers keep checkpoints from moving all of the log, so that they come in several parts."""
    rig = record(run)
    starts: list[int] = []
    for number in range(2 + run.faults // 30):
        path = run.rng.choice([ARCHIVE_WAL, ARCHIVE])
        # Where somebody reads, a commit that failed is not found in the log again.
        beside = readers(run, rig.habitat.directory / ARCHIVE) if path == ARCHIVE else nullcontext()
        with run.stations(rig, 2, mix=Mix(bulk=0.05, bad=0)) as stations:
            with beside:
                stations.wait_for(200)
                times = run.rng.choice([1, 2, ALWAYS])
                rig.shim.arm(0, Op.SYNC, Act.FAIL, path, error=errno.EIO, times=times)
                eventually(lambda: rig.shim.fired(0) > 0, "an fsync fails", timeout=30)
                run.pause(0, 0.1)
            if number % 2:
                rig.crash()
            rig.shim.disarm()
            starts.append(rig.shim.recorded())
            rig.up()
            stations.wait_for(100)
        run.pause(0.0, 1.5)
    lose(run, rig, starts, 10 * START)


@contextmanager
def readers(run: Run, path: Path) -> Iterator[None]:
    """Somebody who reads the archive all the time, now and then for a while."""
    done = threading.Event()
    rng = random.Random(run.rng.random())

    def read() -> None:
        while not done.is_set():
            uri = f"file:{path}?mode=ro"
            with (
                suppress(sqlite3.OperationalError),  # there may be no archive, or no log, yet
                closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection,
            ):
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM document").fetchone()
                done.wait(rng.uniform(0.01, 0.6))
            done.wait(rng.uniform(0.01, 0.2))

    thread = threading.Thread(target=read, name="reader")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def record(run: Run, config: Mapping[str, Any] | None = None) -> Rig:
    """A gateway whose writes are recorded, at work."""
    run.messages = Messages(marked=True)
    return run.rig(record=True, front=False, config=config).start()


def bursts(run: Run, rig: Rig, count: int) -> None:
    """Load with breaks, in which a checkpoint moves all of the log, so that it starts over."""
    for _ in range(count):
        with run.stations(rig, 4, mix=ALONE) as stations:
            stations.wait_for(run.rng.randint(BETWEEN, 4 * BETWEEN))
        run.pause(0.3, 1.3)


def lose(run: Run, rig: Rig, near: Sequence[int] = (), reach: int = START) -> None:
    """Have the power lost at random places of what was recorded.

    Every second one is at most ``reach`` operations behind one of ``near``: places where a start
    begins, in which there is little to hit and much to break.
    """
    run.judge(rig)
    rig.habitat.stop()
    total = rig.shim.recorded()
    chosen = [run.rng.randrange(total) for _ in range(run.faults)]
    for at in range(0, run.faults if near else 0, 2):
        chosen[at] = min(run.rng.choice(near) + run.rng.randint(0, reach), total - 1)
    disk = Disk(rig.habitat.directory, random.Random(run.rng.random()))
    for number, place in enumerate(moments(rig.shim.events(), disk, chosen)):
        left = short_directory()
        try:
            lost = disk.lose_power(left, run.rng)
            where = f"power lost at operation {place} of {total}, writes {lost.value}"
            run.inject(where)
            whole = number % WHOLE == WHOLE - 1
            check(run, left, disk.answered, where, whole=whole)
        finally:
            shutil.rmtree(left, ignore_errors=True)
    run.notes["operations recorded"] = total


def check(run: Run, left: Path, answered: set[int], where: str, *, whole: bool) -> None:
    """Compare what was answered 200 before the power was lost with what is there after it."""
    ledger = Ledger()
    ledger.sending(run.ledger.numbers(SENT, BAD), run.ledger.numbers(SENT | BAD))
    ledger.answered(200, answered)
    if whole:
        rig = Rig(front=False, files=left)
        try:
            rig.start()
            rig.drain()
            verdict = judge(ledger, run.messages, rig.documents(), rig.dead_letters())
        finally:
            rig.close()
    else:
        verdict = judge(ledger, run.messages, after_power_loss(left))
    wrong = {name for name in verdict.findings if name != "unanswered"}
    assert not wrong, f"{where}: {_only(verdict, wrong)}"
    run.notes["acknowledged before a power loss"] = run.notes.get(
        "acknowledged before a power loss", 0
    ) + ledger.count(ACKNOWLEDGED)


def after_power_loss(left: Path) -> Iterator[dict[str, Any]]:
    """Each document that the archive has, or will get from the journal, once."""
    archive = SqliteArchive(str(left / "archive.sqlite"))
    with closing(Journal(left / FILE)) as journal:
        archive.prepare()
        seen: set[str] = set()
        with closing(archive):
            for document in archive.query(Query()):
                seen.add(document["_id"])
                yield document
        cursor = journal.stored_cursors().get(SINK, 0)
        with closing(journal.reader()) as reader:
            for entry in reader.read(cursor, 1 << 30):
                document = msgspec.json.decode(entry.document)
                if document["_id"] not in seen:
                    seen.add(document["_id"])
                    yield document
    for file in (FILE, "archive.sqlite"):
        with closing(sqlite3.connect(left / file)) as connection:
            ((said,),) = connection.execute("PRAGMA integrity_check(1)")
            assert said == "ok", f"{file}: {said}"


def _only(verdict: Verdict, names: set[str]) -> str:
    return "; ".join(f"{name}: {verdict.findings[name].examples}" for name in sorted(names))
