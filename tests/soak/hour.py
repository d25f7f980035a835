"""An hour at 70 % of what goes all the way to the archive, while the archive is restarted."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter

from benchmarks.load import Outcome
from benchmarks.process import cpu
from tests.soak.checks import check_archived_once, wait_until_drained
from tests.soak.run import Run, scenario
from tests.soak.watch import Watch
from tests.support.couch import CouchServer

SHARE = 0.7
DATABASE = "soak-hour"
#: What counts as flat: growth an hour of memory (MB), descriptors and threads. Python takes memory
#: by the MB, so a step or two come with the largest load; a byte a message would be more.
FLAT = {"rss": 2.5, "descriptors": 1.0, "threads": 0.0}
#: More than are ever busy, or the loader could not keep its rate.
CONNECTIONS = 4096


class Restarts:
    """Takes the archive down and up again, by turns with SIGTERM and kill -9, inside the block."""

    def __init__(self, couch: CouchServer, every: float, down: float) -> None:
        self.count = 0
        self._couch = couch
        self._every = every
        self._down = down
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="restarts")

    def __enter__(self) -> Restarts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._every):
            if self.count % 2:
                self._couch.kill()
            else:
                self._couch.stop()
            self._end.wait(self._down)
            self._couch.start()
            self.count += 1


@scenario("hour", "an hour at 70 % of the capacity, the archive restarting")
def hour(run: Run) -> None:
    couch = run.couch()
    retention = run.seconds(600, 1)
    habitat = run.gateway(
        "hour",
        {"archive": {"uri": couch.uri(DATABASE)}, "journal": {"retention": retention}},
    )
    habitat.start()
    port = run.front("hour")
    traffic = run.traffic()
    begin = time.monotonic()
    first = traffic.send(port, run.seconds(20, 0.2))
    wait_until_drained(habitat)
    capacity = first.requests / (time.monotonic() - begin)
    run.figure("capacity, messages/s from station to archive", round(capacity))
    slice_seconds = run.seconds(30, 0.5)
    # Something in each slice, however little a short look found on a busy machine.
    rate = max(SHARE * capacity, 2 / slice_seconds)
    run.figure("rate, messages/s", round(rate))
    outcomes: list[Outcome] = []
    used = cpu(habitat.pid)
    end = time.monotonic() + run.seconds(3600, 2)
    with Watch(habitat, run.seconds(1, 0.05)) as watch:
        with Restarts(couch, run.seconds(120, 0.5), run.seconds(5, 0.1)) as restarts:
            while time.monotonic() < end:
                outcomes.append(
                    traffic.send(port, slice_seconds, rate=rate, connections=CONNECTIONS)
                )
                if len(outcomes) % 10 == 0:
                    state = f"{len(outcomes)} slices, {restarts.count} restarts"
                    run.tell(f"{state}, backlog {watch.samples.backlog[-1]:.0f}")
        stopped = time.monotonic()
        wait_until_drained(habitat)
        run.figure("seconds until the backlog was 0", round(time.monotonic() - stopped, 1))
    used_after = cpu(habitat.pid)
    run.keep(watch.samples)
    run.figure("restarts of the archive", restarts.count)
    answers = Counter[str]()
    for one in outcomes:
        for kind in ("ok", "unavailable", "other", "unanswered"):
            answers[kind] += getattr(one, kind).count
    sent = sum(answers.values())
    run.figure("requests", dict(answers))
    run.figure("due but never sent", sum(one.unsent for one in outcomes))
    run.figure("p99, ms: median and worst slice", _worst([one.ok.p99 / 1000 for one in outcomes]))
    messages = answers["ok"]
    run.figure("the gateway's CPU, µs a message", round((used_after - used) / messages, 1))
    run.figure("largest backlog", round(max(watch.samples.backlog)))
    run.demand(
        "answered 200", "all", f"{answers['ok']} of {sent}", answers["ok"] == sent, timed=False
    )
    for column, tolerance in FLAT.items():
        trend = watch.samples.trend(column)
        run.demand(f"{column} flat", f"at most +{tolerance:g}/h", str(trend), trend.flat(tolerance))
    threads = set(watch.samples.threads)
    run.demand("threads", "always as many", f"{threads}", len(threads) == 1, timed=False)
    backlog = habitat.status()["backlog"]
    run.demand("backlog in the end", "0", f"{backlog}", backlog == 0, timed=False)
    check_archived_once(run, traffic, couch, DATABASE)
    assert "Traceback" not in habitat.log, habitat.log[-4000:]


def _worst(values: list[float]) -> list[float]:
    return [round(statistics.median(values), 1), round(max(values), 1)]
