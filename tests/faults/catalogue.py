"""All scenarios, in the order in which they are run."""

from __future__ import annotations

from tests.faults import (
    disk_faults,
    gateway_faults,
    power_faults,
)
from tests.faults.run import SCENARIOS

__all__ = ["SCENARIOS", "disk_faults", "gateway_faults", "power_faults"]
