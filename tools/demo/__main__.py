"""Start the gateway with devices that are not real: what `make demo` runs.

All is as with `make run`, but for its place, ``var/demo``, whose data each start begins anew.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.child import ROOT
from tools.run import CONSOLE_USER, Stack, serve

GIVEN = Path(__file__).parent / "given"


class Demo(Stack):
    """The gateway, its nginx, and the process of tools/demo/uploads.py."""

    target = "demo"
    var = ROOT / "var" / "demo"
    below = "demo"

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.data = self.var / "data"

    def sections(self) -> dict[str, Any]:
        """Those of `make run`, with networks, a parser, and a club's own sink."""
        parser = {
            "payloads": str(self.var / "payloads.yml"),
            "payload_ids": str(self.var / "payload_ids.txt"),
        }
        networks = ("airrohr", "osmand", "sondehub", "ttn", "weather")
        return {
            **super().sections(),
            "journal": {"path": str(self.data / "journal.sqlite")},
            "archive": {"uri": f"sqlite:{self.data / 'archive.sqlite'}"},
            "stations": str(self.var / "stations.yml"),
            "networks": {name: {} for name in networks},
            "sinks": [
                "habitat_like.archive.ArchiveSink",
                {"habitat_like.telemetry.ParserSink": parser},
                {"club.Logbook": {"path": str(self.data / "logbook.ndjson")}},
            ],
        }

    def prepare(self) -> None:
        """Forget the last demonstration, and lay out the files that the configuration names."""
        if self.data.exists():
            shutil.rmtree(self.data)
        self.data.mkdir()
        for given in GIVEN.iterdir():
            if given.is_file() and not (self.var / given.name).exists():
                shutil.copy(given, self.var)
        super().prepare()

    def beside(self) -> Sequence[str | Path]:
        """The devices."""
        words = [self.url, "--seed", str(self.seed)]
        return [sys.executable, "-m", "tools.demo.uploads", *words]

    def explain(self) -> str:
        """Where to look."""
        return f"""
habitat_like serves on {self.url}

Nothing here is real: two balloons are in the air, one of them about to burst, and receivers, a car,
a weather station, an air sensor and a LoRa device upload. Look at it on

  {self.url}console/map    (user {CONSOLE_USER}, password {self.password})

Everything is in var/demo, and the next `make demo` begins anew. `make run` starts an empty gateway.

Ctrl-C stops all.
"""


def main() -> int:
    """Run until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="Show habitat_like at work.")
    parser.add_argument("--seed", type=int, default=1, help="decides all that chance decides")
    return serve(Demo(parser.parse_args().seed))


if __name__ == "__main__":
    sys.exit(main())
