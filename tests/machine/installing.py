"""Steps: from a bare machine to gateways that serve, as the documentation has it."""

from __future__ import annotations

import re
import time
from collections import Counter

from tests.faults.ledger import ACKNOWLEDGED
from tests.faults.messages import number_of
from tests.machine import trial
from tests.machine.documented import commands
from tests.machine.trial import RELEASE, Trial, no_host, step
from tests.support.wait import eventually

#: Seconds for what installs packages: a slow machine behind a slow network.
INSTALLING = 1800.0
CLONE = "/root/habitat_like"


@step("run", "`make run` in a clone, and what it says to try", on="bare")
def run(work: Trial) -> str:
    work.put_release(CLONE)
    begin = time.monotonic()
    unit = "systemd-run --unit=run --property=StandardOutput=file:/root/run.log"
    unit += " --property=StandardError=file:/root/run.log --setenv=HOME=/root"
    work.root(f"{unit} --working-directory={CLONE} make run")

    def serves() -> str:
        said = work.root("cat /root/run.log")
        state = work.machine.run("systemctl is-active run")[1].strip()
        ended = state not in ("active", "activating")
        return said if "Ctrl-C stops" in said or ended else ""

    said = eventually(serves, "make run serves", timeout=INSTALLING, pause=2)
    assert "Ctrl-C stops" in said, f"make run has ended:\n{said[-2000:]}"
    seconds = time.monotonic() - begin
    upload, query, *_ = re.findall(r"^  (\S.*)$", said[said.index("serves on") :], re.M)
    assert work.root(f"cd {CLONE} && {upload}") == "OK"
    eventually(lambda: "M0ZDR" in work.root(f"cd {CLONE} && {query}"), "it is found", timeout=120)
    work.root("systemctl kill --signal=INT run && sleep 1")
    eventually(
        lambda: work.machine.run("systemctl is-active run")[0] != 0,
        "it stops",
        timeout=120,
        pause=1,
    )
    return f"serves after {seconds:.0f} s, all that it installs included"


@step("install", "the documented installation, word for word", on="bare")
def install(work: Trial) -> str:
    begin = time.monotonic()
    work.put_release(RELEASE)
    for heading in ("## 1. The user and the program", "## 2. The configuration"):
        for block in commands(heading):
            work.documented(block, INSTALLING)
    work.say("installed the program")
    for block in commands("## 4. systemd"):
        said = work.documented(block)
        marks = re.findall(r"^(ok|warning|error|config error) +\S+:", said, re.M)
        assert len(marks) > 5, said
        assert set(marks) == {"ok"}, said
    for block in commands("## 5. nginx"):
        work.documented(block)
    seconds = time.monotonic() - begin
    for block in commands("## 6. Try it"):
        assert work.documented(block).startswith("OK")
    query = "habitat query --callsign TEST"
    eventually(lambda: "LISTENER_INFO" in work.root(query), "it is found", timeout=120)
    work.uploads_work("after the installation")
    for name in ("habitat.example.org", "10.0.2.15", "any.other.name"):
        reply = work.upload(host=name)
        assert reply.status == 200, f"an upload to {name} got {reply.status}"
    assert no_host(work.machine.address, work.messages.body(0)) == 200
    assert work.request("GET", "/status").status == 403
    assert work.request("GET", "/console/").status == 403
    inside = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1"
    assert work.root(f"{inside}/status") == "200"
    assert work.root(f"{inside}/console/") == "404"
    work.nothing_is_lost()
    return f"serves after {seconds:.0f} s; uploads by every name, and without one, get `200`"


@step("reboot", "uploads through nginx before and after reboots")
def reboot(work: Trial) -> str:
    times = []
    for _ in range(2):
        work.uploads_work("before a reboot")
        work.machine.reboot()
        times.append(work.served())
        work.uploads_work("after a reboot")
    verdict = work.nothing_is_lost()
    late = max(times)
    return (
        f"2 reboots; the first upload gets `200` {late:.1f} s after the machine is up,"
        f" {verdict.acknowledged} acknowledged, none lost"
    )


@step("upgrade", "the documented upgrade, word for word", on="new")
def upgrade(work: Trial) -> str:
    work.put_release(RELEASE)
    (block,) = commands("## Upgrade by hand")
    with work.load() as stations:
        assert stations.wait_for(20, trial.PATIENCE)
        work.documented(block, INSTALLING)
        assert stations.wait_for(20, trial.PATIENCE)
    assert set(work.ledger.statuses) == {200}, work.ledger.statuses
    verdict = work.nothing_is_lost()
    return f"{verdict.acknowledged} uploads meanwhile, all `200`, none lost"


@step("several", "two gateways with one embedded archive, as documented", on="new")
def several(work: Trial) -> str:
    for block in commands("## More than one gateway"):
        work.documented(block)
    for again in (False, True):
        if again:
            work.machine.reboot()
            work.served()
        with work.load() as stations:
            assert stations.wait_for(200, trial.PATIENCE)
            for name in "ab":
                work.root(f"systemctl restart habitat@{name}")
            work.root("systemctl restart habitat@a.socket habitat@b.socket")
            assert stations.wait_for(50, trial.PATIENCE)
    for name in "ab":
        work.wait_until_archived(f"/etc/habitat/{name}.yml")
    documents = work.documents("--config /etc/habitat/a.yml")
    shares = Counter(document["gateway"] for document in documents)
    assert min(shares["field-a"], shares["field-b"]) > 0, f"messages that each took: {shares}"
    archived = {number_of(document) for document in documents}
    lost = [number for number in work.ledger.numbers(ACKNOWLEDGED) if number not in archived]
    assert not lost, f"{len(lost)} of {work.ledger.acknowledged} are lost"
    return (
        f"{work.ledger.acknowledged} acknowledged, none lost, over restarts of each and a reboot;"
        f" a took {shares['field-a']}, b {shares['field-b']}"
    )
