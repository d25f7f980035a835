"""The statistics: persistent sums of what was written to the journal."""

from habitat_like.statistics.aggregator import Aggregator
from habitat_like.statistics.reader import SORTS, StatisticsReader
from habitat_like.statistics.rows import (
    Absent,
    Backlog,
    Disk,
    DiskOutlook,
    HeardStation,
    Latency,
    NetworkCount,
    NetworkSum,
    Requests,
    Series,
    StationPage,
    Top,
)

__all__ = [
    "SORTS",
    "Absent",
    "Aggregator",
    "Backlog",
    "Disk",
    "DiskOutlook",
    "HeardStation",
    "Latency",
    "NetworkCount",
    "NetworkSum",
    "Requests",
    "Series",
    "StationPage",
    "StatisticsReader",
    "Top",
]
