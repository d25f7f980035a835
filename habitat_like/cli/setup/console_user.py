"""The console's first user, with a password that is made here and shown once."""

from __future__ import annotations

import pwd
import secrets
from pathlib import Path

import click

from habitat_like.cli.setup.configuration import values
from habitat_like.cli.setup.effects import Effects, SetupError, read
from habitat_like.cli.setup.wanted import USER, USERS_FILE, Wanted
from habitat_like.config.keys import ConfigError
from habitat_like.console import users

#: Letters of a password: none that are taken for others.
LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LENGTH = 16


class ConsoleUserStep:
    """Somebody can sign in to the console."""

    name = "console"

    def __init__(self, wanted: Wanted) -> None:
        """Remember what is wanted; no I/O."""
        self._wanted = wanted
        self._user = wanted.console_user or ""

    def lacking(self) -> str | None:
        """See ``Step``."""
        path = self._path()
        try:
            users.read(path)
        except FileNotFoundError:
            return "it has no user yet"
        except ConfigError as error:
            raise SetupError(f"{error}; repair it, or move it away") from None
        return None

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        password = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
        if effects.is_real:
            # First, so that a password in the file has always been seen.
            click.secho(
                f"          user {self._user}, password {password} (not shown again)", bold=True
            )
        path = self._path()

        def make() -> None:
            user = pwd.getpwnam(USER)
            users.write(path, self._user, password, (user.pw_uid, user.pw_gid))

        effects.act(f"writes {path}", make)

    def _path(self) -> Path:
        present = values(read(self._wanted.config) or "").get("console.password_file")
        return Path(present or USERS_FILE)
