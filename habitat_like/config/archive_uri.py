"""``archive.uri`` taken apart, with its secrets kept from view."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from habitat_like.config.keys import ArchiveConfig, Config, ConfigError


class ArchiveUri(msgspec.Struct, frozen=True):
    """The parts of ``archive.uri``.

    ``scheme`` is sqlite, couchdb or couchdbs; ``path`` the file or the database's name; ``netloc``
    host and port without credentials; ``user`` and ``password`` decoded, None when absent.
    """

    scheme: str
    path: str
    netloc: str = ""
    user: str | None = None
    password: str | None = None


def archive_uri(config: ArchiveConfig) -> ArchiveUri:
    """Take ``archive.uri`` apart and read the password from ``archive.password_file``.

    Raises ConfigError.
    """
    uri = config.uri
    scheme, colon, rest = uri.partition(":")
    if scheme == "sqlite" and rest.startswith("//") and not rest.startswith("///"):
        raise ConfigError("archive.uri: write sqlite:PATH, without // before the path")
    if scheme == "sqlite" and colon and rest:
        return ArchiveUri(scheme, rest)
    if scheme not in ("couchdb", "couchdbs") or not rest.startswith("//"):
        raise ConfigError(
            f"archive.uri: {mask(uri)!r} is neither sqlite:PATH nor couchdb://user@host:5984/database"
        )
    _, *behind_host = re.split(r"[/?#]", rest[2:], maxsplit=1)
    if behind_host and "@" in behind_host[0]:
        # What follows may be half of a password, so it isn't shown.
        raise ConfigError(
            "archive.uri: in the user or the password write / ? # as %2F %3F %23,"
            " or put the password into archive.password_file"
        )
    try:
        parts = urlsplit(uri)
    except ValueError:
        # Its text may have a part of the password in it.
        raise ConfigError(
            "archive.uri: can't be read as an address; in the user or the password write [ ] and"
            " all that is not ASCII as %XX, or put the password into archive.password_file"
        ) from None
    try:
        port = parts.port
    except ValueError:
        raise ConfigError("archive.uri: the port must be a number from 1 to 65535") from None
    if parts.query or parts.fragment:
        raise ConfigError("archive.uri: nothing can follow the database's name, no ? and no #")
    database = unquote(parts.path).strip("/")
    if not re.fullmatch(r"[a-z][a-z0-9_$()+/-]*", database):
        raise ConfigError(
            f"archive.uri: {database!r} is no CouchDB database name"
            " (a-z first, then a-z 0-9 _ $ ( ) + - /)"
        )
    if not parts.hostname:
        raise ConfigError(f"archive.uri: {mask(uri)!r} names no host")
    default_port = 6984 if scheme == "couchdbs" else 5984
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    password = unquote(parts.password) if parts.password is not None else None
    if config.password_file is not None:
        try:
            password = Path(config.password_file).read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"archive.password_file: {error}") from None
    user = unquote(parts.username) if parts.username else None
    if password is not None and user is None:
        raise ConfigError("archive.uri: there is a password but no user; write couchdb://user@host")
    return ArchiveUri(scheme, database, f"{host}:{port or default_port}", user, password)


def disk_places(config: Config) -> dict[str, Path]:
    """The directories that grow with what comes in: the journal's, and an embedded archive's."""
    places = {"journal": Path(config.journal.path).resolve().parent}
    scheme, _, path = config.archive.uri.partition(":")
    if scheme == "sqlite":
        places["archive"] = Path(path).resolve().parent
    return places


def mask(uri: str) -> str:
    """``uri`` with the password, if there is one, written as ***.

    Of what is no address, nothing before the last @ is shown: it may be half of a password.
    """
    head, at, tail = uri.rpartition("@")
    if not at or uri.startswith("sqlite:"):
        return uri
    scheme, slashes, credentials = head.partition("//")
    if not slashes:
        return f"***@{tail}"
    user, colon, _ = credentials.partition(":")
    return f"{scheme}//{user}:***@{tail}" if colon else uri
