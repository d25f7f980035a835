"""The step with CouchDB: the CouchDB-protocol server from npm, as far as it goes for it."""

from __future__ import annotations

import json
import time

from tests.machine import package, trial
from tests.machine.image import ROOT
from tests.machine.installing import INSTALLING, install_package
from tests.machine.trial import Trial, step
from tests.support.wait import eventually

SOURCE = ROOT / "tests" / "couchdb"
PLACE = "/srv/couchdb"
UNIT = f"""\
[Service]
ExecStart=/usr/bin/node {PLACE}/server.js {PLACE}/data 5984
Restart=always
[Install]
WantedBy=multi-user.target
"""
URI = "couchdb://127.0.0.1:5984/habitat"
HERE = "http://127.0.0.1:5984"
ADMIN = "open sesame"


@step("couchdb", "`habitat setup` with CouchDB as the archive", on="bare")
def couchdb(work: Trial) -> str:
    install_package(work, package.built())
    _start_couchdb(work)
    setup = f"habitat setup --yes --archive {URI} --admin-password-file /root/admin.password"
    begin = time.monotonic()
    work.root(setup, INSTALLING)
    seconds = time.monotonic() - begin
    work.uploads_work("after the installation")
    assert work.root("stat -c '%a %U:%G' /etc/habitat/couchdb.password").strip() == (
        "640 root:habitat"
    )
    assert work.machine.run(f"grep -r '{ADMIN}' /etc/habitat")[0] == 1
    assert "Nothing had to be changed." in work.root("rm admin.password; habitat setup --yes")
    with work.load() as stations:
        assert stations.wait_for(20, trial.PATIENCE)
        work.root("systemctl stop couchdb")
        assert stations.wait_for(50, trial.PATIENCE)
        eventually(lambda: _is_wrong(work, "archive"), "habitat doctor sees it", timeout=120)
        work.root("systemctl start couchdb")
        assert stations.wait_for(20, trial.PATIENCE)
    verdict = work.nothing_is_lost()
    work.machine.reboot()
    work.served()
    verdict = work.nothing_is_lost()
    assert set(work.ledger.statuses) == {200}, work.ledger.statuses
    return (
        f"set up in {seconds:.0f} s; stopped under load, and a reboot: {verdict.acknowledged}"
        " acknowledged, none lost"
    )


def _is_wrong(work: Trial, what: str) -> bool:
    status, said = work.machine.run("habitat doctor")
    return status == 1 and f"wrong    {what}" in said


def _start_couchdb(work: Trial) -> None:
    work.root("apt-get install --yes --no-install-recommends nodejs", INSTALLING)
    modules = SOURCE / "node_modules"
    assert modules.is_dir(), "there is no CouchDB-protocol server; see tests/couchdb"
    files = [path for path in modules.resolve().rglob("*") if path.is_file()]
    names = [str(path.relative_to(modules.resolve())) for path in files]
    work.machine.put(modules.resolve(), names, f"{PLACE}/node_modules")
    work.machine.put(SOURCE, ["server.js", "package.json"], PLACE)
    work.root("cat >/etc/systemd/system/couchdb.service", given=UNIT)
    work.root("systemctl daemon-reload && systemctl enable --now couchdb")
    work.root("umask 077; cat >/root/admin.password", given=f"{ADMIN}\n")
    make_admin = f"curl -s -f -X PUT {HERE}/_config/admins/admin -d '{json.dumps(ADMIN)}'"
    eventually(
        lambda: work.machine.run(make_admin)[0] == 0, "CouchDB answers", timeout=300, pause=2
    )
