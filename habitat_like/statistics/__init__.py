"""The statistics: sums that outlive restarts, of what was written to the journal."""

from habitat_like.statistics.collector import Collector
from habitat_like.statistics.reader import SORTS, Reader
from habitat_like.statistics.rows import (
    Absent,
    Backlog,
    Disk,
    DiskOutlook,
    Latency,
    Requests,
    Series,
    Station,
    StationPage,
    Top,
)

__all__ = [
    "SORTS",
    "Absent",
    "Backlog",
    "Collector",
    "Disk",
    "DiskOutlook",
    "Latency",
    "Reader",
    "Requests",
    "Series",
    "Station",
    "StationPage",
    "Top",
]
