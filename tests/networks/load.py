"""Stations of all networks that upload while the gateway is killed, and what came of it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from habitat_like.networks.catalogue import BUILT_IN
from tests.faults.judge import Verdict
from tests.faults.ledger import ACKNOWLEDGED, SENT, Ledger
from tests.networks.uploads import Upload, numbers_in, samples, station_list, upload
from tests.support import scgi
from tests.support.gateway import Habitat
from tests.support.reply import Reply
from tests.support.wait import PATIENCE

#: How many upload at once.
STATIONS = 6
#: The share of uploads that are sent again though they were answered.
REPEATED = 0.2


class Load:
    """Stations that upload a list of requests, each until it is taken.

    What a client without a clock sends can't be told from its repetition: that is sent once.
    """

    def __init__(
        self, gateway: Habitat, uploads: list[Upload], ledger: Ledger, rng: random.Random
    ) -> None:
        self.ledger = ledger
        self._gateway = gateway
        self._uploads = uploads
        repeated = [one.number for one in uploads if one.sample.retried and rng.random() < REPEATED]
        self._repeated = frozenset(repeated)
        # Guards the uploads that are left.
        self._lock = threading.Lock()
        self._left = iter(uploads)
        self._progress = threading.Condition()
        self._is_up = threading.Event()
        self._is_up.set()
        #: Uploads that got another answer than they should, or none, and how that came.
        self.failures: list[str] = []
        self._kills = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(STATIONS)]

    def run(self, kills: list[int]) -> None:
        """Upload all; kill the gateway each time so many requests have been sent.

        Fails the test where the gateway doesn't start again.
        """
        self._kills = len(kills)
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
        again = upload.number in self._repeated
        # Nothing but a kill takes an answer away.
        for _ in range(self._kills + 2):
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

    def judge(self, documents: Iterable[dict[str, Any]], dead: Iterable[Any] = ()) -> Verdict:
        """Compare what is archived, and the dead letters, with what the stations were told."""
        verdict = Verdict(self.ledger.count(SENT), self.ledger.count(ACKNOWLEDGED))
        found = numbers_in(documents)
        verdict.archived = found.total()
        for one in self._uploads:
            name, expected, there = one.sample.name, one.sample.messages, found.pop(one.number, 0)
            is_taken = self.ledger[one.number] & ACKNOWLEDGED
            what = f"{one.number} of {name}: {there} documents, not {expected}"
            if there > expected:
                verdict.doubled.add(what)
            elif there < expected and (is_taken or there):
                # What has no answer is there as a whole, or not at all.
                verdict.lost.add(what)
            if one.sample.retried and not is_taken:
                verdict.unanswered.add(f"{one.number} of {name}")
        for number in found:
            verdict.foreign.add(str(number))
        for failure in self.failures:
            verdict.turned_away.add(failure)
        for letter in dead:
            verdict.dead.add(str(letter))
        return verdict


def mixed(rng: random.Random, rounds: int) -> list[Upload]:
    """So many uploads of every sample, in any order."""
    chosen = samples() * rounds
    rng.shuffle(chosen)
    return [upload(sample, number) for number, sample in enumerate(chosen)]


def all_networks(directory: Path, uploads: list[Upload]) -> dict[str, Any]:
    """The configuration of all networks, whose files are in ``directory``."""
    path = directory / "stations.csv"
    path.write_text(station_list(len(uploads)))
    networks: dict[str, Any] = {name: {} for name in BUILT_IN}
    return {**networks, "hisparc": {"station_list": str(path)}}
