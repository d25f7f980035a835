"""All scenarios, in the order in which they are run."""

from __future__ import annotations

from tests.faults import (
    archive_faults,
    client_faults,
    disk_faults,
    gateway_faults,
    input_faults,
    nginx_faults,
    power_faults,
    time_faults,
)
from tests.faults.run import SCENARIOS

__all__ = [
    "SCENARIOS",
    "archive_faults",
    "client_faults",
    "disk_faults",
    "gateway_faults",
    "input_faults",
    "nginx_faults",
    "power_faults",
    "time_faults",
]
