"""Steps: the power goes."""

from __future__ import annotations

from tests.machine import trial
from tests.machine.trial import Trial, step

CUTS = 10
#: Uploads that are acknowledged before a cut, at least and at most.
BEFORE = (20, 200)
CONTROL_TRIES = 3
AWAY = "couchdb://nobody@127.0.0.1:9/none"


@step("power", "power cuts under load (SIGKILL to qemu)")
def power(work: Trial) -> str:
    boots = []
    for cut in range(1, CUTS + 1):
        with work.load() as stations:
            assert stations.wait_for(work.rng.randint(*BEFORE), trial.PATIENCE)
            work.machine.power_cut()
            boots.append(work.machine.start())
            assert stations.wait_for(5, trial.PATIENCE)
        work.say(f"cut {cut} of {CUTS}: {work.ledger.acknowledged} acknowledged so far")
        work.uploads_work("after a power cut")
    verdict = work.nothing_is_lost()
    return (
        f"{CUTS} cuts: {verdict.sent} sent, {verdict.acknowledged} acknowledged,"
        f" {verdict.archived} archived, {verdict.lost.count} lost, {verdict.doubled.count} doubled"
    )


@step("control", "the same with `journal.sync: normal`, which does lose", on="new")
def control(work: Trial) -> str:
    # The archive is away: its fsyncs would bring the journal's pages to the disk as well.
    work.root("cp /etc/habitat/config.yml /root/config.yml")
    for tried in range(1, CONTROL_TRIES + 1):
        work.configure(f"-e 's|^  sync: .*|  sync: normal|' -e 's|^  uri: .*|  uri: {AWAY}|'")
        work.root("systemctl restart habitat && sync")
        with work.load(limit=1) as stations:
            stations.wait_for(100, trial.PATIENCE)
        acknowledged = work.ledger.acknowledged
        work.machine.power_cut()
        work.machine.start()
        work.root("cp /root/config.yml /etc/habitat/config.yml && systemctl restart habitat")
        work.served()
        verdict = work.verdict()
        others = {name for name in verdict.findings if name not in ("lost", "unanswered")}
        assert not others, str(verdict)
        if verdict.lost.count:
            return (
                f"{acknowledged} acknowledged before cut {tried}, {verdict.lost.count} of them"
                " lost: the cuts bite"
            )
    raise AssertionError("nothing was lost without fsync: these cuts prove nothing")
