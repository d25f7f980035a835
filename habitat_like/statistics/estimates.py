"""Estimates from what was counted: quantiles of a histogram, and when a disk will be full."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from habitat_like.statistics.metrics import LATENCY_BUCKETS
from habitat_like.statistics.rows import Disk, DiskOutlook, Latency
from habitat_like.statistics.tables import DAY, HOUR

#: A shorter time than this, in seconds, says nothing about how fast a disk fills.
SHORTEST_TREND = HOUR


def latency_of(when: int, counts: Counter[float]) -> Latency:
    """Median and 99th percentile of the requests in ``counts``, by the bound of their bucket."""
    return Latency(when, counts.total(), _quantile(counts, 0.5), _quantile(counts, 0.99))


def _quantile(counts: Counter[float], share: float) -> float | None:
    """The quantile of a histogram: within a bucket, values count as evenly spread.

    As in Prometheus (https://prometheus.io/docs/prometheus/latest/querying/functions/,
    histogram_quantile): values in the last, unbounded bucket count as the largest bound.
    """
    rank = share * counts.total()
    seen = 0
    for bound, count in sorted(counts.items()):
        if seen + count >= rank and count:
            at = bisect_left(LATENCY_BUCKETS, bound)
            below = LATENCY_BUCKETS[at - 1] if at else 0.0
            if at == len(LATENCY_BUCKETS):
                return float(below)
            return below + (bound - below) * (rank - seen) / count
        seen += count
    return None


def outlook_of(samples: Sequence[Disk]) -> DiskOutlook:
    """What the samples of one place, ascending in time, predict."""
    last = samples[-1]
    growth = days = None
    if last.time - samples[0].time >= SHORTEST_TREND:
        mean_time = sum(one.time for one in samples) / len(samples)
        mean_used = sum(one.total - one.free for one in samples) / len(samples)
        spread = sum((one.time - mean_time) ** 2 for one in samples)
        slope = (
            sum((one.time - mean_time) * (one.total - one.free - mean_used) for one in samples)
            / spread
        )
        growth = slope * DAY
        days = last.free / growth if growth > 0 else None
    return DiskOutlook(last.time, last.place, last.free, last.total, growth, days)
