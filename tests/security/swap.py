"""Runs a command as root in another user's directory, and puts something else there in between.

Before each step that the command takes with a file there, in turn, every name in the directory (or
the directory itself) is replaced, as its owner could. Prints what came of it as JSON: the number
of steps, and a line for each thing that must not be.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

THEM = 65534
SECRET = "what root keeps for itself\n"
#: A command that waits for so many seconds waits for ever, such as for a reader of a pipe.
PATIENCE = 120
STEPS = frozenset({"open", "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename"})


class Stage:
    """A directory of theirs, and what is root's alone: a file, and a directory."""

    def __init__(self, base: Path) -> None:
        self.theirs = base / "theirs"
        self.moved = base / "moved"
        self.private = base / "private"
        self.precious = base / "precious"
        self.swap: Callable[[], None] | None = None
        self.steps = 0
        self.at = 0
        sys.addaudithook(self._step)

    def set_up(self, files: dict[str, str]) -> None:
        for directory in (self.theirs, self.moved, self.private):
            if directory.is_symlink():
                directory.unlink()
            shutil.rmtree(directory, ignore_errors=True)
        self.private.mkdir(mode=0o700)
        self.precious.unlink(missing_ok=True)
        self.precious.write_text(SECRET)
        self.precious.chmod(0o600)
        self.theirs.mkdir()
        os.chown(self.theirs, THEM, THEM)
        for name, text in files.items():
            (self.theirs / name).write_text(text)
            os.chown(self.theirs / name, *((0, 0) if name.endswith(".part") else (THEM, THEM)))

    def faults(self) -> list[str]:
        """What an attacker got."""
        found = []
        status = self.precious.stat()
        if (status.st_uid, status.st_gid, status.st_mode & 0o777) != (0, 0, 0o600):
            found.append("root's file was given away")
        if self.precious.read_bytes() != SECRET.encode():
            found.append("root's file was written to")
        if list(self.private.iterdir()):
            found.append("something was made in root's directory")
        for directory in (self.theirs, self.moved):
            for path in directory.iterdir() if directory.is_dir() else ():
                status = path.lstat()
                for_others = status.st_uid != 0 or status.st_mode & 0o077
                is_file = path.is_file() and not path.is_symlink()
                if for_others and is_file and SECRET.encode() in path.read_bytes():
                    found.append("root's file was copied for others")
        return found

    def _step(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.swap is None or event not in STEPS:
            return
        if isinstance(arguments[0], (str, os.PathLike)):
            path = os.fspath(arguments[0])
            if os.path.isabs(path) and not path.startswith(os.fspath(self.theirs)):
                return
        self.steps += 1
        if self.steps == self.at:
            swap, self.swap = self.swap, None
            swap()
            self.swap = swap


def swaps(stage: Stage) -> dict[str, Callable[[], None]]:
    def each(put: Callable[[Path], None]) -> Callable[[], None]:
        def swap() -> None:
            names = {path for path in stage.theirs.iterdir() if not path.is_dir()}
            for path in names | {stage.theirs / name for name in sys.argv[4:]}:
                path.unlink(missing_ok=True)
                put(path)

        return swap

    def theirs(make: Callable[[Path], None]) -> Callable[[Path], None]:
        def put(path: Path) -> None:
            make(path)
            os.chown(path, THEM, THEM, follow_symlinks=False)

        return put

    def directory() -> None:
        stage.theirs.rename(stage.moved)
        stage.theirs.symlink_to(stage.private)
        os.chown(stage.theirs, THEM, THEM, follow_symlinks=False)

    return {
        "link": each(theirs(lambda path: path.symlink_to(stage.precious))),
        "hard link": each(lambda path: path.hardlink_to(stage.precious)),
        "pipe": each(theirs(os.mkfifo)),
        "directory": directory,
    }


def main() -> None:
    base, files, words = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
    from habitat_like.cli import main as habitat  # noqa: PLC0415 (its files are no steps)

    stage = Stage(base)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faults = []
    steps = 0
    for kind, swap in swaps(stage).items():
        stage.at = 0
        while stage.at <= stage.steps or stage.at == 0:
            stage.set_up(files)
            stage.steps, stage.at, stage.swap = 0, stage.at + 1, swap
            signal.alarm(PATIENCE)
            sys.stdin = io.TextIOWrapper(io.BytesIO(b"a new password\n"))
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                habitat(words)
            signal.alarm(0)
            stage.swap = None
            steps = max(steps, stage.steps)
            found = stage.faults()
            if "Traceback" in said.getvalue() or said.getvalue().count("\n") > 1:
                found.append(said.getvalue())
            faults += [f"{kind} before step {stage.at}: {fault}" for fault in found]
    sys.stdout = sys.__stdout__
    print(json.dumps({"steps": steps, "faults": faults}))


if __name__ == "__main__":
    main()
