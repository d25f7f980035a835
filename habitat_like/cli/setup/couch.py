"""The archive in CouchDB: database, account, rights, and the password's file.

The admin's name and password are asked for when they are needed, used once, and kept nowhere.
"""

from __future__ import annotations

import secrets

import click
import msgspec

from habitat_like.archive import couch_account
from habitat_like.archive.base import ArchiveError
from habitat_like.archive.couch_uri import CouchUri, parse
from habitat_like.cli.setup.effects import Effects, Owner, SetupError, read
from habitat_like.cli.setup.wanted import USER, Wanted
from habitat_like.config.keys import ArchiveConfig, ConfigError

#: Bytes of chance in the account's password.
PASSWORD_BYTES = 24


class CouchStep:
    """CouchDB has the database, and the gateway an account with rights to it."""

    name = "CouchDB"

    def __init__(self, wanted: Wanted) -> None:
        """Remember what is wanted; no I/O."""
        self._wanted = wanted

    def lacking(self) -> str | None:
        """See ``Step``."""
        password = self._password()
        if password is None:
            return f"there is no {self._wanted.couch_password}"
        try:
            return couch_account.lacking(self._account(password))
        except ArchiveError as error:
            raise SetupError(str(error)) from None

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        password = self._password()
        if password is None:
            # Before the account has it: cut short in between, the next run gives it to the account.
            password = secrets.token_urlsafe(PASSWORD_BYTES)
            path = self._wanted.couch_password
            if not path.parent.is_dir():
                effects.directory(path.parent, 0o755)
            effects.write(path, f"{password}\n", 0o640, Owner("root", USER), secret=True)
        account = self._account(password)
        admin = self._admin(account) if effects.is_real else account

        def make() -> None:
            try:
                couch_account.make(admin, account)
            except ArchiveError as error:
                raise SetupError(str(error)) from None

        what = f"database {account.database}, its indexes, the account {account.user} and its right"
        effects.act(f"makes in CouchDB at {account.netloc}: {what}", make)

    def _password(self) -> str | None:
        text = read(self._wanted.couch_password)
        return text.strip("\r\n") or None if text else None

    def _account(self, password: str) -> CouchUri:
        try:
            uri = parse(ArchiveConfig(uri=self._wanted.archive))
        except ConfigError as error:
            raise SetupError(str(error)) from None
        return msgspec.structs.replace(uri, password=password)

    def _admin(self, account: CouchUri) -> CouchUri:
        """The same place as CouchDB's admin. Raises SetupError."""
        wanted = self._wanted
        name, password = wanted.admin, None
        if wanted.admin_password is not None:
            text = read(wanted.admin_password)
            if text is None:
                raise SetupError(f"there is no {wanted.admin_password}")
            password = text.strip("\r\n")
        if wanted.may_ask:
            name = name or click.prompt("          CouchDB's admin", default="admin", err=True)
            if password is None:
                password = click.prompt("          its password", hide_input=True, err=True)
        if password is None:
            raise SetupError(
                "an admin of CouchDB is needed once: give --admin-password-file (and --admin)"
            )
        return msgspec.structs.replace(account, user=name or "admin", password=password)
