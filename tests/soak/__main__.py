"""``python -m tests.soak``: run the loads, or some of them, and print the report."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import place
from tests.soak.catalogue import SCENARIOS
from tests.soak.report import Report
from tests.soak.run import execute


def main() -> int:
    """Exit 0 if all is as demanded, 1 if not, 2 for wrong usage."""
    names = ", ".join(SCENARIOS)
    parser = argparse.ArgumentParser(
        prog="make soak ARGS=...",
        description="Long and heavy loads on a gateway, and what becomes of it meanwhile.",
        epilog=f"Scenarios: {names}.",
    )
    parser.add_argument("--only", help="scenarios, comma-separated")
    parser.add_argument("--scale", type=float, default=1, help="times the durations and numbers")
    parser.add_argument("--out", type=Path, help="a directory for soak.json and soak.md")
    arguments = parser.parse_args()
    wanted = (arguments.only or names).replace(" ", "").split(",")
    for name in wanted:
        if name not in SCENARIOS:
            parser.error(f"there is no scenario {name!r}; there are: {names}")
    if arguments.scale <= 0:
        parser.error("--scale must be over 0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # taking its servers down
    place.clean()
    report = Report(arguments.out)
    for name in wanted:
        one = SCENARIOS[name]
        print(f"{one.name}: {one.text}", flush=True)
        report.add(execute(one, arguments.scale, report.tell))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
