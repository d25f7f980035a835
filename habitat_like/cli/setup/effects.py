"""Effects: what a step does to the machine, done, or only shown (``--dry-run``)."""

from __future__ import annotations

import difflib
import grp
import os
import pwd
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import click

from habitat_like.cli.text import printable
from habitat_like.disk import Directory

#: Seconds for a command: a restart waits for what the gateway still has to do.
COMMAND_TIMEOUT = 180.0
#: Bytes of a file that setup writes, at most.
MAX_FILE = 1024 * 1024


class SetupError(Exception):
    """A step can't be done; one line that says why and what to do."""


class Owner:
    """A user and a group, by name."""

    def __init__(self, user: str = "root", group: str = "root") -> None:
        self.user = user
        self.group = group

    def __str__(self) -> str:
        """As chown takes it."""
        return f"{self.user}:{self.group}"

    def numbers(self) -> tuple[int, int]:
        """The ids of both. Raises SetupError for one that this machine does not know."""
        try:
            return pwd.getpwnam(self.user).pw_uid, grp.getgrnam(self.group).gr_gid
        except KeyError as error:
            raise SetupError(f"{error.args[0]}: run habitat setup again") from None


ROOT = Owner()


class Effects(Protocol):
    """Everything that a step may do. Each method tells what it does."""

    #: Whether anything really happens.
    is_real: bool

    def write(
        self, path: Path, text: str, mode: int = 0o644, owner: Owner = ROOT, *, secret: bool = False
    ) -> None:
        """Have the file hold ``text``, all at once. ``secret``: the text is not shown."""

    def directory(self, path: Path, mode: int, owner: Owner = ROOT) -> None:
        """Have the directory, with this mode and owner."""

    def link(self, path: Path, target: str) -> None:
        """Have a symbolic link, in place of one that is there."""

    def remove(self, path: Path) -> None:
        """Remove a file or link."""

    def run(self, *command: str) -> None:
        """Run a command. Raises SetupError with what it says, if it fails."""

    def act(self, text: str, action: Callable[[], object]) -> None:
        """Do something else, which ``text`` tells."""


class Doing:
    """Does it. For root."""

    is_real = True

    def write(
        self, path: Path, text: str, mode: int = 0o644, owner: Owner = ROOT, *, secret: bool = False
    ) -> None:
        """See ``Effects``. Nobody ever sees half of the file, or with another owner."""
        _say(f"writes {path}")
        user, group = owner.numbers()
        with Directory(path.parent) as place:
            place.remove_leftovers(path.name)
            with place.replacing(path.name, 0o600) as file:
                os.fchown(file.fileno(), user, group)
                os.fchmod(file.fileno(), mode)
                file.write(text.encode())

    def directory(self, path: Path, mode: int, owner: Owner = ROOT) -> None:
        """See ``Effects``."""
        _say(f"makes directory {path}")
        user, group = owner.numbers()
        with Directory(path.parent) as place:
            place.make_directory(path.name, mode, user, group)

    def link(self, path: Path, target: str) -> None:
        """See ``Effects``."""
        _say(f"links {path} to {target}")
        with Directory(path.parent) as place:
            place.link(path.name, target)

    def remove(self, path: Path) -> None:
        """See ``Effects``."""
        _say(f"removes {path}")
        with Directory(path.parent) as place:
            place.remove(path.name)

    def run(self, *command: str) -> None:
        """See ``Effects``."""
        _say(f"runs {shlex.join(command)}")
        code, said = run(*command)
        if code:
            raise SetupError(f"{shlex.join(command)}: {said or f'exit code {code}'}")

    def act(self, text: str, action: Callable[[], object]) -> None:
        """See ``Effects``."""
        _say(text)
        action()


class Showing:
    """Shows it, and does nothing."""

    is_real = False

    def write(
        self, path: Path, text: str, mode: int = 0o644, owner: Owner = ROOT, *, secret: bool = False
    ) -> None:
        """See ``Effects``."""
        _say(f"would write {path} ({mode:04o} {owner}):")
        if secret:
            _say("  | (a secret)")
            return
        before = read(path)
        lines = text.splitlines()
        if before is not None:
            lines = list(
                difflib.unified_diff(before.splitlines(), lines, "now", "then", lineterm="")
            )
        for line in lines:
            _say(f"  | {line}")

    def directory(self, path: Path, mode: int, owner: Owner = ROOT) -> None:
        """See ``Effects``."""
        _say(f"would make directory {path} ({mode:04o} {owner})")

    def link(self, path: Path, target: str) -> None:
        """See ``Effects``."""
        _say(f"would link {path} to {target}")

    def remove(self, path: Path) -> None:
        """See ``Effects``."""
        _say(f"would remove {path}")

    def run(self, *command: str) -> None:
        """See ``Effects``."""
        _say(f"would run {shlex.join(command)}")

    def act(self, text: str, action: Callable[[], object]) -> None:
        """See ``Effects``."""
        _say(f"would do: {text}")


def run(*command: str) -> tuple[int, str]:
    """The exit code of a command, and what it says, the last lines as one.

    127 where there is no such command. Raises SetupError if it does not end.
    """
    code, said = ask(*command)
    return code, " / ".join(said.splitlines()[-3:])


def ask(*command: str) -> tuple[int, str]:
    """As ``run``, but all that it says."""
    # A shell by `su` has no /usr/sbin; and what is said is read, so it must not be translated.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        return 127, f"there is no command {command[0]}"
    except OSError as error:
        return 126, f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"{shlex.join(command)}: it does not end within {COMMAND_TIMEOUT:g} s"
        ) from None
    return done.returncode, done.stdout.decode(errors="replace").strip()


def read(path: Path) -> str | None:
    """The text of a file, None if there is none. Raises SetupError if it can't be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise SetupError(f"{path}: more than {MAX_FILE} bytes; is it the right file?")
        return data.decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise SetupError(f"{path}: not UTF-8 text; repair it, or move it away") from None
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None


def _say(text: str) -> None:
    click.echo(f"          {printable(text)}")
