"""kill -9 while stations of all networks upload: what was answered as taken is archived, once."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from typing import Any

from habitat_like.networks.catalogue import BUILT_IN
from tests.conftest import HabitatFactory
from tests.faults.ledger import ACKNOWLEDGED, SENT, Ledger
from tests.networks.uploads import Upload, numbers_in, samples, station_list, upload
from tests.support import scgi
from tests.support.gateway import Habitat
from tests.support.reply import Reply
from tests.support.wait import PATIENCE

#: Chance is always the same, so that a red test is red again.
SEED = 1
#: How many requests of each sample are made by stations, and by how many at once.
ROUNDS = 12
STATIONS = 6
KILLS = 5
#: How many of a hundred uploads are sent again though they were answered.
REPEATED = 20


class Load:
    """Stations that upload a list of requests, each until it is taken.

    What a client without a clock sends can't be told from its repetition: that is sent once.
    """

    def __init__(self, gateway: Habitat, uploads: list[Upload], ledger: Ledger) -> None:
        self.ledger = ledger
        self._gateway = gateway
        # Guards the uploads that are left.
        self._lock = threading.Lock()
        self._left = iter(uploads)
        self._rng = random.Random(SEED)
        self._progress = threading.Condition()
        self._is_up = threading.Event()
        self._is_up.set()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(STATIONS)]

    def run(self, kills: list[int]) -> None:
        """Upload all; kill the gateway each time so many requests have been sent."""
        for thread in self._threads:
            thread.start()
        try:
            for goal in kills:
                self._wait_for(goal)
                self._is_up.clear()
                self._gateway.kill()
                self._gateway.start()
                self._is_up.set()
        finally:
            self._is_up.set()
            for thread in self._threads:
                thread.join()

    def _wait_for(self, goal: int) -> None:
        with self._progress:
            sent = self._progress.wait_for(lambda: self.ledger.attempts >= goal, PATIENCE)
        assert sent, f"{self.ledger.attempts} of {goal} requests were sent"

    def _run(self) -> None:
        while (upload := self._take()) is not None:
            self._deliver(upload)

    def _take(self) -> Upload | None:
        with self._lock:
            return next(self._left, None)

    def _deliver(self, upload: Upload) -> None:
        again = upload.sample.retried and self._rng.randrange(100) < REPEATED
        # Nothing but a kill takes an answer away.
        for _ in range(KILLS + 2):
            self._is_up.wait(PATIENCE)
            reply = self._send(upload)
            if reply is not None and not upload.sample.is_success(reply):
                self.failures.append(f"{upload.sample.name} was answered {reply}")
                return
            if not upload.sample.retried or (reply is not None and not again):
                return
            again = again and reply is None
        self.failures.append(f"{upload.sample.name} got no answer")

    def _send(self, upload: Upload) -> Reply | None:
        """The answer, None where there is no whole one."""
        self.ledger.sending([upload.number])
        with self._progress:
            self._progress.notify_all()
        whole = scgi.encode(upload.method, upload.target, upload.body, upload.headers)
        try:
            reply = scgi.decode(self._gateway.send_raw(whole))
        except (OSError, AssertionError):
            self.ledger.answered(0)
            return None
        is_taken = upload.sample.is_success(reply)
        self.ledger.answered(reply.status, [upload.number] if is_taken else [])
        return reply


def all_uploads(rng: random.Random) -> Iterator[Upload]:
    """ROUNDS of all samples, mixed."""
    mixed = samples() * ROUNDS
    rng.shuffle(mixed)
    for number, sample in enumerate(mixed):
        yield upload(sample, number)


def test_what_was_answered_as_taken_is_archived_once(habitat: HabitatFactory) -> None:
    rng = random.Random(SEED)
    uploads = list(all_uploads(rng))
    assert {one.sample.network for one in uploads} == set(BUILT_IN)
    kills = sorted(rng.sample(range(1, len(uploads)), KILLS))
    gateway = habitat(start=False)
    listed = gateway.directory / "stations.csv"
    listed.write_text(station_list(len(uploads)))
    networks: dict[str, Any] = {name: {} for name in BUILT_IN}
    gateway.config["networks"] = {**networks, "hisparc": {"station_list": str(listed)}}
    gateway.start()
    load = Load(gateway, uploads, Ledger())
    load.run(kills)
    assert load.failures == []
    assert gateway.exits == [-signal.SIGKILL] * KILLS
    assert load.ledger.statuses[0] > 0, "no station felt a kill"
    check(load.ledger, uploads, gateway)


def check(ledger: Ledger, uploads: list[Upload], gateway: Habitat) -> None:
    """Compare the archive with what the stations were told."""
    found = numbers_in(gateway.documents())
    for one in uploads:
        told = ledger[one.number]
        assert told & SENT
        expected = {one.sample.messages} if told & ACKNOWLEDGED else {0, one.sample.messages}
        assert found[one.number] in expected, one.sample.name
        assert told & ACKNOWLEDGED or not one.sample.retried, one.sample.name
    assert found.keys() <= set(range(len(uploads)))
    assert not gateway.cli("journal", "export", "--dead", "-").stdout
