"""``couchdb://user@host:5984/database`` taken apart."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from habitat_like.config.archive_uri import mask
from habitat_like.config.keys import ArchiveConfig, ConfigError

#: The ports of CouchDB, in clear and with TLS.
PORTS = {"couchdb": 5984, "couchdbs": 6984}


class CouchUri(msgspec.Struct, frozen=True):
    """The parts of the URI of a CouchDB database.

    ``scheme`` is couchdb or couchdbs (TLS), ``database`` the database's name, ``netloc`` host and
    port without credentials; ``user`` and ``password`` are decoded, None when absent.
    """

    scheme: str
    database: str
    netloc: str
    user: str | None = None
    password: str | None = None


def parse(config: ArchiveConfig) -> CouchUri:
    """Take ``archive.uri`` apart; no I/O. Raises ConfigError."""
    uri = config.uri
    scheme, _, rest = uri.partition(":")
    if scheme not in PORTS or not rest.startswith("//"):
        raise _wrong(f"{mask(uri)!r} is not couchdb://user@host:5984/database")
    _, *behind_host = re.split(r"[/?#]", rest[2:], maxsplit=1)
    if behind_host and "@" in behind_host[0]:
        # What follows may be half of a password, so it isn't shown.
        raise _wrong(
            "in the user or the password write / ? # as %2F %3F %23,"
            " or put the password into archive.password_file"
        )
    try:
        parts = urlsplit(uri)
    except ValueError:
        # Its text may contain part of the password.
        raise _wrong(
            "can't be read as an address; in the user or the password write [ ] and"
            " all that is not ASCII as %XX, or put the password into archive.password_file"
        ) from None
    try:
        port = parts.port
    except ValueError:
        raise _wrong("the port must be a number from 1 to 65535") from None
    if parts.query or parts.fragment:
        raise _wrong("nothing can follow the database's name, no ? and no #")
    database = unquote(parts.path).strip("/")
    if not re.fullmatch(r"[a-z][a-z0-9_$()+/-]*", database):
        raise _wrong(
            f"{database!r} is not a CouchDB database name (a-z first, then a-z 0-9 _ $ ( ) + - /)"
        )
    if not parts.hostname:
        raise _wrong(f"{mask(uri)!r} names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password is not None else None
    if user is None and (password is not None or config.password_file is not None):
        raise _wrong("there is a password but no user; write couchdb://user@host")
    return CouchUri(scheme, database, f"{host}:{port or PORTS[scheme]}", user, password)


def with_password(uri: CouchUri, config: ArchiveConfig) -> CouchUri:
    """``uri`` with the password of ``archive.password_file``, if there is one.

    Raises ConfigError when the file can't be read.
    """
    if config.password_file is None:
        return uri
    try:
        password = Path(config.password_file).read_text(encoding="utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(error), "archive.password_file") from None
    return msgspec.structs.replace(uri, password=password)


def _wrong(reason: str) -> ConfigError:
    return ConfigError(reason, "archive.uri")
