"""Faults of the gateway's process: killed, stopped, restarted, frozen."""

from __future__ import annotations

import signal
import time

from tests.faults.rig import Rig
from tests.faults.run import Run, scenario
from tests.faults.shim import Act, Op
from tests.faults.stations import Mix
from tests.networks.load import Load, all_networks, mixed
from tests.support import scgi
from tests.support.proxy import Rewrite, on
from tests.support.wait import eventually

WAL = "journal.sqlite-wal"
FILE = "journal.sqlite"
ARCHIVE = "archive.sqlite"
ARCHIVE_WAL = "archive.sqlite-wal"
#: Messages that have to get through between two faults, so that each meets a gateway at work.
BETWEEN = 40
#: The same where many messages are the point.
VOLUME = 200_000


@scenario("gateway.kill", "kill -9 at random moments, a third of them during start-up", 220, 4)
def kill(run: Run) -> None:
    begin = time.monotonic()
    rig = run.rig().start()
    start_takes = time.monotonic() - begin
    with run.stations(rig) as stations:
        for number in range(run.faults):
            if run.rng.random() < 0.66:
                rig.up()
                stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
                after = run.pause(0, 0.05)
            else:
                if rig.habitat.process_ended():
                    rig.habitat.start(ready=False)
                after = run.pause(0, start_takes)
            run.inject(f"kill {number} after {after:.4f} s")
            rig.crash()
    run.judge(rig)


@scenario("gateway.kill.couch", "the same, with a CouchDB-protocol server as the archive", 40)
def kill_couch(run: Run) -> None:
    rig = run.rig(archive="couch", config={"archive": {"batch": 20}}).start()
    with run.stations(rig, mix=Mix(bulk=0.02)) as stations:
        for number in range(run.faults):
            rig.up()
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            run.inject(f"kill {number} after {run.pause(0, 0.1):.4f} s")
            rig.crash()
    run.judge(rig)


@scenario("gateway.kill.volume", "kill -9 at random moments while millions are uploaded", 25)
def kill_volume(run: Run) -> None:
    """Large uploads, so that as many messages as ever are in every part of the way."""
    rig = run.rig(config={"archive": {"batch": 2000}}).start()
    with run.stations(rig, 12, mix=Mix(bulk=1, size=500, bad=0.01), timeout=30) as stations:
        for number in range(run.faults):
            rig.up()
            enough = run.rng.randint(VOLUME - VOLUME // 10, VOLUME + VOLUME // 5)
            stations.wait_for(enough, timeout=300)
            run.inject(f"kill {number} after {enough} more messages")
            rig.crash()
    run.judge(rig)


@scenario("gateway.kill.networks", "kill -9 while stations of all networks upload", 60)
def kill_networks(run: Run) -> None:
    uploads = mixed(run.rng, 2 * run.faults)
    rig = run.rig(front=False)
    rig.habitat.config["networks"] = all_networks(rig.habitat.directory, uploads)
    load = Load(rig.start().habitat, uploads, run.ledger, run.rng)
    kills = sorted(run.rng.sample(range(1, len(uploads)), run.faults))
    for number, after in enumerate(kills):
        run.inject(f"kill {number} after {after} requests")
    load.run(kills)
    rig.drain()
    run.verdicts.append(load.judge(rig.documents(), rig.dead_letters()))
    run.check_statistics(rig)
    run.check_log(rig)


#: Where exactly: operations, what is done at them, on which file.
POINTS = {
    "before the journal's write": (Op.WRITE, Act.KILL, WAL),
    "in the middle of the journal's write": (Op.WRITE, Act.TORN, WAL),
    "after the journal's write, before its fsync": (Op.SYNC, Act.KILL, WAL),
    "after the commit, before the reply": (Op.SYNC, Act.KILL_AFTER, WAL),
    "at the reply": (Op.REPLY, Act.KILL, ""),
    "during a checkpoint": (Op.WRITE, Act.KILL, FILE),
    "in a checkpoint's fsync": (Op.SYNC, Act.KILL, FILE),
    "before the archive's write": (Op.WRITE, Act.KILL, ARCHIVE_WAL),
    "after the archive's commit, before the cursor moves": (Op.SYNC, Act.KILL_AFTER, ARCHIVE_WAL),
}


@scenario("gateway.kill.at", "kill -9 at chosen points of commit, reply, checkpoint, cursor", 90, 9)
def kill_at(run: Run) -> None:
    rig = run.rig(shim=True).start()
    with run.stations(rig) as stations:
        for number in range(run.faults):
            name = list(POINTS)[number % len(POINTS)]
            ops, act, path = POINTS[name]
            rig.up()
            stations.wait_for(run.rng.randint(1, BETWEEN))
            # A checkpoint comes once a second.
            skip = run.rng.randint(0, 12) if path != FILE else 0
            rig.shim.arm(0, ops, act, path, skip=skip, times=1)
            eventually(rig.habitat.process_ended, f"it is killed {name}")
            rig.shim.disarm()
            run.inject(f"kill {name}, number {skip}")
    run.judge(rig)


@scenario("gateway.kill.batch", "kill -9 after _bulk_docs has stored, before the cursor moves", 20)
def kill_batch(run: Run) -> None:
    rig = run.rig(archive="proxy", config={"archive": {"batch": 20}}).start()

    def strike(answer: bytes) -> bytes:
        rig.habitat.signal(signal.SIGKILL)
        return answer

    with run.stations(rig, mix=Mix(bulk=0.02)) as stations:
        for number in range(run.faults):
            rig.up()
            stations.wait_for(run.rng.randint(1, BETWEEN))
            rig.toxic.rule = on("POST", "/_bulk_docs", Rewrite(body=strike))
            eventually(rig.habitat.process_ended, "it is killed")
            rig.toxic.rule = None
            run.inject(f"kill {number}")
    run.judge(rig)


@scenario("gateway.kill.prune", "kill -9 while old messages are pruned, archive away", 30, 2)
def kill_prune(run: Run) -> None:
    """Every start prunes; with no retention at all, whatever is behind all cursors."""
    sinks = ["habitat_like.archive.ArchiveSink"]
    config = {"journal": {"retention": 0}, "sinks": sinks}
    rig = run.rig(shim=True, config=config).start()
    away = rig.habitat.config["archive"]["uri"]
    for number in range(run.faults):
        # Every second time the archive can't be used, so that nothing may be pruned.
        rig.habitat.config["archive"]["uri"] = away if number % 2 else "sqlite:/dev/null/none"
        rig.habitat.restart(kill=True)
        with run.stations(rig, mix=Mix(bulk=0.9, size=150)) as stations:
            stations.wait_for(3000)
        if number % 2:
            rig.drain()
            rig.count()
        rig.crash()
        skip = run.rng.randint(0, 40)
        rig.shim.arm(0, Op.WRITE | Op.SYNC, Act.KILL, WAL, skip=skip, times=1)
        rig.try_start()
        run.inject_met(f"kill at operation {skip} after a start that prunes", rig.shim.disarm())
        rig.crash()
    rig.habitat.config["archive"]["uri"] = away
    run.judge(rig)


@scenario("gateway.kill.recovery", "kill -9 during start-up recovery", 60, 2)
def kill_recovery(run: Run) -> None:
    rig = run.rig(shim=True).start()
    for _ in range(run.faults):
        rig.up()
        with run.stations(rig) as stations:
            stations.wait_for(BETWEEN)
        rig.crash()
        ops = run.rng.choice([Op.READ, Op.WRITE, Op.SYNC, Op.TRUNCATE])
        path = run.rng.choice([WAL, FILE, f"{FILE}-shm"])
        skip = run.rng.randint(0, 15 if ops == Op.READ else 3)
        act = run.rng.choice([Act.KILL, Act.TORN]) if ops == Op.WRITE else Act.KILL
        rig.shim.arm(0, ops, act, path, skip=skip, times=1)
        rig.try_start()
        run.inject_met(f"{act.name} at {ops.name} {skip} of {path}", rig.shim.disarm())
        rig.crash()
    run.judge(rig)


@scenario("gateway.kill.shutdown", "kill -9 during an orderly shutdown", 60, 2)
def kill_shutdown(run: Run) -> None:
    rig = run.rig(shim=True).start()
    with run.stations(rig) as stations:
        for _ in range(run.faults):
            rig.up()
            stations.wait_for(BETWEEN)
            ops = run.rng.choice([Op.WRITE, Op.SYNC, Op.UNLINK, Op.REPLY])
            skip = run.rng.randint(0, 5)
            rig.habitat.signal(signal.SIGTERM)
            rig.shim.arm(0, ops, Act.KILL, skip=skip, times=1)
            rig.habitat.wait()
            run.inject_met(f"kill at {ops.name} {skip} after SIGTERM", rig.shim.disarm())
    run.judge(rig)


@scenario("gateway.term", "SIGTERM under load, then started again", 40, 2)
def term(run: Run) -> None:
    rig = run.rig().start()
    with run.stations(rig) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            run.inject(f"SIGTERM {number} after {run.pause(0, 0.1):.4f} s")
            code = rig.habitat.stop()
            assert code == 0, f"exit code {code} after SIGTERM"
            rig.habitat.start()
    run.judge(rig)


@scenario("gateway.activated", "SIGTERM under load with an inherited socket: no answer but 200", 30)
def activated(run: Run) -> None:
    rig = run.rig(activated=True).start()
    with run.stations(rig, mix=Mix(bad=0)) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            run.inject(f"SIGTERM {number} after {run.pause(0, 0.1):.4f} s")
            assert rig.habitat.stop() == 0
            rig.habitat.start()
    run.judge(rig)
    others = {status for status in run.ledger.statuses if status not in (200, 207)}
    assert not others, f"a restart behind an inherited socket was felt: {run.ledger.statuses}"


@scenario("gateway.hup", "SIGHUP under load, with changed limits", 60, 5)
def hup(run: Run) -> None:
    rig = run.rig().start()
    with run.stations(rig) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, BETWEEN))
            gateway = rig.habitat.config["gateway"]
            gateway["max_connections"] = run.rng.choice([4, 64, 1024])
            rig.habitat.write_config()
            run.inject(f"SIGHUP {number}: max_connections {gateway['max_connections']}")
            rig.habitat.signal(signal.SIGHUP)
        assert not rig.habitat.process_ended(), "a SIGHUP ended it"
        stations.wait_for(BETWEEN)
    run.judge(rig)


@scenario("gateway.stop", "SIGSTOP for longer than nginx and the stations wait", 6)
def freeze(run: Run) -> None:
    rig = run.rig(in_server="scgi_read_timeout 1s; scgi_send_timeout 1s;").start()
    with run.stations(rig, timeout=0.7) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            rig.habitat.signal(signal.SIGSTOP)
            run.inject(f"SIGSTOP {number} for {run.pause(1.5, 2.5):.1f} s")
            rig.habitat.signal(signal.SIGCONT)
    run.judge(rig)


def half_sent() -> bytes:
    """A request for a gateway to wait for, less its last byte."""
    return scgi.encode("POST", "/message", b"{}")[:-1]


@scenario("gateway.successor", "a successor takes the socket's path while the old one ends", 4, 1)
def successor(run: Run) -> None:
    # All of them archive into the file of the first.
    old: Rig = run.rig(front=False).start()
    path, archive = old.habitat.socket_path, old.habitat.config["archive"]
    for number in range(run.faults):
        new: Rig = run.rig(front=False, config={"archive": archive})
        new.habitat.socket_path = path
        new.habitat.config["gateway"]["socket"] = str(path)
        with old.habitat.connect() as client:
            # It waits a moment for the rest of this request, with its socket's file gone.
            client.sendall(half_sent())
            eventually(lambda: old.habitat.status()["connections"] == 1, "it is read")  # noqa: B023
            old.habitat.signal(signal.SIGTERM)
            eventually(lambda: not path.exists(), "the old one has left the path")
            new.habitat.start()
            run.inject(f"successor {number} starts while the old one ends")
            assert old.habitat.wait() == 0
        assert path.exists(), "the old one took the socket of its successor away"
        with run.stations(new) as stations:
            stations.wait_for(BETWEEN)
        new.drain()
        old = new
    run.judge(old)
