"""Bad input: what nobody would send, to the parsers in-process and to the gateway's socket."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults import targets
from tests.faults.fuzz import is_guided
from tests.faults.mutate import mutate
from tests.faults.rig import Rig
from tests.faults.run import Run, scenario
from tests.faults.stations import Mix
from tests.support import scgi
from tests.support.net import ROOT
from tests.support.wait import eventually

#: What the documentation says that a gateway answers; 0: nothing, where no answer can be sent.
DOCUMENTED = {0, 200, 207, 400, 404, 405, 408, 413, 415, 431, 503}
#: How much the gateway's memory may grow over the second half of the inputs, in bytes.
GROWTH = 8 * 1024 * 1024
PATHS = [
    "/message",
    "/messages",
    "/",
    "/status",
    "/metrics",
    "/healthz",
    "/%00",
    "/message/x",
    "/?",
]
METHODS = ["POST", "POST", "POST", "GET", "PUT", "HEAD", "", "\xff"]
HEADERS = [{}, {}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "br"}, {"X": "y" * 5000}]


@scenario(
    "input.fuzz", "inputs to the parsers of SCGI, JSON, gzip and configuration", 1_000_000, 5_000
)
def fuzz(run: Run) -> None:
    """One process a target. Inputs are shared out evenly."""
    each = run.faults // len(targets.TARGETS)
    module = [sys.executable, "-m", "tests.faults.fuzz"]
    seed = run.rng.randrange(1 << 30)

    def one(target: str) -> subprocess.CompletedProcess[str]:
        command = [*module, target, str(each), str(seed)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3000
        )

    with ThreadPoolExecutor(2) as pool:
        for target, done in zip(targets.TARGETS, pool.map(one, targets.TARGETS), strict=True):
            assert done.returncode == 0, f"{target}: {(done.stdout + done.stderr)[-3000:]}"
            run.injected += each
            run.schedule.append(f"{target}: {each} inputs, seed {seed}")
    run.notes["coverage-guided"] = is_guided()
    run.check_nothing_sent()


@scenario("input.socket", "requests to the socket that no web server would send", 60_000, 2_000)
def through_the_socket(run: Run) -> None:
    rig = run.rig(front=False, config={"gateway": {"timeout": 1, "max_body": 65536}}).start()
    with run.stations(rig, 4, mix=Mix(repeat=0)) as stations:
        stations.wait_for(100)
        before = memory(rig), threads(rig)
        # What is kept is there after a part: modules for the metrics, the window of recent ids.
        accepted, sizes = 0, [before[0]]
        for _ in range(4):
            accepted += send_all(run, rig, run.faults // 4)
            sizes.append(memory(rig))
        stations.wait_for(100)
    run.judge(rig, strangers=accepted)
    shown = ", ".join(f"{size >> 20}" for size in sizes)
    run.notes["MiB of memory, at the start and after each quarter"] = shown
    eventually(lambda: threads(rig) == before[1], f"the threads are those of before: {before[1]}")
    assert sizes[4] < sizes[2] + GROWTH, f"memory: {shown} MiB"
    eventually(lambda: rig.habitat.status()["connections"] == 0, "no connection is left behind")


@scenario("input.reload", "SIGHUP with a configuration that nobody would write", 600, 40)
def reload(run: Run) -> None:
    """Each is put in force or refused with one line, and the gateway goes on."""
    # Where the log goes is not for chance to say.
    environ = {"HABITAT_LOG_FILE": "", "HABITAT_LOG_LEVEL": "info", "HABITAT_LOG_FORMAT": "json"}
    rig = run.rig(front=False)
    rig.habitat.environ.update(environ)
    rig.start()
    with run.stations(rig, 4) as stations:
        stations.wait_for(100)
    good = rig.habitat.config_path.read_bytes()
    corpus = [*targets.corpus("config"), good, good]
    before = threads(rig)
    for number in range(run.faults):
        data = mutate(run.rng, corpus)
        rig.habitat.config_path.write_bytes(data)
        rig.habitat.signal(signal.SIGHUP)
        eventually(lambda: reloads(rig) > number, f"an answer to {data!r}")  # noqa: B023
        assert not rig.habitat.process_ended(), f"it ended for {data!r}"
        run.injected += 1
    rig.habitat.config_path.write_bytes(good)
    rig.habitat.signal(signal.SIGHUP)
    eventually(lambda: threads(rig) == before, "the threads are those that were there")
    run.schedule.append(f"{run.injected} configurations")
    run.notes["put in force"] = rig.habitat.log.count("configuration reloaded")
    with run.stations(rig, 4) as stations:
        stations.wait_for(100)
    run.judge(rig)


def reloads(rig: Rig) -> int:
    """How many configurations the log says were put in force or refused."""
    log = rig.habitat.log
    return log.count("configuration reloaded") + log.count("reload refused")


def send_all(run: Run, rig: Rig, count: int) -> int:
    """Send ``count`` inputs over several connections; returns how many were accepted by luck."""
    bodies = targets.corpus("message") + targets.corpus("messages") + targets.corpus("gzip")
    requests = targets.corpus("scgi")

    def some(seed: float, count: int) -> int:
        rng = random.Random(seed)
        return sum(send_one(rng, rig, bodies, requests) for _ in range(count))

    share = count // 4
    with ThreadPoolExecutor(4) as pool:
        accepted = sum(pool.map(some, [run.rng.random() for _ in range(4)], [share] * 4))
    run.injected += 4 * share
    run.schedule.append(f"{4 * share} requests, {accepted} messages of them were accepted")
    return accepted


def send_one(rng: random.Random, rig: Rig, bodies: list[bytes], requests: list[bytes]) -> int:
    """Send one; the number of messages that its answer accepts. The answer must be documented."""
    if rng.random() < 0.5:
        body = mutate(rng, bodies)
        data = scgi.encode(rng.choice(METHODS), rng.choice(PATHS), body, rng.choice(HEADERS))
    else:
        data = mutate(rng, requests)
    if rng.random() < 0.1:
        data = mutate(rng, [data])
    answer = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        answer = rig.habitat.send_raw(data, end=True)
    status = int(answer[8:11]) if answer.startswith(b"Status: ") else 0
    assert status in DOCUMENTED, f"{status} for {data!r}: {answer[:500]!r}"
    if status not in (200, 207) or (b"OK" not in answer and b'"accepted"' not in answer):
        return 0
    return max(1, answer.count(b'{"id":'))


def memory(rig: Rig) -> int:
    """The gateway's resident memory, in bytes."""
    return int(Path(f"/proc/{rig.habitat.pid}/statm").read_text().split()[1]) * 4096


def threads(rig: Rig) -> list[str]:
    """The names of the gateway's threads."""
    tasks = Path(f"/proc/{rig.habitat.pid}/task")
    return sorted((task / "comm").read_text().strip() for task in tasks.iterdir())
