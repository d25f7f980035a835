"""Processes that a run starts, and what they use of the machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.place import LOGS, ROOT, BenchError

_PR_SET_PDEATHSIG = 1
_TICK = 1_000_000 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_libc = ctypes.CDLL(None)


class Child:
    """A server process; it does not outlive the run. Its output goes to a file in ``LOGS``."""

    def __init__(
        self, name: str, command: Sequence[str | Path], environ: Mapping[str, str] | None = None
    ) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = LOGS / f"{name}.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HABITAT_", "LISTEN_"))}
        clean.pop("NOTIFY_SOCKET", None)
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**clean, "PYTHONPATH": str(ROOT), **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 (no other thread runs then)
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def check(self) -> None:
        """Raise BenchError if it has ended."""
        code = self._process.poll()
        if code is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            why = lines[-1] if lines else "it said nothing"
            raise BenchError(f"{self.name} ended with exit code {code}: {why} (see {self.log})")

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> None:
        """Signal it and wait; what is left of its process group is killed."""
        if self._process.poll() is None:
            self._process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def cpu(pid: int) -> float:
    """User and system time, in microseconds, of a process and all its children so far."""
    ticks = 0
    for process in _tree(pid):
        try:
            # After the name in brackets: utime, stime, cutime and cstime, see proc(5).
            stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in stat[11:15])
    return ticks * _TICK


def busy() -> float:
    """Processor time, in microseconds, that all processes of the machine used since its start."""
    line = Path("/proc/stat").read_text().partition("\n")[0].split()
    # user, nice, system, idle, iowait, irq, softirq, steal; see proc(5).
    return sum(int(line[at]) for at in (1, 2, 3, 6, 7, 8)) * _TICK


def children() -> float:
    """Processor time, in microseconds, of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) * 1e6


def rss(pid: int) -> float:
    """Resident memory, in MB, of a process and its children; shared pages count in each."""
    pages = 0
    for process in _tree(pid):
        try:
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * _PAGE / 1e6


def _tree(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
