"""The step in which faults are made one by one, and `habitat doctor` has to find each."""

from __future__ import annotations

import re
import shlex
import time
from typing import NamedTuple

from tests.machine.trial import Trial, step
from tests.support.wait import eventually

STATE = "/var/lib/habitat"
FREE = "$(df --output=avail -B1 / | tail -n 1)"


class Fault(NamedTuple):
    """``harm`` makes it; ``words`` are in what the doctor wants mended first.

    ``mend`` is what a person has to do where the doctor's command only shows more of it.
    """

    name: str
    harm: str
    words: str
    mend: str = ""


FAULTS = (
    Fault("nginx stopped", "systemctl stop nginx", "nothing listens on port 80"),
    Fault(
        "another server on port 80",
        "systemctl stop nginx && systemd-run --quiet --unit=other python3 -m http.server 80"
        " && until ss -ltn | grep -q ':80 '; do sleep 0.2; done",
        "port 80 is taken by",
    ),
    Fault(
        "Debian's default site",
        "ln -s ../sites-available/default /etc/nginx/sites-enabled/ && systemctl reload nginx",
        "answered by another site",
    ),
    Fault(
        "no site", "rm /etc/nginx/sites-enabled/habitat && systemctl reload nginx", "no site of it"
    ),
    Fault(
        "a mistake in nginx's configuration",
        "echo nonsense >>/etc/nginx/sites-available/habitat",
        "its configuration is wrong",
        "habitat setup --yes",
    ),
    Fault(
        "a name that is not in the DNS",
        "habitat setup --yes --server-name nowhere.invalid",
        "nowhere.invalid is found neither in the DNS",
        "echo 127.0.0.1 nowhere.invalid >>/etc/hosts",
    ),
    Fault(
        "the socket is not nginx's",
        "chown habitat:habitat /run/habitat/habitat.sock",
        "workers may not connect to /run/habitat/habitat.sock",
    ),
    Fault(
        "the socket's directory is closed",
        "chown root /run/habitat && chmod 700 /run/habitat",
        "workers may not enter /run/habitat",
    ),
    Fault("no socket", "rm /run/habitat/habitat.sock", "there is no /run/habitat/habitat.sock"),
    Fault(
        "the gateway stopped",
        "systemctl stop habitat.socket habitat",
        "habitat.service is inactive",
    ),
    Fault("the gateway hangs", "systemctl kill --kill-whom=main --signal=STOP habitat", "gateway"),
    Fault(
        "a wrong configuration",
        "echo 'nonsense: 1' >>/etc/habitat/config.yml; systemctl restart habitat || true",
        "nonsense",
        "sed -i '$d' /etc/habitat/config.yml && systemctl restart habitat.socket habitat",
    ),
    Fault("maintenance", "habitat ctl maintenance on", "aintenance"),
    Fault("the journal gone", f"rm {STATE}/journal.sqlite*", "while the gateway runs"),
    Fault(
        "an archive that the gateway may not open",
        f"chmod 0 {STATE}/archive.sqlite && chown root {STATE}/archive.sqlite"
        " && systemctl restart habitat",
        "archive",
        f"chown habitat {STATE}/archive.sqlite && chmod 640 {STATE}/archive.sqlite",
    ),
    Fault("a full disk", f"fallocate -l {FREE} {STATE}/filler", "disk", f"rm {STATE}/filler"),
    Fault("a clock at 1970", "date -s @86400", "clock", "date -s @{now}"),
)


@step("doctor", "faults, one by one, and `habitat doctor`", on="new")
def doctor(work: Trial) -> str:
    assert _look(work) == "", "it finds something wrong on a sound machine"
    found, mended = 0, 0
    for fault in FAULTS:
        work.root(fault.harm)
        command = _command(_seen(work, fault))
        found += 1
        mend = fault.mend.format(now=int(time.time()))
        if not mend:
            mended += 1
            # There is no terminal to ask on.
            mend = f"{command} --yes" if command == "habitat setup" else command
        work.say(f"{fault.name}: {command}")
        work.root(mend)
        eventually(
            lambda: _look(work) == "", f"{fault.name} is mended by {mend}", timeout=120, pause=1
        )
        work.served()
        work.uploads_work(f"after {fault.name}")
    work.nothing_is_lost()
    return f"{found} faults, each found first, {mended} of them mended by the command that it names"


def _look(work: Trial) -> str:
    """What the doctor wants mended first, with its command; empty if nothing is wrong."""
    status, said = work.machine.run("habitat doctor")
    if status == 0:
        assert "Nothing is wrong." in said, said
        return ""
    _, _, first = said.partition("\nMend this first: ")
    assert first, said
    return first


def _seen(work: Trial, fault: Fault) -> str:
    """What the doctor says of the fault, once the gateway has seen it, which takes a second."""
    said = ""

    def sees() -> bool:
        nonlocal said
        said = _look(work)
        return fault.words in said

    eventually(sees, f"{fault.name} is seen", timeout=120, pause=1)
    return said


def _command(said: str) -> str:
    match = re.search(r"\n\n  (.*)\n\n", said)
    assert match, f"the doctor names no command: {said}"
    assert shlex.split(match[1]), said
    return match[1]
