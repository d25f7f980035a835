"""All scenarios, in the order in which they are run."""

from __future__ import annotations

from tests.soak import backlog, hour, idle, overload
from tests.soak.run import SCENARIOS

__all__ = ["SCENARIOS", "backlog", "hour", "idle", "overload"]
