"""Programs that `make` starts for a checkout, and the signals that stop them and us.

The stop signals stay blocked for as long as we run, and are looked for where we wait: nothing is
left half done, and no Ctrl-C ends in a traceback. What `prepare` and `run` start has a session of
its own, so that Ctrl-C reaches it by us alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
SIGNALS = STOP_SIGNALS | {signal.SIGCHLD}
#: Seconds that a child has to end by itself once it is asked to.
PATIENCE = 5.0


class Stopped(Exception):
    """A stop signal came: ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def block() -> None:
    """Keep the signals until somebody looks for them, in this process and what it executes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def unblock() -> None:
    """What a child does before it becomes the program: signals are its own affair."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def look() -> None:
    """Raise Stopped if a stop signal waits."""
    got = signal.sigtimedwait(STOP_SIGNALS, 0)
    if got is not None:
        raise Stopped(got.si_signo)


def die(number: int) -> NoReturn:
    """End as the signal ends a program that does nothing about it, so that make sees it."""
    # make got the signal too; a child that is gone before make looks confuses it ("wait: No child
    # processes").
    time.sleep(0.1)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    raise SystemExit(128 + number)  # not reached


def run(
    command: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path = ROOT,
    environ: Mapping[str, str] | None = None,
    to_its_end: str = "",
) -> int:
    """Run a program whose output is appended to ``log``; its exit code.

    Raises Stopped after a stop signal, once the program is gone: it and its children are ended, or,
    if ``to_its_end`` is its name, it is asked and may finish what must not be cut short. Raises
    OSError for a program that can't be started.
    """
    look()
    with log.open("ab") as output:
        output.write(f"$ {' '.join(map(str, command))}\n".encode(errors="replace"))
        output.flush()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=unblock,  # noqa: PLW1509 (there is no other thread here)
        )
    while process.poll() is None:
        # A child's end is a signal too; the timeout is for one that somebody else took.
        got = signal.sigtimedwait(SIGNALS, 1.0)
        if got is not None and got.si_signo in STOP_SIGNALS:
            _end(process, to_its_end)
            raise Stopped(got.si_signo)
    return process.returncode


def _end(process: subprocess.Popen[bytes], to_its_end: str) -> None:
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(ProcessLookupError):
        if to_its_end:
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGTERM)
    while process.poll() is None and time.monotonic() < deadline:
        signal.sigtimedwait({signal.SIGCHLD}, 0.1)
    if to_its_end:
        if process.poll() is None:
            print(f"stopping as soon as {to_its_end} is done", flush=True)
            process.wait()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
