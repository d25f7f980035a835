"""``couchdb://user@host:5984,host:5984/database`` taken apart."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from habitat_like.archive.months import PLACE
from habitat_like.config.archive_uri import mask
from habitat_like.config.keys import ArchiveConfig, ConfigError

#: The ports of CouchDB, in clear and with TLS.
PORTS = {"couchdb": 5984, "couchdbs": 6984}
#: Characters of a password, at most: the file may be another than was meant.
MAX_PASSWORD = 1024


class CouchUri(msgspec.Struct, frozen=True):
    """The parts of the URI of a CouchDB database.

    ``scheme`` is couchdb or couchdbs (TLS), ``database`` the database's name, in which ``{month}``
    stands for a month, ``hosts`` the nodes of the cluster, each with its port; ``user`` and
    ``password`` are decoded, None when absent.
    """

    scheme: str
    database: str
    hosts: tuple[str, ...]
    user: str | None = None
    password: str | None = None

    @property
    def netloc(self) -> str:
        """The hosts as they stand in the URI."""
        return ",".join(self.hosts)


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
    authority, _, path = rest[2:].partition("/")
    if "?" in rest or "#" in rest:
        raise _wrong("nothing can follow the database's name, no ? and no #")
    credentials, _, listed = authority.rpartition("@")
    user, colon, secret = credentials.partition(":")
    if re.search(r"[\[\]]|[^\x00-\x7f]", credentials):
        # Its text may contain part of the password.
        raise _wrong(
            "can't be read as an address; in the user or the password write [ ] and"
            " all that is not ASCII as %XX, or put the password into archive.password_file"
        )
    hosts = tuple(_host(one, scheme, uri) for one in listed.split(","))
    if len(set(hosts)) < len(hosts):
        raise _wrong(f"{mask(uri)!r} names a host twice")
    database = unquote(path).strip("/")
    plain = database.replace(PLACE, "2000-01", 1)
    if not re.fullmatch(r"[a-z][a-z0-9_$()+/-]*", plain):
        raise _wrong(
            f"{database!r} is not a CouchDB database name (a-z first, then a-z 0-9 _ $ ( ) + - /)"
        )
    password = unquote(secret) if colon else None
    if not user and (password is not None or config.password_file is not None):
        raise _wrong("there is a password but no user; write couchdb://user@host")
    return CouchUri(scheme, database, hosts, unquote(user) or None, password)


def _host(text: str, scheme: str, uri: str) -> str:
    """One host with its port. Raises ConfigError."""
    try:
        parts = urlsplit(f"//{text}")
        bare = text.rpartition("@")[2].count(":") > 1 and "[" not in text
    except ValueError:
        bare = True
    if bare:
        raise _wrong(f"{mask(uri)!r} names no host; put an IPv6 address in [ ]")
    try:
        name, port = parts.hostname, parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise _wrong("the port must be a number from 1 to 65535")
    if not name:
        raise _wrong(f"{mask(uri)!r} names no host")
    try:
        name.encode("idna")
    except UnicodeError:
        raise _wrong(f"{mask(uri)!r} names a host that can't be one") from None
    return f"{f'[{name}]' if ':' in name else name}:{port or PORTS[scheme]}"


def with_password(uri: CouchUri, config: ArchiveConfig) -> CouchUri:
    """``uri`` with the password of ``archive.password_file``, if there is one.

    Raises ConfigError when the file can't be read.
    """
    if config.password_file is None:
        return uri
    try:
        with Path(config.password_file).open(encoding="utf-8-sig") as file:
            password = file.read(MAX_PASSWORD + 1).strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(error), "archive.password_file") from None
    if len(password) > MAX_PASSWORD:
        reason = f"{config.password_file} has more than a password: over {MAX_PASSWORD} characters"
        raise ConfigError(reason, "archive.password_file")
    return msgspec.structs.replace(uri, password=password)


def _wrong(reason: str) -> ConfigError:
    return ConfigError(reason, "archive.uri")
