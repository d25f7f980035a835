"""Stations: the identities of networks' stations, their callsigns and their secrets.

The ``stations`` file is a YAML list of ``{network, identity or identity_hash, callsign, secret,
name, latitude, longitude, altitude}``. An identity that is a credential is known by a keyed hash;
its key is made once, beside the journal, and leaves this machine only in a backup.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from habitat_like import passwords
from habitat_like.config.file import YAML_ERRORS, TextLoader
from habitat_like.config.keys import Callsign, ConfigError, Text
from habitat_like.disk import Directory
from habitat_like.passwords import Limiter, Verifier

#: The key's file, beside the journal.
KEY_FILE = "identity.key"
KEY_BYTES = 32
MAX_KEY_FILE = 1000
#: Hex digits of a keyed hash, and how many of them are in a callsign.
HASH_DIGITS = 32
SHORT_HASH = 12
#: The callsign of a stubborn client's messages that name no station.
UNKNOWN = "UNKNOWN"

Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{12,32}\Z")]


class Station(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of the ``stations`` file.

    ``secret`` is in clear or a hash (``habitat station hash``); degrees, degrees, metres.
    """

    network: Text
    callsign: Callsign
    identity: Text | None = None
    identity_hash: Hash | None = None
    secret: Text | None = None
    name: Text | None = None
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    altitude: Annotated[float, msgspec.Meta(ge=-100_000, le=100_000_000)] | None = None

    def __repr__(self) -> str:
        """For logs and tests: without identity and secret."""
        return f"Station({self.network!r}, {self.callsign!r})"


class Stations:
    """The stations of one ``stations`` file, by their identities. Immutable; thread-safe.

    ``key`` is the key for hashes. Raises ConfigError, without the location, for an identity that
    two entries share.
    """

    def __init__(self, key: bytes, entries: Iterable[Station] = ()) -> None:
        self._key = key
        self.entries = tuple(entries)
        #: The networks that have an entry; the others need no lookup.
        self.networks = frozenset(entry.network for entry in self.entries)
        self._by_hash: dict[tuple[str, str], Station] = {}
        # The same stations send again and again.
        self.hash = functools.lru_cache(maxsize=16384)(self._hash)
        self.stand_in = functools.lru_cache(maxsize=16384)(self._stand_in)
        for number, entry in enumerate(self.entries, 1):
            hashed = entry.identity_hash or self.hash(entry.network, entry.identity or "")
            place = (entry.network, hashed[:SHORT_HASH].lower())
            if place in self._by_hash:
                raise ConfigError(f"entry {number}: an entry before it has the same identity")
            self._by_hash[place] = entry

    def _hash(self, network: str, identity: str) -> str:
        """The keyed hash of an identity, ignoring case."""
        text = f"{network}\0{identity.strip().casefold()}".encode(errors="surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=HASH_DIGITS // 2).hexdigest()

    def find(self, network: str, identity: str) -> Station | None:
        """The station with this identity.

        Everything is looked up by its hash, so that the time taken reveals nothing about it.
        """
        if network not in self.networks or not identity:
            return None
        hashed = self.hash(network, identity)
        found = self._by_hash.get((network, hashed[:SHORT_HASH]))
        if found is None or not hashed.startswith((found.identity_hash or "").lower()):
            return None
        return found

    def _stand_in(self, network: str, identity: str) -> str:
        """The callsign of a station with a secret identity that is not in the file."""
        return f"{network}-{self.hash(network, identity)[:SHORT_HASH]}".upper()


class Gatekeeper:
    """Compares secrets with those of stations, and limits guessing. Thread-safe."""

    def __init__(self) -> None:
        self._verifier = Verifier()
        self._limiter = Limiter()

    def keep(self, stations: Stations) -> None:
        """Forget secrets that are no longer in use."""
        self._verifier.keep({one.secret for one in stations.entries if one.secret is not None})

    def is_quick(self, station: Station) -> bool:
        """Whether ``is_right`` answers in microseconds; a hash takes longer the first time."""
        return station.secret is None or self._verifier.is_quick(station.secret)

    def is_right(self, station: Station, given: str | None, ip: str | None) -> bool:
        """Whether the client at ``ip`` may upload as ``station``."""
        if station.secret is None:
            return True
        account = f"{station.network} {station.callsign}"
        now = time.monotonic()
        if given is None or not self._limiter.take(ip, account, now):
            return False
        if not self._verifier.is_right(station.secret, given.encode(errors="surrogatepass")):
            return False
        self._limiter.right(ip, account)
        return True


def read(path: str | Path) -> list[Station]:
    """The entries of the file at ``path``. Raises ConfigError: file, entry, field and reason."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; check the key stations") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> list[Station]:
    """The entries in ``text``; ``where`` names it in errors. Raises ConfigError as ``read``."""
    try:
        tree = yaml.load(text, TextLoader)  # noqa: S506 (derived from the safe loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        # YAML's own message may quote the line, and with it a secret.
        reason = str(getattr(error, "problem", None) or "not valid YAML").partition("\n")[0]
        raise ConfigError(f"{where}{line}: {reason}") from None
    except YAML_ERRORS:
        raise ConfigError(f"{where}: can't be read as YAML") from None
    if tree is None or tree == "":
        return []
    if not isinstance(tree, list):
        raise ConfigError(f"{where}: expected a list of stations, '- network: ...' each")
    entries = []
    for number, item in enumerate(tree, 1):
        try:
            entries.append(_entry(item))
        except ValueError as error:
            raise ConfigError(f"{where}: entry {number}: {error}") from None
    return entries


def _entry(item: Any) -> Station:
    """An entry. Raises ValueError (msgspec's too), whose text has no value."""
    if not isinstance(item, dict):
        raise ValueError("expected network, identity and callsign, each on a line of its own")
    given = {key: value for key, value in item.items() if value != ""}
    known = msgspec.structs.fields(Station)
    for key in given:
        if key not in {field.name for field in known}:
            names = ", ".join(field.name for field in known)
            raise ValueError(f"unknown field {str(key)[:64]!r}; the fields are {names}")
    try:
        entry = msgspec.convert(given, Station, strict=False)
    except msgspec.ValidationError as error:
        reason, _, field = str(error).partition(" - at `$.")
        reason = reason[:1].lower() + reason[1:].replace("`", "")
        raise ValueError(f"{field.rstrip('`')}: {reason}" if field else reason) from None
    check_entry(entry)
    return entry


def check_entry(entry: Station) -> None:
    """Check what the field types can't express. Raises ValueError."""
    if (entry.identity is None) == (entry.identity_hash is None):
        raise ValueError("give either identity or identity_hash")
    if (entry.latitude is None) != (entry.longitude is None):
        raise ValueError("latitude and longitude go together")
    if entry.secret is not None:
        passwords.check(entry.secret)


def key_path(journal_path: str | Path) -> Path:
    """Where the key for hashes is."""
    return Path(journal_path).with_name(KEY_FILE)


def load_key(path: Path) -> bytes:
    """The key at ``path``, made if there is none, in an existing directory.

    Raises ConfigError.
    """
    try:
        with Directory(path.parent) as directory:
            if directory.status(path.name) is None:
                with directory.locked():
                    # Another process may have been first: then its key counts.
                    if directory.status(path.name) is None:
                        _make_key(directory, path.name)
            data, _ = directory.read(path.name, MAX_KEY_FILE)
    except OSError as error:
        text = f"{path}: {error.strerror}; it is the key of identities' hashes, beside the journal"
        raise ConfigError(text) from None
    try:
        key = bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        hint = "put it back from a backup, or remove it: then unknown stations get new callsigns"
        raise ConfigError(f"{path}: not a key of {KEY_BYTES} bytes in hex; {hint}")
    return key


def _make_key(directory: Directory, name: str) -> None:
    """Make the key, readable only by its owner: the directory's owner, if we are root."""
    with directory.replacing(name, 0o600) as file:
        if os.geteuid() == 0:
            owner = directory.status(".")
            if owner is not None:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(os.urandom(KEY_BYTES).hex().encode() + b"\n")
