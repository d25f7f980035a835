"""Steps: what an operator does with a gateway, and what happens to it."""

from __future__ import annotations

import time

from tests.machine import trial
from tests.machine.documented import commands
from tests.machine.trial import Trial, step
from tests.support.wait import eventually

UNITS = ("habitat.service", "habitat.socket", "habitat.socket habitat.service")
PASSWORD = "correct horse battery"
WATCH_USER = "curl -s -o /dev/null -w '%{http_code}' -u alice:'" + PASSWORD + "' "
OVERVIEW = "http://127.0.0.1/console/overview.json"
#: What the journal says of each start of the service, also of one that fails.
STARTS = (
    "journalctl -u habitat.service -o cat --since=@{} | grep -c '^Starting habitat.service' || true"
)


@step("restart", "restarts and reloads under load")
def restart(work: Trial) -> str:
    for units in UNITS:
        work.root(f"systemctl daemon-reload && systemctl restart {units}")
        work.served()
        work.uploads_work(f"after a restart of {units}")
    work.root("systemctl stop habitat.socket habitat")
    work.uploads_are_refused_at_once("while it is stopped")
    work.root("systemctl start habitat")
    work.served()
    before = dict(work.ledger.statuses)
    with work.load() as stations:
        for command in ("restart", "reload") * 5:
            assert stations.wait_for(20, trial.PATIENCE)
            work.root(f"systemctl {command} habitat")
        assert stations.wait_for(20, trial.PATIENCE)
    told = {code: count - before.get(code, 0) for code, count in work.ledger.statuses.items()}
    others = {code: count for code, count in told.items() if count and code != 200}
    assert not others, f"answers that were no 200: {others}"
    work.nothing_is_lost()
    return f"5 restarts and 5 reloads: {told[200]} requests, all `200`, none lost"


@step("console", "the console, as documented, and broken")
def console(work: Trial) -> str:
    for block in commands("## Turning it on", "docs/console.md"):
        work.documented(block, given=f"{PASSWORD}\n")
    work.served()
    assert work.root(WATCH_USER + OVERVIEW) == "200"
    assert work.request("GET", "/console/login").status == 403
    users = "/var/lib/habitat/console-users"
    for harm in (f"chmod 0 {users}; chown root {users}", f"echo rubbish >{users}", f"rm {users}"):
        work.root(harm)
        work.root("systemctl restart habitat")
        work.uploads_work(f"after {harm}")
        assert work.root(WATCH_USER + OVERVIEW) == "503", harm
        said = work.root("journalctl -u habitat -o cat -n 20")
        assert "the console answers 503" in said, harm
    # Root makes it anew, and the gateway can read it, without a restart.
    work.root("habitat console passwd alice", given=f"{PASSWORD}\n")
    eventually(lambda: work.root(WATCH_USER + OVERVIEW) == "200", "the console is back", timeout=60)
    work.nothing_is_lost()
    return "to the machine itself alone; three ways of breaking it stop no upload"


@step("configuration", "a wrong configuration")
def configuration(work: Trial) -> str:
    config = "/etc/habitat/config.yml"
    work.root(f"cp {config} /root/config.yml")
    work.root(f"echo 'nonsense: 1' >>{config}")
    status, said = work.machine.run("systemctl reload habitat")
    assert status != 0, f"a reload of a wrong configuration succeeded: {said}"
    assert "old configuration stays" in work.root("journalctl -u habitat -o cat -n 20")
    work.uploads_work("after a reload that was refused")
    begin = int(work.root("date +%s"))
    status, said = work.machine.run("systemctl restart habitat")
    assert status != 0, f"a start with a wrong configuration succeeded: {said}"
    slowest = 0.0
    for _ in range(20):
        slowest = max(slowest, work.uploads_are_refused_at_once("with a wrong configuration"))
        time.sleep(0.5)  # stations go on and on
    starts = int(work.root(STARTS.format(begin)))
    assert starts == 1, f"it was started {starts} times"
    assert work.machine.run("systemctl is-failed habitat")[0] == 0
    work.machine.reboot()
    work.uploads_are_refused_at_once("after a reboot with a wrong configuration")
    work.root(f"cp /root/config.yml {config}")
    for block in commands("### The configuration is wrong"):
        work.documented(block)
    work.uploads_work("after the repair")
    work.nothing_is_lost()
    return (
        f"1 start, then down; 20 uploads get `503` within {slowest:.2f} s; repaired as documented"
    )


@step("watchdog", "a gateway that hangs (SIGSTOP)")
def watchdog(work: Trial) -> str:
    work.uploads_work("before")
    pid = "systemctl show --value --property=MainPID habitat"
    before = work.root(pid)
    begin = time.monotonic()
    work.root("systemctl kill --kill-whom=main --signal=STOP habitat")
    seconds = work.served()
    seconds = time.monotonic() - begin
    assert work.root(pid) != before
    assert "Watchdog timeout" in work.root("journalctl -u habitat -o cat -n 50")
    work.nothing_is_lost()
    return f"the watchdog has it replaced; served again after {seconds:.0f} s"


@step("logrotate", "a log file, and logrotate")
def logrotate(work: Trial) -> str:
    directory = "/var/log/habitat"
    _, block = commands("## Logs")
    work.documented(block, 1800)
    with work.load() as stations:
        assert stations.wait_for(10, trial.PATIENCE)
        for _ in range(2):
            # A line to rotate: the log has none for an upload.
            work.root("habitat ctl log-level info")
            work.root("logrotate --force /etc/logrotate.d/habitat")
        work.root("habitat ctl log-level info")
        assert stations.wait_for(10, trial.PATIENCE)
    found = sorted(work.root(f"stat -c '%a %U:%G %n' {directory}/*").splitlines())
    for line in found:
        assert line.startswith("640 habitat:habitat"), found
    assert len(found) == 3, found
    assert "log level set" in work.root(f"cat {directory}/habitat.log")
    work.configure("'/^log:/,/^[a-z]/ s|^  file: .*|  file: null|'")
    work.root("systemctl reload habitat")
    work.nothing_is_lost()
    return "2 rotations under load; each line is in one of the files, all of them 0640"


@step("backup", "backups, as documented, and back")
def backup(work: Trial) -> str:
    with work.load() as stations:
        assert stations.wait_for(50, trial.PATIENCE)
    work.wait_until_archived()
    make, restore, again = commands("## Backup")
    work.documented(make)
    files = work.root("find /var/backups/habitat -printf '%m %u:%g\\n' | sort -u").splitlines()
    assert files == ["640 root:habitat", "750 root:habitat"], files
    work.root("rm -rf /var/lib/habitat/*", 60)
    work.root("systemctl kill --signal=KILL habitat; true")
    work.documented(restore)
    work.served()
    # As root, in another directory; and of nothing at all.
    work.root("install -d /srv/backup && habitat export --suspicious /srv/backup/all.ndjson.gz")
    work.root("runuser -u habitat -- habitat import /srv/backup/all.ndjson.gz")
    work.root("habitat export --callsign NOBODY /srv/backup/none.ndjson.gz")
    work.root("gzip --test /srv/backup/*.gz")
    work.root("runuser -u habitat -- habitat import /srv/backup/none.ndjson.gz")
    work.documented(again)
    work.served()
    verdict = work.nothing_is_lost()
    return f"{verdict.archived} documents out and back, none doubled; each file 0640"
