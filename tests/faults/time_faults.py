"""Faults of time: the gateway's clock set back and forward, stations' clocks of any kind."""

from __future__ import annotations

import time
from itertools import product

from tests.faults.gateway_faults import BETWEEN
from tests.faults.messages import Messages
from tests.faults.run import Run, scenario
from tests.faults.stations import Mix

HOUR = 3600
#: Seconds before which a 32-bit clock ends: signed in 2038, unsigned in 2106.
ENDS = {"2038": 1 << 31, "2106": 1 << 32}


@scenario("time.jumps", "the clock set back and forward by hours and years, kills between", 60, 4)
def jumps(run: Run) -> None:
    """Retention is an hour: a clock that jumps on must not prune what isn't archived."""
    rig = run.rig(shim=True, config={"journal": {"retention": HOUR}}).start()
    here = rig.habitat.config["archive"]["uri"]
    with run.stations(rig) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, BETWEEN))
            reach = run.rng.choice([1, HOUR, 100 * HOUR, 10_000 * HOUR])
            jump = run.rng.randint(-reach, reach)
            rig.shim.move_clock(jump)
            stations.wait_for(run.rng.randint(1, BETWEEN))
            if number % 2:
                # A start prunes. Every second time the archive can't be used.
                away = number % 4 == 1
                rig.habitat.config["archive"]["uri"] = "sqlite:/dev/null/none" if away else here
                rig.crash()
                rig.up()
            run.inject(f"the clock is {jump} s off")
    rig.habitat.config["archive"]["uri"] = here
    rig.habitat.restart()
    run.judge(rig)


#: How far from an end the gateway's clock is set, in seconds: it runs over it, or jumps.
AROUND = [-0.7, -0.7, -HOUR, -1, 0, 1, HOUR, 100 * HOUR]


@scenario("time.ends", "the gateway's clock runs and jumps over the ends of 2038 and 2106", 24, 1)
def ends(run: Run) -> None:
    """Each year has a visit in which the clock runs over its end, and then others."""
    rig = run.rig(shim=True).start()
    for number in range(run.faults):
        year = list(ENDS)[number % len(ENDS)]
        off = -0.7 if number < len(ENDS) else run.rng.choice(AROUND)
        runs_over = off == -0.7
        rig.shim.move_clock(ENDS[year] + (-HOUR if runs_over else off) - time.time())
        run.inject(f"the clock is {off} s off the end of {year}")
        with run.stations(rig) as stations:
            if runs_over:
                # Something is taken before the end, however long that takes.
                stations.wait_for(1)
                rig.shim.move_clock(ENDS[year] + off - time.time())
                run.pause(0.8, 1.0)
            stations.wait_for(run.rng.randint(1, BETWEEN))
            if number % 3:
                rig.crash()
                rig.up()
            stations.wait_for(BETWEEN)
    run.judge(rig)
    times = [document["time_uploaded"] for document in rig.documents()]
    for year in list(ENDS)[: run.faults]:
        assert min(times) < ENDS[year] <= max(times), f"the clock did not go over {year}"


#: What stations' clocks say: nothing yet, the ends of counters, the last that ten digits hold.
TIMES = [0, 1, 1295103598, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 9_999_999_999]
CLOCKS = list(product(TIMES, TIMES))


#: What the gateway's clock says then: the truth, its first day, the ends of counters.
GATEWAYS = [None, HOUR, 1 << 31, 1 << 32]


@scenario(
    "time.stations",
    "stations' clocks at 0, 2038, 2106 and their latest, the gateway's at four",
    8,
    1,
)
def stations_clocks(run: Run) -> None:
    run.messages = Messages(clock=lambda number: CLOCKS[number % len(CLOCKS)])
    rig = run.rig(shim=True).start()
    for number in range(run.faults):
        here = GATEWAYS[number % len(GATEWAYS)]
        rig.shim.move_clock(0 if here is None else here - time.time())
        with run.stations(rig, mix=Mix(bad=0)) as stations:
            stations.wait_for(4 * len(CLOCKS))
            rig.crash()
            rig.up()
            stations.wait_for(4 * len(CLOCKS))
        run.inject(f"{len(CLOCKS)} pairs of times, the gateway's clock at {here or 'now'}")
    run.judge(rig)
