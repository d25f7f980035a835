"""kill -9 while stations of all networks upload: what was answered as taken is archived, once."""

from __future__ import annotations

import random
import signal

from habitat_like.networks.catalogue import BUILT_IN
from tests.conftest import HabitatFactory
from tests.faults.ledger import Ledger
from tests.networks.load import Load, all_networks, mixed

#: Chance is always the same, so that a red test is red again.
SEED = 1
#: Uploads of each sample, and how often the gateway is killed meanwhile.
ROUNDS = 12
KILLS = 5


def test_what_was_answered_as_taken_is_archived_once(habitat: HabitatFactory) -> None:
    rng = random.Random(SEED)
    uploads = mixed(rng, ROUNDS)
    assert {one.sample.network for one in uploads} == set(BUILT_IN)
    gateway = habitat(start=False)
    gateway.config["networks"] = all_networks(gateway.directory, uploads)
    load = Load(gateway.start(), uploads, Ledger(), rng)
    load.run(sorted(rng.sample(range(1, len(uploads)), KILLS)))
    dead = gateway.cli("journal", "export", "--dead", "-").stdout.splitlines()
    verdict = load.judge(gateway.documents(), dead)
    assert not verdict.findings, str(verdict)
    assert gateway.exits == [-signal.SIGKILL] * KILLS
    assert load.ledger.statuses[0] > 0, "no station felt a kill"
