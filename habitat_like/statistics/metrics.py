"""What is counted, and how Prometheus sees it.

The gateway's thread adds to plain numbers, once per batch if that is enough; the Prometheus objects
are created only on request
(https://prometheus.io/docs/instrumenting/writing_clientlibs/).
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from habitat_like.statistics.status import (
    READY,
    NetworkStatus,
    SinkStatus,
    StatisticsStatus,
    Status,
)

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

#: Upper bounds in seconds.
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
COMMIT_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """Counts of observed values, by bucket. Written by one thread, read by any."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count ``value``."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: upper bound and count of all up to it."""
        seen = 0
        buckets = []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            seen += count
            buckets.append((bound, float(seen)))
        return buckets


class GatewayMetrics:
    """The gateway's counters, owned by its thread; other threads only read.

    Answers of mounts, on their own threads, are counted by ``count_mounted``.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        # Guards _mounted.
        self._lock = threading.Lock()
        self._mounted: Counter[tuple[str, int]] = Counter()
        self.latency = Histogram(LATENCY_BUCKETS)
        self.batch_size = Histogram(BATCH_BUCKETS)
        self.commit_seconds = Histogram(COMMIT_BUCKETS)
        self.messages = 0
        self.written = 0
        self.commit_failures = 0
        self.timeouts = 0
        self.malformed = 0

    def count_mounted(self, name: str, status: int) -> None:
        """Count an answer of the mount ``name``. Thread-safe."""
        with self._lock:
            self._mounted[name, status] += 1

    def answered(self) -> Counter[tuple[str, int]]:
        """Requests answered, by action and status. Thread-safe."""
        total = Counter(dict(list(self.requests.items())))
        with self._lock:
            total.update(self._mounted)
        return total

    def by_action(self) -> dict[str, dict[str, int]]:
        """Requests by action and status."""
        tree: dict[str, dict[str, int]] = {}
        for (name, status), count in sorted(self.answered().items()):
            tree.setdefault(name, {})[str(status)] = count
        return tree


class Collector:
    """Turns the program's counters into Prometheus metrics; see docs/operating for each."""

    def __init__(
        self,
        status: Callable[[], Status],
        metrics: GatewayMetrics,
        more: Callable[[Mapping[str, NetworkStatus]], Iterable[Metric]] | None = None,
    ) -> None:
        """``status`` gives what ``/status`` shows.

        ``more`` gives the networks' own additional metrics from their status.
        """
        self._status = status
        self._metrics = metrics
        self._more = more

    def collect(self) -> Iterator[Metric]:
        """Every metric, for ``prometheus_client``."""
        # Imported here, as it takes a tenth of the program's start-up time.
        from prometheus_client.core import (  # noqa: PLC0415
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        status = self._status()
        own = self._metrics

        def gauge(name: str, text: str, value: float) -> Metric:
            return GaugeMetricFamily(f"habitat_{name}", text, value)

        def counter(name: str, text: str, value: float) -> Metric:
            return CounterMetricFamily(f"habitat_{name}", text, value)

        def histogram(name: str, text: str, source: Histogram) -> Metric:
            family = HistogramMetricFamily(f"habitat_{name}", text)
            family.add_metric([], source.cumulative(), source.total)
            return family

        requests = CounterMetricFamily(
            "habitat_requests", "Requests answered.", labels=["action", "status"]
        )
        for (name, code), count in own.answered().items():
            requests.add_metric([name, str(code)], count)
        yield requests
        refused = CounterMetricFamily(
            "habitat_access_refused", "Refused by the access rules.", labels=["reason"]
        )
        for reason, count in status.access_refused.items():
            refused.add_metric([reason], count)
        yield refused
        yield histogram("request_seconds", "Time from accept to reply.", own.latency)
        yield histogram("batch_requests", "Requests answered together.", own.batch_size)
        yield histogram("journal_commit_seconds", "Time of one commit.", own.commit_seconds)
        yield counter("journal_commit_failures", "Commits that failed.", own.commit_failures)
        yield counter("messages_accepted", "Messages answered OK.", own.messages)
        yield counter("messages_written", "Messages written, repeats left out.", own.written)
        yield counter("request_timeouts", "Clients that took too long.", own.timeouts)
        yield counter("malformed_requests", "Requests that were not SCGI.", own.malformed)
        yield counter("log_lost_lines", "Log lines that were lost.", status.log.lost)
        yield gauge("connections", "Open connections.", status.connections)
        yield gauge("waiting_bytes", "Bytes of bodies in the gateway.", status.waiting)
        yield gauge(
            "max_waiting_bytes", "Bytes of bodies over which requests get 503.", status.max_waiting
        )
        yield gauge(
            "journal_backlog", "Messages that the slowest sink has not taken.", status.backlog
        )
        yield gauge(
            "journal_max_backlog", "Backlog over which requests get 503.", status.max_backlog
        )
        yield gauge("journal_bytes", "The journal's size.", status.journal.bytes)
        yield gauge("journal_message_bytes", "Bytes of its messages.", status.journal.message_bytes)
        yield gauge(
            "journal_max_bytes",
            "Limit of these bytes.",
            status.journal.max_bytes,
        )
        for key, text, bytes_ in (
            ("free", "Bytes free on the journal's disk.", status.journal.disk_free),
            ("size", "Bytes of the journal's disk.", status.journal.disk_size),
        ):
            if bytes_ is not None:
                yield gauge(f"journal_disk_{key}_bytes", text, bytes_)
        yield gauge("ready", "1 while uploads are accepted.", float(status.state == READY))
        yield gauge("maintenance", "1 in maintenance.", float(status.maintenance is not None))
        yield gauge("uptime_seconds", "Time since start.", status.uptime)
        yield gauge("threads", "Running threads.", len(status.threads))
        yield gauge("start_time_seconds", "When it started.", status.started)
        yield from _sink_metrics(status.sinks)
        yield from _network_metrics(status.networks)
        if self._more is not None:
            yield from self._more(status.networks)
        yield from _statistics_metrics(status.statistics or StatisticsStatus())


def _network_metrics(networks: Mapping[str, NetworkStatus]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415

    requests = CounterMetricFamily(
        "habitat_network_requests", "Requests of networks' stations.", labels=["network"]
    )
    observations = CounterMetricFamily(
        "habitat_network_observations", "Observations accepted.", labels=["network", "type"]
    )
    suspicious = CounterMetricFamily(
        "habitat_network_suspicious", "Observations that can't be right.", labels=["network"]
    )
    problems = CounterMetricFamily(
        "habitat_network_problems", "Parts of requests that were not accepted.", labels=["network"]
    )
    refused = CounterMetricFamily(
        "habitat_network_refused",
        "Requests of which nothing was accepted.",
        labels=["network", "reason"],
    )
    for name, counts in networks.items():
        requests.add_metric([name], counts.requests)
        for kind, count in counts.observations.items():
            observations.add_metric([name, kind], count)
        suspicious.add_metric([name], counts.suspicious)
        problems.add_metric([name], counts.problems)
        for reason, count in counts.refused.items():
            refused.add_metric([name, reason], count)
    yield from (requests, observations, suspicious, problems, refused)


def _statistics_metrics(statistics: StatisticsStatus) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    stations = GaugeMetricFamily("habitat_stations", "Stations, by state.", labels=["state"])
    for state, count in (statistics.stations or {}).items():
        stations.add_metric([state], count)
    yield stations
    yield GaugeMetricFamily(
        "habitat_statistics_behind",
        "Messages not counted yet.",
        statistics.behind,
    )


def _sink_metrics(sinks: Mapping[str, SinkStatus]) -> Iterator[Metric]:
    from prometheus_client.core import (  # noqa: PLC0415
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    gauges: dict[str, tuple[str, Callable[[SinkStatus], float | None]]] = {
        "sink_up": ("1 while the sink works.", lambda sink: sink.state == "ok"),
        "sink_backlog": ("Messages waiting for the sink.", lambda sink: sink.backlog),
        "sink_dead_letters": ("Messages refused for good.", lambda sink: sink.dead_letters),
        "sink_seconds_since_success": (
            "Time since the last batch.",
            lambda sink: sink.seconds_since_success,
        ),
    }
    counters: dict[str, tuple[str, Callable[[SinkStatus], int]]] = {
        "sink_messages": ("Messages taken by the sink.", lambda sink: sink.messages),
        "sink_batches": ("Batches taken by the sink.", lambda sink: sink.batches),
        "sink_retries": ("Failed attempts.", lambda sink: sink.retries),
    }
    for name, (text, value) in gauges.items():
        gauge = GaugeMetricFamily(f"habitat_{name}", text, labels=["sink"])
        for own, sink in sinks.items():
            if (number := value(sink)) is not None:
                gauge.add_metric([own], float(number))
        yield gauge
    for name, (text, count) in counters.items():
        counter = CounterMetricFamily(f"habitat_{name}", text, labels=["sink"])
        for own, sink in sinks.items():
            counter.add_metric([own], count(sink))
        yield counter
    kinds = CounterMetricFamily(
        "habitat_sink_counts", "A sink's own counts.", labels=["sink", "kind"]
    )
    for own, sink in sinks.items():
        for kind, number in sink.counts.items():
            kinds.add_metric([own, kind], number)
    yield kinds
