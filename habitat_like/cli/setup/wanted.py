"""What an operator wants: the answers to the questions of ``habitat setup``."""

from __future__ import annotations

from pathlib import Path

import msgspec

#: The gateway's user and group.
USER = "habitat"
STATE = Path("/var/lib/habitat")
RUN = Path("/run/habitat")
USERS_FILE = STATE / "console-users"
COUCH_PASSWORD_NAME = "couchdb.password"  # noqa: S105 (a file's name)


class Tls(msgspec.Struct, frozen=True):
    """A certificate with its chain, and its key: paths, as nginx is told."""

    certificate: str
    key: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The server as it is to be.

    ``config`` is the configuration's path, ``archive`` the ``archive.uri``, ``names`` are the
    server's in DNS, ``console_user`` is None for no console. ``admin`` is the name of CouchDB's,
    ``admin_password`` a file with the password; None where they are asked for, if needed.
    """

    config: Path
    program: Path
    archive: str
    names: tuple[str, ...] = ()
    tls: Tls | None = None
    console_user: str | None = "operator"
    admin: str | None = None
    admin_password: Path | None = None
    may_ask: bool = False

    @property
    def couch_password(self) -> Path:
        """The file with the password of the gateway's account in CouchDB."""
        return self.config.with_name(COUCH_PASSWORD_NAME)

    @property
    def has_couch(self) -> bool:
        """Whether the archive is in CouchDB."""
        return self.archive.startswith(("couchdb:", "couchdbs:"))

    @property
    def password_file(self) -> str | None:
        """The ``archive.password_file``."""
        return str(self.couch_password) if self.has_couch else None
