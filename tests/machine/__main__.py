"""``python -m tests.machine``: try the whole of it, or some steps, and print what was seen."""

from __future__ import annotations

import argparse
import fcntl
import random
import sys
import time
import traceback
from pathlib import Path

from tests.machine import chroots, couch, doctor, installing, operating, power
from tests.machine.image import MachineError, base_image, cache
from tests.machine.trial import STEPS, Step, Trial
from tests.machine.vm import Machine

assert chroots, couch
assert doctor, installing
assert operating, power


def main() -> int:
    """Exit 0 if every step went well, 1 if not, 2 for wrong usage or where there is no machine."""
    names = ", ".join(STEPS)
    parser = argparse.ArgumentParser(
        prog="make machine ARGS=...",
        description="Install and operate the gateway on a bare Debian 12, as the docs say.",
        epilog=f"Steps: {names}.",
    )
    parser.add_argument("--only", help="steps, comma-separated")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep the machine as installed, and begin with it where --only leaves that out",
    )
    parser.add_argument("--seed", type=int, default=1, help="what chance is made of")
    parser.add_argument("--out", type=Path, help="a file for the table of docs/reliability.md")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else list(STEPS)
    if unknown := [name for name in wanted if name not in STEPS]:
        parser.error(f"there is no step {unknown[0]}; there are: {names}")
    directory = cache() / "run"
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parser.error(f"another one is at work in {directory}")
        try:
            image = base_image()
            with Machine(image, directory) as machine:
                rows = _Run(machine, image, arguments.seed, keep=arguments.keep).all(wanted)
        except MachineError as error:
            print(f"machine: {error}", file=sys.stderr)
            return 2
    table = _table(rows, machine.kind)
    print(f"\n{table}")
    if arguments.out:
        arguments.out.write_text(table, encoding="utf-8")
    return int(any(failed for _, _, _, failed in rows))


#: A step, its seconds, what was seen, whether it failed.
Row = tuple[Step, float, str, bool]


class _Run:
    """The steps of one call, each on the machine that it needs."""

    def __init__(self, machine: Machine, image: Path, seed: int, *, keep: bool) -> None:
        self._machine = machine
        self._trial = Trial(machine, random.Random(seed))
        self._keep = keep
        #: The disk as it was right after the installation, and how many messages it had taken.
        self._layer = (image if keep else machine.disk.parent) / "installed.qcow2"
        self._count = self._layer.with_suffix(".count")
        #: Whether the machine that runs can be had by a step for an installed one.
        self._goes_on = False

    def all(self, wanted: list[str]) -> list[Row]:
        if not self._keep:
            self._layer.unlink(missing_ok=True)
        rows = []
        for name, step in STEPS.items():
            if name in wanted:
                rows.append(self._one(step))
        return rows

    def _one(self, step: Step) -> Row:
        print(f"{step.name}: {step.text}", flush=True)
        begin = time.monotonic()
        failed = True
        try:
            self._prepare(step)
            begin = time.monotonic()
            seen = step.run(self._trial)
            if step.name == "install":
                self._keep_layer()
            failed = False
        except (AssertionError, MachineError) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            seen = str(error) or f"line {place.lineno} of {place.name}: {place.line}"
        except Exception:
            seen = traceback.format_exc()
        seconds = time.monotonic() - begin
        if failed:
            self._tell_logs()
        if step.on != "host":
            self._goes_on = step.on == "installed" and not failed
        print(f"  {'FAILED: ' if failed else ''}{seen} ({seconds:.0f} s)", flush=True)
        return step, seconds, seen, failed

    def _prepare(self, step: Step) -> None:
        """Have the machine that the step needs, and have it run."""
        if step.on == "host":
            return
        if step.on == "bare":
            self._renew(None)
        elif step.on == "new" or not self._goes_on:
            if not self._layer.exists():
                print("  (the installation comes first)", flush=True)
                self._renew(None)
                STEPS["install"].run(self._trial)
                self._keep_layer()
            self._renew(self._layer)

    def _renew(self, layer: Path | None) -> None:
        self._machine.renew(layer)
        self._trial.begin(int(self._count.read_text()) if layer else 0)
        self._trial.say(f"up after {self._machine.start():.0f} s ({self._machine.kind})")

    def _keep_layer(self) -> None:
        self._machine.keep(self._layer)
        self._count.write_text(str(len(self._trial.ledger)))

    def _tell_logs(self) -> None:
        """What the machine itself says of a failure."""
        if not self._machine.runs:
            return
        try:
            command = "journalctl -u 'habitat*' -u nginx --no-pager -n 30; systemctl --failed"
            _, said = self._machine.run(command, 60)
        except MachineError as error:
            said = str(error)
        print("".join(f"    | {line}\n" for line in said.splitlines()), end="", flush=True)


def _table(rows: list[Row], kind: str) -> str:
    lines = [f"Under {kind.upper()}:", "", "| step | what was seen | s |", "|---|---|--:|"]
    for step, seconds, seen, failed in rows:
        text = " ".join(seen.split())[:300]
        lines.append(f"| {step.text} | {'FAILED: ' if failed else ''}{text} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
