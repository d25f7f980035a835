"""Steps: from a bare machine to gateways that serve, as the documentation has it."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

from tests.faults.ledger import ACKNOWLEDGED
from tests.faults.messages import number_of
from tests.machine import package, trial
from tests.machine.documented import commands
from tests.machine.trial import RELEASE, Trial, no_host, step
from tests.support.wait import eventually

#: Seconds for what installs packages: a slow machine behind a slow network.
INSTALLING = 1800.0
CLONE = "/root/habitat_like"
#: The parts of the installation without the package, with the embedded archive.
MANUAL = (
    *("## 1. The user and the program", "## 2. The configuration", "## 4. systemd", "## 5. nginx"),
    "## 6. Try it",
)
FOUND = re.compile(r"^ok +trial: a message went through nginx, and is in the archive", re.M)
PASSWORD = "correct horse battery"


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


@step("install", "the package and `habitat setup`, as documented", on="bare")
def install(work: Trial) -> str:
    built = package.built()
    work.say("begins")
    begin = time.monotonic()
    setup = install_package(work, built)
    installed = time.monotonic() - begin
    assert work.machine.run("systemctl is-active habitat.socket habitat.service")[0] != 0
    _, enabled = work.machine.run(
        "systemctl list-unit-files --state=enabled 'habitat*' --no-legend"
    )
    assert not enabled
    work.say(f"installed the package after {installed:.0f} s")
    said = work.documented(setup, INSTALLING)
    seconds = time.monotonic() - begin
    assert FOUND.search(said), said
    (password,) = re.findall(r"user operator, password (\S+)", said)
    user = "curl -s -o /dev/null -w '%{http_code}' -u operator:" + password
    assert work.root(f"{user} http://127.0.0.1/console/overview.json") == "200"
    _serves_everybody(work)
    # Set up again, it finds nothing to do.
    again = work.documented(setup, INSTALLING)
    assert "Nothing had to be changed." in again, again
    assert not work.root("dpkg --verify habitat-like")
    work.nothing_is_lost()
    return (
        f"{seconds:.0f} s from the first command to the first message in the archive,"
        f" {installed:.0f} of them apt's; uploads by every name, and without one, get `200`"
    )


def install_package(work: Trial, path: Path) -> str:
    """Install the package, as documented; the command that sets it up where nobody is asked."""
    work.put_package(path)
    # The name leads here, as it would in the DNS.
    work.root(
        "grep -q habitat.example /etc/hosts || echo 10.0.2.15 habitat.example.org >>/etc/hosts"
    )
    packages, _asking, setup = commands("## Install")
    work.documented(packages, INSTALLING)
    return setup


@step("environment", "`habitat setup` from a virtual environment, as documented", on="bare")
def environment(work: Trial) -> str:
    begin = time.monotonic()
    work.put_release(RELEASE)
    (block,) = commands("### Without the package")
    said = work.documented(block, INSTALLING)
    assert FOUND.search(said), said
    seconds = time.monotonic() - begin
    _serves_everybody(work)
    work.nothing_is_lost()
    return f"{seconds:.0f} s from the first command to the first message in the archive"


@step("manual", "the installation by hand, and the upgrade, word for word", on="bare")
def manual(work: Trial) -> str:
    begin = time.monotonic()
    work.put_release(RELEASE)
    for heading in MANUAL:
        for block in commands(heading):
            said = work.documented(block, INSTALLING, given=f"{PASSWORD}\n")
            marks = re.findall(r"^(ok|warning|error|config error) +\S+:", said, re.M)
            assert set(marks) <= {"ok"}, said
        work.say(heading.lstrip("# "))
    seconds = time.monotonic() - begin
    query = "habitat query --callsign TEST"
    eventually(lambda: "LISTENER_INFO" in work.root(query), "it is found", timeout=120)
    _serves_everybody(work)
    (block,) = commands("## Upgrade by hand")
    with work.load() as stations:
        assert stations.wait_for(20, trial.PATIENCE)
        work.documented(block, INSTALLING)
        assert stations.wait_for(20, trial.PATIENCE)
    assert set(work.ledger.statuses) == {200}, work.ledger.statuses
    verdict = work.nothing_is_lost()
    return (
        f"serves after {seconds:.0f} s; upgraded under load: {verdict.acknowledged} uploads, all"
        " `200`, none lost"
    )


def _serves_everybody(work: Trial) -> None:
    work.uploads_work("after the installation")
    for name in ("habitat.example.org", "10.0.2.15", "any.other.name"):
        reply = work.upload(host=name)
        assert reply.status == 200, f"an upload to {name} got {reply.status}"
    assert no_host(work.machine.address, work.messages.body(0)) == 200
    assert work.request("GET", "/status").status == 403
    assert work.request("GET", "/console/").status == 403
    assert work.root("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/status") == "200"


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


@step("upgrade", "the documented upgrade under load", on="new")
def upgrade(work: Trial) -> str:
    work.put_package(package.later())
    first = work.root("habitat --version").strip()
    pid = "systemctl show --value --property=MainPID habitat"
    before = work.root(pid)
    with work.load() as stations:
        assert stations.wait_for(20, trial.PATIENCE)
        begin = time.monotonic()
        for block in commands("## Upgrade"):
            work.documented(block, INSTALLING)
        seconds = time.monotonic() - begin
        assert stations.wait_for(20, trial.PATIENCE)
    assert set(work.ledger.statuses) == {200}, work.ledger.statuses
    assert work.root("habitat --version").strip() == first + package.LATER
    assert work.root(pid) != before, "the old version still runs"
    # Nobody had changed the configuration, so dpkg did not ask.
    assert package.NEWS in work.root("head -n 1 /etc/habitat/config.yml")
    verdict = work.nothing_is_lost()
    return f"{seconds:.0f} s, {verdict.acknowledged} uploads meanwhile, all `200`, none lost"


@step("remove", "removed, installed again, purged", on="new")
def remove(work: Trial) -> str:
    with work.load() as stations:
        assert stations.wait_for(50, trial.PATIENCE)
    work.wait_until_archived()
    work.root("apt-get remove --yes habitat-like", INSTALLING)
    work.uploads_are_refused_at_once("while it is removed")
    assert work.machine.run("systemctl is-active 'habitat*'")[0] != 0
    work.documented(install_package(work, package.built()), INSTALLING)
    work.nothing_is_lost()
    work.root("apt-get purge --yes habitat-like", INSTALLING)
    assert work.machine.run("nginx -t")[0] == 0
    assert not work.root("systemctl list-units --plain --no-legend 'habitat*'")
    left = "find / -xdev -iname '*habitat*' -not -path '/proc/*' -not -path '/root/*'"
    found = set(work.root(f"{left} -not -path '/var/lib/habitat/*' -not -name '*.deb'").split())
    expected = {"/var/lib/habitat"}
    assert found <= expected, f"a purge leaves {sorted(found - expected)}"
    count = "select count(*) from document"
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute(sys.argv[2]))"
    said = work.root(f"python3 -c '{script}' /var/lib/habitat/archive.sqlite '{count}'")
    number = int(re.sub(r"\D", "", said))
    assert number >= work.ledger.acknowledged
    return f"a purge leaves the archive with its {number} documents, the journal, and nothing else"


@step("several", "two gateways with one embedded archive, as documented", on="new")
def several(work: Trial) -> str:
    _without_package, *blocks = commands("## More than one gateway")
    for block in blocks:
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
    work.put_package(package.later())
    pids = "systemctl show --value --property=MainPID habitat@a habitat@b"
    before = work.root(pids).split()
    told = Counter(work.ledger.statuses)
    with work.load() as stations:
        for block in commands("## Upgrade"):
            work.documented(block, INSTALLING)
        assert stations.wait_for(20, trial.PATIENCE)
    assert set(Counter(work.ledger.statuses) - told) == {200}, work.ledger.statuses
    assert not set(before) & set(work.root(pids).split()), "an old version still runs"
    for name in "ab":
        work.wait_until_archived(f"/etc/habitat/{name}.yml")
    documents = work.documents("--config /etc/habitat/a.yml")
    shares = Counter(document["gateway"] for document in documents)
    assert min(shares["field-a"], shares["field-b"]) > 0, f"messages that each took: {shares}"
    archived = {number_of(document) for document in documents}
    lost = [number for number in work.ledger.numbers(ACKNOWLEDGED) if number not in archived]
    assert not lost, f"{len(lost)} of {work.ledger.acknowledged} are lost"
    return (
        f"{work.ledger.acknowledged} acknowledged, none lost, over restarts, a reboot and an"
        f" upgrade; a took {shares['field-a']}, b {shares['field-b']}"
    )
