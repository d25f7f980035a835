"""``python -m tests.faults``: run the campaign, or a part of it, and print the report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.faults import catalogue
from tests.faults.campaign import Campaign
from tests.faults.report import Report

assert catalogue.SCENARIOS


def main() -> int:
    """Exit 0 if every promise was kept, 1 if not, 2 for wrong usage."""
    names = ", ".join(catalogue.SCENARIOS)
    parser = argparse.ArgumentParser(
        prog="make faults ARGS=...",
        description="Faults on a seeded schedule, and a judge who counts what was lost or doubled.",
        epilog=f"Scenarios: {names}.",
    )
    parser.add_argument("--seed", type=int, default=1, help="what all chance is made of")
    parser.add_argument("--only", help="scenarios, comma-separated; a prefix names all it begins")
    parser.add_argument("--exact", action="store_true", help="--only gives whole names")
    parser.add_argument("--scale", type=float, default=1, help="times as many faults")
    parser.add_argument("--short", action="store_true", help="the short cut that the tests run")
    parser.add_argument("--out", type=Path, help="a directory for report.json, report.md and logs")
    arguments = parser.parse_args()
    wanted = [part for part in (arguments.only or "").split(",") if part]
    chosen = [
        one
        for one in catalogue.SCENARIOS.values()
        if not wanted
        or any(
            one.name == part if arguments.exact else one.name.startswith(part) for part in wanted
        )
    ]
    if arguments.short:
        chosen = [one for one in chosen if one.short]
    if not chosen:
        parser.error(f"no scenario begins with {arguments.only}; there are: {names}")
    report = Report(arguments.out)
    with Campaign(arguments.seed, arguments.scale, short=arguments.short) as campaign:
        for one in chosen:
            report.add(campaign.run(one, arguments.out))
    report.finish()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
