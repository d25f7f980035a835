"""Faults of nginx: restarted, its worker killed, requests that it sends twice."""

from __future__ import annotations

import os
import signal

from tests.faults.gateway_faults import BETWEEN
from tests.faults.run import Run, scenario
from tests.faults.stations import Mix


@scenario("nginx.restart", "nginx stopped and started, reloaded, its worker killed", 40, 3)
def restart(run: Run) -> None:
    rig = run.rig().start()
    with run.stations(rig) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            kind = run.rng.choice(["stop", "worker", "reload"])
            run.inject(f"{kind} {number} after {run.pause(0, 0.05):.4f} s")
            if kind == "stop":
                rig.nginx.stop()
                rig.nginx.start()
            elif kind == "reload":
                rig.nginx.reload()
            else:
                for worker in rig.nginx.workers():
                    os.kill(worker, signal.SIGKILL)
    run.judge(rig)


#: Both servers are the gateway, so what fails at one goes to it again.
UPSTREAM = """upstream twice {
    server unix:@socket@ max_fails=0;
    server unix:@socket@2 max_fails=0;
}"""
LOCATION = """location / {
    include /etc/nginx/scgi_params;
    scgi_param PATH_INFO $uri;
    scgi_pass twice;
    scgi_read_timeout 300ms;
    scgi_next_upstream error timeout invalid_header http_503 non_idempotent;
    scgi_next_upstream_tries 3;
}"""


@scenario("nginx.twice", "scgi_next_upstream sends one upload twice, on errors and timeouts", 20, 2)
def twice(run: Run) -> None:
    rig = run.rig(in_http=UPSTREAM, block=LOCATION)
    path = rig.habitat.socket_path
    path.with_name(f"{path.name}2").symlink_to(path.name)
    rig.start()
    with run.stations(rig, mix=Mix(repeat=0.3)) as stations:
        for number in range(run.faults):
            stations.wait_for(run.rng.randint(1, 2 * BETWEEN))
            if number % 2:
                run.inject(f"kill {number}")
                rig.crash()
                rig.up()
            else:
                rig.habitat.signal(signal.SIGSTOP)
                run.inject(f"SIGSTOP {number} for {run.pause(0.4, 0.8):.2f} s")
                rig.habitat.signal(signal.SIGCONT)
    run.judge(rig)
    again = rig.nginx.error_log.count("while reading response header from upstream")
    assert again, "nginx sent no upload twice"
    run.notes["requests that nginx sent again"] = again
