"""What a message of each network costs the gateway, beside one of /message.

    python -m benchmarks.networks [--rounds 150]

Different messages, in bundles of 64 connections at once, go straight to a gateway's socket, in each
round one bundle of each kind, so that whatever else the machine does meets all of them. Told is the
processor time of the gateway's process for a message, with the commits and without an archive: the
median of the rounds, and how many times that of /message it is. Readings are others in each
message. A weather console sends up to 31 of them, so there is a /message with as many values too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import socket
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from habitat_like.networks.catalogue import BUILT_IN
from tests.support import scgi
from tests.support.gateway import Habitat
from tests.support.net import ROOT

SAMPLES = ROOT / "tests" / "networks" / "samples"
#: Connections that are open at once.
BUNDLE = 64
MESSAGE = (
    '{"callsign": "M0ZDR", "type": "RECEIVED_TELEM", "time_created": %d, "time_uploaded": %d,'
    ' "data": {"string": "JCRURVNUQkFMTE9PTiwxNzMsMTA6MTU6MjksNTIuMTIzNDUsNC45ODc2",'
    ' "frequency": 434075199.23%s}}'
)
#: The same with as many values as the larger of the weather stations has.
LARGE = "/message, 31 values"
VALUES = "".join(f', "value_{number}": {1000 + number / 8}' for number in range(30))
SECOND_LINE = "\nstate,device=tasmota_0A1B2C uptime_sec=86400"
#: A sample of each network, what in it makes it another one each time, and the goal: those that
#: run on the gateway's thread cost at most 1.5 times as much, the others 3 times.
KINDS = {
    "weather (WU)": ("3-weather/wu-weewx", "tempf=41.5", "tempf=%d", 1.5),
    "weather (Ecowitt)": ("3-weather/ecowitt-gw2000", "runtime=1574073", "runtime=%d", 1.5),
    "airrohr": ("4-air/airrohr-custom", "5062434", "%d", 1.5),
    "osmand": ("6-trackers/osmand", "altitude=12.5", "altitude=%d", 1.5),
    "sondehub": ("1-sondehub/amateur-telemetry-lora-gateway", '"alt":12345', '"alt":%d', 3.0),
    "opensensemap": ("4-air/osem-single", '"value"', '"n%d":1,"value"', 3.0),
    "safecast": ("4-air/safecast", '"value":38', '"value":%d', 3.0),
    "ttn": ("5-lorawan/tts-uplink", '"f_cnt": 63', '"f_cnt": %d', 3.0),
    "chirpstack": ("5-lorawan/chirpstack-up", '"fCnt": 4', '"fCnt": %d', 3.0),
    "helium": ("5-lorawan/helium-legacy", '"fcnt":2', '"fcnt":%d', 3.0),
    "owntracks": ("6-trackers/owntracks-location", '"tst":1795169730', '"tst":1%d', 3.0),
    "rockblock": ("6-trackers/rockblock-form", "momsn=376", "momsn=%d", 3.0),
    "influx (one line)": ("8-generic/influx-v1-tasmota", f"88.1{SECOND_LINE}", "%d", 3.0),
    "influx (two lines)": ("8-generic/influx-v1-tasmota", "88.1", "%d", 6.0),
    "cloudevents": ("8-generic/cloudevents-binary", "000123", "%d", 3.0),
}


#: A reading in a query, a form or airRohr's JSON.
_READING = re.compile(r'(?<=[="])[0-9]+\.[0-9]+(?=[&"]|\Z)')


def _other(reading: str, vary: random.Random) -> str:
    """Another number of the same form."""
    whole, _, digits = reading.partition(".")
    return f"{whole}.{vary.randrange(10 ** len(digits)):0{len(digits)}d}"


def sample(name: str, old: str, new: str) -> Callable[[int], bytes]:
    """A maker of SCGI requests out of a sample."""
    head, _, body = (SAMPLES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    headers = dict(field.split(": ", 1) for field in fields)
    headers.pop("Content-Length", None)

    def make(number: int) -> bytes:
        text = new % number
        # Readings differ from one upload to the next: nothing may live off seeing them again.
        vary = random.Random(number)
        return scgi.encode(
            method,
            _READING.sub(lambda found: _other(found[0], vary), target.replace(old, text)),
            _READING.sub(
                lambda found: _other(found[0], vary),
                body.decode("latin-1").replace(old, text),
            ).encode("latin-1"),
            {name: value.replace(old, text) for name, value in headers.items()},
        )

    return make


def message(number: int, more: str = "") -> bytes:
    """A request of /message."""
    created = 1295103598 + number
    return scgi.encode("POST", "/message", (MESSAGE % (created, created + 109, more)).encode())


def large_message(number: int) -> bytes:
    """One with many values."""
    return message(number, VALUES)


def send(path: Path, requests: list[bytes]) -> int:
    """Send the requests at once; how many were answered as a success."""
    done = 0
    clients = []
    for request in requests:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        client.sendall(request)
        clients.append(client)
    for client in clients:
        done += client.recv(4096).startswith(b"Status: 20")
        client.close()
    return done


def cpu(pid: int) -> float:
    """Seconds of processor time that all threads have used."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def measure(rounds: int) -> dict[str, float]:
    """Microseconds for a message of each kind."""
    gateway = Habitat(
        {
            "networks": {name: {} for name in BUILT_IN if name != "hisparc"},
            "archive": {"uri": "couchdb://127.0.0.1:9/none", "retry_min": 3000, "retry_max": 3000},
            "log": {"level": "error"},
        }
    )
    makers: dict[str, Callable[[int], bytes]] = {"/message": message, LARGE: large_message}
    makers |= {name: sample(*about[:3]) for name, about in KINDS.items()}
    took: dict[str, list[float]] = {name: [] for name in makers}
    numbers = itertools.count(100_000)
    try:
        gateway.start()
        for _ in range(rounds):
            for name, make in makers.items():
                requests = [make(next(numbers)) for _ in range(BUNDLE)]
                before = cpu(gateway.pid)
                done = send(gateway.socket_path, requests)
                took[name].append((cpu(gateway.pid) - before) / BUNDLE * 1e6)
                assert done == BUNDLE, f"{name}: {BUNDLE - done} were refused"
    finally:
        gateway.close()
    return {name: statistics.median(times) for name, times in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=150)
    chosen = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores\n")
    found = measure(chosen.rounds)
    base = found.pop("/message")
    print(f"{'/message':20} {base:7.1f} µs")
    for name, took in found.items():
        line = f"{name:20} {took:7.1f} µs  {took / base:5.2f} times"
        if name in KINDS:
            goal = KINDS[name][3]
            line += f" (goal {goal})" + ("  more than wanted" if took > goal * base else "")
        print(line)


if __name__ == "__main__":
    main()
