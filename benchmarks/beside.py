"""What something costs uploads: interleaved rounds with it and without.

A whole gateway is started for each round; four stations upload over their connections as fast as
they are answered.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.process import cpu
from tests.support.gateway import Habitat

STATIONS = 4
#: Makes the body of the upload of a number.
Upload = Callable[[int], bytes]


class Beside:
    """Measures uploads to ``gateway``, whose bodies are ``upload``'s."""

    def __init__(self, gateway: Habitat, upload: Upload) -> None:
        self._gateway = gateway
        self._upload = upload
        self._numbers: Iterator[int] = itertools.count()

    def load(self, seconds: float) -> list[float]:
        """Upload for so long; returns the seconds that each took."""
        took: list[float] = []
        until = time.monotonic() + seconds

        def station() -> None:
            while time.monotonic() < until:
                body = self._upload(next(self._numbers))
                begun = time.monotonic()
                assert self._gateway.scgi("POST", "/message", body).status == 200
                took.append(time.monotonic() - begun)

        threads = [threading.Thread(target=station) for _ in range(STATIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return took

    def compare(
        self,
        pairs: int,
        seconds: float,
        switch: Callable[[bool], None],
        after: Callable[[bool], str] = lambda _: "",
    ) -> None:
        """Print what it costs. ``switch`` configures the gateway with it or without.

        ``after`` is called before the gateway stops, and returns what more to print.
        """
        rates: list[float] = []
        slowest: list[float] = []
        costs: list[float] = []
        for pair in range(pairs):
            found: dict[bool, list[float]] = {}
            used: dict[bool, float] = {}
            said = ""
            for has_it in (False, True) if pair % 2 else (True, False):
                switch(has_it)
                self._gateway.start()
                self.load(1)
                begun = cpu(self._gateway.pid)
                found[has_it] = self.load(seconds)
                used[has_it] = (cpu(self._gateway.pid) - begun) / len(found[has_it])
                said += after(has_it)
                self._gateway.stop()
            rates.append(len(found[True]) / len(found[False]))
            slowest.append(_p99(found[True]) / _p99(found[False]))
            costs.append(used[True] / used[False])
            print(
                f"pair {pair}: {len(found[False]) / seconds:.0f}/s without,"
                f" {len(found[True]) / seconds:.0f}/s with ({rates[-1]:.2f}); p99"
                f" {_p99(found[False]):.1f} ms, {_p99(found[True]):.1f} ms ({slowest[-1]:.2f});"
                f" processor time an upload {used[False]:.0f} µs, {used[True]:.0f} µs"
                f" ({costs[-1]:.2f}){said}",
                flush=True,
            )
        print(
            f"median of {pairs} pairs: rate {statistics.median(rates):.2f},"
            f" p99 {statistics.median(slowest):.2f},"
            f" processor time an upload {statistics.median(costs):.2f}"
        )


def _p99(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100] * 1000
