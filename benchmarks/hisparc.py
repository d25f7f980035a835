"""HiSPARC uploads: the safe reader beside pickle.loads, and a gateway's rate and memory.

    python -m benchmarks.hisparc [--uploads 200] [--connections 8]

The reader's times are the best of many, in this process. The rate is that of uploads of 100 events
through a real nginx to a gateway on this machine, every event different; an archive in SQLite takes
them meanwhile.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.process import cpu
from habitat_like.networks.hisparc import events, pickles
from habitat_like.networks.hisparc.stations import HisparcStation
from tests.networks.hisparc.support import FORM, Network, as_utf8, fields
from tests.support.gateway import Habitat
from tests.support.nginx import Nginx
from tests.support.reply import http_request

EVENTS = 100
#: Rewrites a pickle as Python 2 writes it, whose strings are byte strings.
PYTHON2 = """
import cPickle, sys
def old(one):
    if isinstance(one, unicode): return intern(one.encode("latin-1"))
    if isinstance(one, list): return [old(part) for part in one]
    if isinstance(one, dict): return dict((old(k), old(v)) for k, v in one.items())
    return one
sys.stdout.write(cPickle.dumps(old(cPickle.load(sys.stdin)), 0))
"""


def trace(source: random.Random) -> str:
    samples = ",".join(str(200 + int(source.gauss(0, 2))) for _ in range(60))
    return base64.b64encode(zlib.compress(samples.encode())).decode()


def upload(seed: int) -> list[dict[str, Any]]:
    """The events of an upload: coincidences of a station with four detectors."""
    source = random.Random(seed)
    made = []
    for number in range(EVENTS):
        values: dict[str, Any] = {"RED": True, "EVENTRATE": 0.55, "TRIGPATTERN": 1788}
        for name in ("STDDEV", "BL", "NP", "PH", "IN"):
            values |= {f"{name}{detector}": source.randrange(3000) for detector in range(1, 5)}
        values |= {f"TR{detector}": trace(source) for detector in range(1, 5)}
        moment = datetime.datetime(2026, 11, 20) + datetime.timedelta(seconds=seed * 60 + number)
        made.append(
            {
                "header": {
                    "eventtype_uploadcode": "CIC",
                    "datetime": moment,
                    "nanoseconds": source.randrange(10**9),
                },
                "datalist": [{"data_uploadcode": k, "data": v} for k, v in values.items()],
            }
        )
    return made


def best(call: Callable[[], object], times: int = 50) -> float:
    """Milliseconds of the fastest of many calls."""
    shortest = float("inf")
    for _ in range(times):
        begin = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest * 1000


def peak(call: Callable[[], object]) -> float:
    """Kilobytes of Python's memory at most in use during a call."""
    tracemalloc.start()
    call()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 1024


def python2() -> str | None:
    found = [shutil.which("python2.7")]
    found += [str(path) for path in Path.home().glob(".pyenv/versions/2.7*/bin/python2.7")]
    for path in filter(None, found):
        if not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode:
            return path
    return None


def compare_readers() -> None:
    tree = upload(0)
    cases = {f"Python 3, protocol {number}": pickle.dumps(tree, number) for number in (2, 4)}
    if program := python2():
        old = subprocess.run(
            [program, "-c", PYTHON2], input=pickle.dumps(tree, 2), capture_output=True, check=True
        )
        cases = {"Python 2, protocol 0": old.stdout, **cases}
    station = HisparcStation(501, "amsterdam", "")
    print(
        f"{EVENTS} events                   bytes    loads     safe ratio    whole  peak kB (loads)"
    )
    for name, data in cases.items():

        def plain(data: bytes = data) -> object:
            return pickle.loads(data, encoding="bytes")

        def safe(data: bytes = data) -> object:
            return pickles.load(data)

        def whole(data: bytes = data) -> object:
            found = events.read(pickles.load(data), len(data))
            return [
                one.document(b'"a1"')
                for one in events.messages(found, station, None, 1795279031, 2020)
            ]

        loads, ours, all_ = best(plain), best(safe), best(whole)
        print(
            f"{name:26} {len(data):7} {loads:5.2f} ms {ours:5.2f} ms {ours / loads:5.1f}"
            f" {all_:5.2f} ms {peak(safe):8.0f} ({peak(plain):.0f})"
        )


def send(work: tuple[tuple[str, int], list[bytes]]) -> list[float]:
    """Post each body; the seconds that each took."""
    address, bodies = work
    took = []
    for body in bodies:
        begin = time.perf_counter()
        reply = http_request(address, "POST", "/upload", body, FORM)
        took.append(time.perf_counter() - begin)
        assert reply.body == b"100", reply
    return took


def memory(pid: int) -> dict[str, float]:
    """Megabytes of a process now and at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {
        name: int(re.search(rf"^{name}:\s+(\d+) kB", text, re.M)[1]) / 1024  # type: ignore[index]
        for name in ("VmRSS", "VmHWM")
    }


def measure_gateway(uploads: int, connections: int) -> None:
    gateway = Habitat()
    gateway.config["log"] = {"level": "warning"}
    Network(gateway)
    front = Nginx(gateway)
    try:
        gateway.start()
        front.start()
        bodies = [as_utf8(fields(upload(seed), protocol=2)) for seed in range(uploads)]
        before, used = memory(gateway.pid), cpu(gateway.pid)
        work = [(front.address, bodies[start::connections]) for start in range(connections)]
        begin = time.perf_counter()
        with ProcessPoolExecutor(connections) as pool:
            took = sorted(second for part in pool.map(send, work) for second in part)
        seconds = time.perf_counter() - begin
        used = cpu(gateway.pid) - used
        after = memory(gateway.pid)
        written = gateway.status()["messages"]["written"]
    finally:
        front.close()
        gateway.close()
    assert written == uploads * EVENTS
    print(
        f"\n{uploads} uploads of {len(bodies[0])} bytes over {connections} connections:"
        f" {uploads / seconds:.0f} uploads/s, {uploads * EVENTS / seconds:.0f} events/s\n"
        f"answered after {took[len(took) // 2] * 1000:.0f} ms (median),"
        f" {took[int(len(took) * 0.99)] * 1000:.0f} ms (99 %)\n"
        f"the gateway's processor time: {used / uploads / 1000:.1f} ms an upload\n"
        f"the gateway's memory: {before['VmRSS']:.0f} MB before, {after['VmRSS']:.0f} MB after,"
        f" {after['VmHWM']:.0f} MB at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--connections", type=int, default=8)
    chosen = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores\n")
    compare_readers()
    measure_gateway(chosen.uploads, chosen.connections)


if __name__ == "__main__":
    main()
